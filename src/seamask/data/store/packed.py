"""The packed store: images decoded and resized once, then memory-mapped.

A store is a folder (`store/arrays.py`) with, per split, `<split>.pixels` (raw uint8 [n, S, S, C])
and, where there are any, `<split>.labels` (raw int64 [n]) and `<split>.objects` (raw uint8
[n, S, S]).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from seamask.base.errors import UserError
from seamask.base.progress import Progress
from seamask.data.files.depth import Ranges, as_ranges
from seamask.data.store.arrays import Writer, memory_map, open_made, open_or_make
from seamask.data.store.levels import Levels, added, levels_of
from seamask.data.store.plan import Plan, Split

FORMAT = 1  # of the store; another one is rebuilt


@dataclass(frozen=True, eq=False)
class Images:
    """One split. The tensors may be memory-mapped and read-only: never write to them.

    Attributes:
        pixels: uint8 [n, S, S, C], RGB or grey, height before width.
        labels: int64 [n], positions in `Data.classes`; None without labels.
        objects: uint8 [n, S, S]: 0 background, k = object k (of `shapes`, 1 is the main one), 255
            undecided; None without object masks.
    """

    pixels: Tensor
    labels: Tensor | None = None
    objects: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: Tensor) -> Images:
        """Return these rows (int64 [k]) as a copy in memory."""
        labels = None if self.labels is None else self.labels[rows]
        objects = None if self.objects is None else self.objects[rows]
        return Images(self.pixels[rows], labels, objects)


@dataclass(frozen=True)
class Store:
    """An open store.

    Attributes:
        splits: only those that hold an image.
        ranges: see `Plan`.
        remarks: see `Plan`.
        levels: of the training images, how often each occurs; empty in stores of before.
    """

    splits: dict[str, Images]
    classes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    ranges: Ranges
    remarks: tuple[str, ...]
    levels: Levels


def open_or_build(
    folder: Path, size: int, plan: Callable[[], Plan], label: str, show: bool
) -> Store:
    """Open the store in `folder`, building it first where there is none.

    Any number of processes may do this at once.

    Args:
        folder: where the store is or will be; its parent is the cache.
        size: side S of the images in pixels.
        plan: called only where the store has to be built.
        label: what is decoded, for the progress and for errors.
        show: show progress.

    Raises:
        UserError: the store cannot be written (disk full, no permission), or not one image of a
            split could be read; and whatever `plan` and its chunks raise.
    """

    def read(place: Path, meta: dict[str, Any]) -> Store:
        return _read(place, meta, size)

    def make(writer: Writer) -> dict[str, Any]:
        return _write(writer, size, plan(), label, show)

    return open_or_make(folder, read, make, label, show)


def open_store(folder: Path, label: str, show: bool) -> tuple[Store, dict[str, Any]] | None:
    """Open a store of any size; return what else it notes, too. None: it is not whole."""

    def read(place: Path, meta: dict[str, Any]) -> tuple[Store, dict[str, Any]]:
        return _read(place, meta, meta["size"]), meta

    return open_made(folder, read, label, show)


def _read(folder: Path, meta: dict[str, Any], size: int) -> Store:
    """Open the store; ValueError or KeyError where it is not one of this format and size."""
    if meta["format"] != FORMAT or meta["size"] != size:
        raise ValueError("of another format or size")
    splits = {}
    for name, has in meta["splits"].items():
        n, channels = has["n"], has.get("channels", 3)
        splits[name] = Images(
            memory_map(folder / f"{name}.pixels", np.uint8, (n, size, size, channels)),
            memory_map(folder / f"{name}.labels", np.int64, (n,)) if has["labels"] else None,
            memory_map(folder / f"{name}.objects", np.uint8, (n, size, size))
            if has["objects"]
            else None,
        )
    skipped = tuple((path, reason) for path, reason in meta["skipped"])
    ranges = as_ranges(meta.get("ranges", {}))
    remarks = tuple(meta.get("remarks", ()))
    return Store(splits, tuple(meta["classes"]), skipped, ranges, remarks, meta.get("levels", []))


def _write(writer: Writer, size: int, plan: Plan, label: str, show: bool) -> dict[str, Any]:
    """Write the images of a plan; return what `_read` needs to know."""
    sizes: dict[str, int] = {}
    for name, split in plan.splits.items():
        sizes |= sizes_of(name, split, size)
    writer.reserve(sizes)
    meta = {**meta_of(plan, size), "splits": {}, "skipped": []}
    total = sum(split.total for split in plan.splits.values())
    with Progress(f"preparing {label}", total, "images", enabled=show) as bar:
        for name, split in plan.splits.items():
            n, skipped, levels = write_split(writer, name, split, size, bar)
            if n == 0 and name == "train":
                raise none_readable(label, split.total, *skipped[0])
            if n:  # a held-out split without images is left out
                meta["splits"][name] = about_split(split, n)
            meta["skipped"] += skipped
            if name == "train":
                meta["levels"] = levels
    return meta


def meta_of(plan: Plan, size: int) -> dict[str, Any]:
    """Return what a store notes of its plan."""
    ranges = {kind: scale.plain() for kind, scale in plan.ranges.items()}
    about = {"format": FORMAT, "size": size, "classes": plan.classes}
    return {**about, "remarks": plan.remarks, "ranges": ranges}


def about_split(split: Split, n: int) -> dict[str, Any]:
    """Return what a store notes of a split of `n` images."""
    has = {"labels": split.labelled, "objects": split.segmented}
    return {"n": n, "channels": split.channels, **has}


def none_readable(label: str, total: int, path: str, reason: str) -> UserError:
    """Build the error of images of which none can be used."""
    return UserError(f"{label}: none of its {total} images can be read, e.g. {path}: {reason}")


def sizes_of(name: str, split: Split, size: int) -> dict[str, int]:
    """Return {file: bytes} of a split, if every image can be read."""
    return {f"{name}.{part}": split.total * item for part, item in _parts(split, size).items()}


def write_split(
    writer: Writer, name: str, split: Split, size: int, bar: Progress
) -> tuple[int, list[tuple[str, str]], Levels]:
    """Write one split; return how many images it holds, which were skipped, and its levels."""
    levels: Levels = []
    skipped: list[tuple[str, str]] = []
    n = 0
    with ExitStack() as stack:
        parts = {
            part: stack.enter_context(writer.appending(f"{name}.{part}"))
            for part in _parts(split, size)
        }
        for chunk in split.chunks():
            for part, append in parts.items():
                append(getattr(chunk, part))
            n += len(chunk.pixels)
            levels = added(levels, levels_of(chunk.pixels))
            skipped += chunk.skipped
            bar.advance(len(chunk.pixels) + len(chunk.skipped))
    return n, skipped, levels


def _parts(split: Split, size: int) -> dict[str, int]:
    """Return {part: bytes per image} of the files of a split."""
    parts = {"pixels": size * size * split.channels}
    if split.labelled:
        parts["labels"] = 8
    if split.segmented:
        parts["objects"] = size * size
    return parts
