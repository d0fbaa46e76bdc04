"""Images whole and at their own sizes, with where their objects are: as others measure on them.

A store holds squares, cut from the centre and small; measures that are compared with published
numbers are taken on all of an image, at its own size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from seamask.data.files.maps import VOID

Boxes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Whole:
    """An image, and what is known of where its objects are.

    Attributes:
        pixels: uint8 `[H, W, 3]`.
        objects: uint8 `[H, W]`: 0 background, k = object k, 255 = void; None: only boxes are known.
        boxes: `[k, 4]`, a row an object: left, top, right, bottom in pixels, right and bottom
            exclusive.
    """

    pixels: npt.NDArray[np.uint8]
    objects: npt.NDArray[np.uint8] | None
    boxes: Boxes

    @classmethod
    def of_map(cls, pixels: npt.NDArray[np.uint8], objects: npt.NDArray[np.uint8]) -> Whole:
        """Return an image with a map of its objects, and their boxes."""
        return cls(pixels, objects, boxes_of(objects))

    def square(self, size: int) -> npt.NDArray[np.uint8]:
        """Return all of the image as a square, whatever its aspect: uint8 `[size, size, 3]`."""
        image = Image.fromarray(self.pixels)
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class WholeImages:
    """Whole images that are read when they are asked for.

    Attributes:
        count: of them.
        read: number i, from 0. Raises `BadImage` where it cannot be read: then the store has
            skipped it and named it.
    """

    count: int
    read: Callable[[int], Whole]

    def __len__(self) -> int:
        return self.count


def boxes_of(objects: npt.NDArray[np.uint8]) -> Boxes:
    """Return the box of each object of a map `[H, W]`; see `Whole`."""
    from scipy.ndimage import find_objects  # slow to import

    found = find_objects(np.where(objects == VOID, 0, objects).astype(np.int64))
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in filter(None, found)]
    return np.array(boxes, np.int64).reshape(-1, 4)
