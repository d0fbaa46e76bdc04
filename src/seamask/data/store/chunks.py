"""Images → chunks of a store, in threads: Pillow decodes and resizes outside Python's lock."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from seamask.base.errors import UserError, printable
from seamask.base.threads import in_threads
from seamask.data.files.decode import (
    BadImage,
    Opens,
    may_be_deep,
    opened,
    square,
    square_map,
    survey,
)
from seamask.data.files.depth import Ranges, told
from seamask.data.store.plan import Chunk, Split

CHUNK = 512  # images between two writes

ObjectsOf = Callable[[str, Image.Image], Image.Image]
"""From an image's path and the image to its object map: mode L, of the image's size."""


@dataclass(frozen=True)
class Reading:
    """How image files are read.

    Attributes:
        stop: raise at the first image that cannot be used, instead of skipping it.
        exact: decode JPEGs at their full size, not at a fraction of it.
        ranges: by which values of more than 8 bits are scaled.
        remarks: on images that are read although they are odd.
    """

    stop: bool = False
    exact: bool = False
    ranges: Ranges = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def of(self, names: Iterable[str], opens: Opens = str) -> Reading:
        """Return the same with the ranges that these files use together; see `survey`."""
        found = survey(names, opens)
        remarks = tuple(f"{n:,} × {said}" for said, n in sorted(found.remarks.items()))
        return replace(self, ranges=found.ranges, remarks=(*told(found.ranges), *remarks))


def file_chunks(
    root: Path | Opens,
    paths: Sequence[str],
    labels: npt.NDArray[np.int64] | None,
    size: int,
    reading: Reading,
    objects_of: ObjectsOf | None = None,
) -> Iterator[Chunk]:
    """Decode image files, in order. No warning is shown between the first chunk and the last.

    Args:
        root: the folder that `paths` are relative to, or what else opens them.
        paths: [n].
        labels: [n] or None.
        size: side of the squares in pixels.
        reading: how they are read.
        objects_of: reads the object maps; None: the chunks have none.

    Raises:
        UserError: an image that cannot be used, if `reading.stop`.
    """

    opens = partial(os.path.join, root) if isinstance(root, Path) else root

    def decode(path: str) -> tuple[npt.NDArray[np.uint8], ...] | BadImage:
        """Return the pixels and, where there are object maps, the objects."""
        try:
            if objects_of is None:
                part = 0 if reading.exact else size
                with opened(opens(path), part, reading.ranges, may_be_deep(path)) as image:
                    return (square(image, size),)
            # At full size: the map has no other.
            with opened(opens(path), 0, reading.ranges, may_be_deep(path)) as image:
                return square(image, size), square_map(objects_of(path, image), size)
        except BadImage as error:
            return error

    with warnings.catch_warnings(), closing(in_threads(decode, paths)) as decoded:
        warnings.simplefilter("ignore")  # remarks on odd but readable files: one per file
        for start in range(0, len(paths), CHUNK):
            part = paths[start : start + CHUNK]
            results = list(islice(decoded, len(part)))
            good = [result for result in results if not isinstance(result, BadImage)]
            rows = [i for i, result in enumerate(results) if not isinstance(result, BadImage)]
            skipped = tuple(
                (printable(path), str(result))
                for path, result in zip(part, results, strict=True)
                if isinstance(result, BadImage)
            )
            if skipped and reading.stop:
                raise bad_image(*skipped[0])
            pixels, *objects = (
                map(np.stack, zip(*good, strict=True))
                if good
                else (np.empty((0, size, size, 3), np.uint8), np.empty((0, size, size), np.uint8))
            )
            kept = None if labels is None else labels[start : start + CHUNK][rows]
            yield Chunk(pixels, kept, objects[0] if objects_of else None, skipped)


def file_split(
    root: Path | Opens,
    paths: Sequence[str],
    labels: npt.NDArray[np.int64] | None,
    size: int,
    reading: Reading,
    objects_of: ObjectsOf | None = None,
) -> Split:
    """Return the split that image files are; arguments as for `file_chunks`."""

    def between(start: int, stop: int) -> Iterator[Chunk]:
        rows = slice(start, stop)
        own = None if labels is None else labels[rows]
        return file_chunks(root, paths[rows], own, size, reading, objects_of)

    return Split(
        len(paths),
        partial(between, 0, len(paths)),
        labelled=labels is not None,
        segmented=objects_of is not None,
        between=between,
    )


def array_chunks(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64] | None, size: int
) -> Iterator[Chunk]:
    """Resize images that are in memory already, uint8 [n, H, W, 3], in order."""

    def resize(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return square(Image.fromarray(np.ascontiguousarray(image)), size)

    fits = images.shape[1:3] == (size, size)
    with closing(in_threads(resize, () if fits else images)) as resized:
        for start in range(0, len(images), CHUNK):
            rows = slice(start, start + CHUNK)
            part = images[rows] if fits else np.stack(list(islice(resized, CHUNK)))
            yield Chunk(part, None if labels is None else labels[rows])


def bad_image(path: str, reason: str) -> UserError:
    """Build the error of `--on-bad-image stop`."""
    return UserError(
        f"cannot read the image {path}: {reason}; "
        "remove or replace it, or skip such images with --on-bad-image skip"
    )
