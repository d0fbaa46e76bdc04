"""Label images: maps of classes or objects, one value a pixel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from seamask.base.errors import UserError, printable
from seamask.data.files.decode import BadImage, reasons

VOID = 255  # pixels that nobody decided on, e.g. VOC's outlines
SALIENT = 128  # of 255: what is brighter in a map of saliency is salient


def read_map(path: Path, image: Image.Image, image_path: Path) -> Image.Image:
    """Read the map that belongs to an image: a palette or grey PNG, or one of SBD's `.mat` files.

    Args:
        path: the map; a palette's colours mean nothing, its numbers are the values.
        image: the image itself, upright.
        image_path: where that was read from, for the error.

    Returns:
        Mode L, of the image's size, the values untouched.

    Raises:
        BadImage: it cannot be read; the reason names it.
        UserError: it is of another size than its image.
    """
    return _read(path, _read_sbd if path.suffix == ".mat" else _read_png, image, image_path)


def read_saliency(path: Path, image: Image.Image, image_path: Path) -> Image.Image:
    """Read a map of what is salient in an image, black and white with edges in between.

    Arguments, size and errors as for `read_map`.

    Returns:
        1 where the map is above 128, as saliency toolboxes read it; else 0.
    """
    return _read(path, _read_grey, image, image_path)


def _read(
    path: Path,
    values_of: Callable[[Path], npt.NDArray[np.uint8]],
    image: Image.Image,
    image_path: Path,
) -> Image.Image:
    try:
        with reasons():
            values = values_of(path)
    except BadImage as error:
        raise BadImage(f"its label image {printable(path)}: {error}") from error
    if values.shape[::-1] != image.size:
        height, width = values.shape
        raise UserError(
            f"the label image {printable(path)} has {width}×{height} pixels, but its image "
            f"{printable(image_path)} has {image.width}×{image.height}; make them the same size"
        )
    return Image.fromarray(values)


def largest(values: npt.NDArray[np.uint8]) -> int:
    """Return the largest value of a map that is not void, or −1."""
    return int(values[values != VOID].max(initial=0)) if (values != VOID).any() else -1


def refuse_binary(path: Path, values: npt.NDArray[np.uint8]) -> None:
    """Refuse a map of 0 and 255 alone: what other programs write for no and yes.

    Here 255 means undecided, and the object would silently be none.

    Raises:
        BadImage: it is one.
    """
    if largest(values) <= 0 and (values == VOID).any():
        raise BadImage(
            f"its label image {printable(path)} holds 255 = void but no object; "
            "write 1 for the first object, 2 for the second"
        )


def check_value(path: Path, value: int, count: int) -> None:
    """Refuse a label value that is not among `count` classes; 0: they are not known."""
    if count and value >= count:
        raise UserError(
            f"the label image {printable(path)} holds the value {value}, but there are {count} "
            f"classes, 0 to {count - 1}, and 255 = void; correct it or the classes in classes.txt"
        )


def _read_png(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path, formats=["PNG"]) as image:
        if image.mode not in ("P", "L", "1") and not image.mode.startswith("I"):
            raise BadImage(f"its colours are {image.mode}; a palette or grey PNG is needed")
        values = np.asarray(image)
    if values.max() > VOID:
        raise BadImage(f"it holds the value {values.max()}; 0 to 254 and 255 = void are allowed")
    return values.astype(np.uint8)


def _read_grey(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path, formats=["PNG"]) as image:
        return (np.asarray(image.convert("L")) > SALIENT).astype(np.uint8)


def _read_sbd(path: Path) -> npt.NDArray[np.uint8]:
    from scipy.io import loadmat  # slow to import

    try:
        values = loadmat(path, variable_names=["GTcls"])["GTcls"][0, 0]["Segmentation"]
    except (KeyError, IndexError, ValueError) as error:
        raise BadImage("not one of SBD's files: it has no GTcls.Segmentation") from error
    return np.asarray(values, np.uint8)
