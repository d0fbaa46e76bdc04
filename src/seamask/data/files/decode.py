"""Image files of any mode → RGB squares."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from seamask.base.errors import UserError
from seamask.base.errors import printable as printable  # others have it from here

EXTENSIONS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".avif",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".ico",
})  # fmt: skip
SMALLEST = 8  # pixels: a smaller side holds no picture
# What is not listed is refused whatever its extension says: Pillow runs Ghostscript on an EPS.
_FORMATS = ["JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "AVIF", "TIFF", "PPM", "JPEG2000", "ICO"]
Image.init()  # registers the formats that this build of Pillow has
_FORMATS = [name for name in _FORMATS if name in Image.OPEN]


class BadImage(Exception):
    """An image that cannot be used; the message is the reason."""


@contextmanager
def reasons() -> Iterator[None]:
    """Turn whatever goes wrong while an image is read into `BadImage` with the reason."""
    try:
        yield
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage("not an image, or of an unknown format") from error
    except OSError as error:
        raise BadImage(error.strerror or _one_line(error)) from error
    except Exception as error:  # on broken files Pillow's decoders raise nearly anything
        raise BadImage(_one_line(error)) from error


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file of any mode as RGB, upright.

    Transparency is laid on white; 16-bit grey is scaled to 8 bits; of an animation the first frame
    is taken; the orientation noted by the camera is applied.

    Raises:
        UserError: it is missing or cannot be used; the message gives the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return open_rgb(path)
    except BadImage as error:
        raise UserError(f"cannot read the image {printable(path)}: {error}") from error


def open_rgb(path: str | os.PathLike[str], size: int = 0) -> Image.Image:
    """Read an image file as RGB, upright.

    Args:
        path: any format in `EXTENSIONS`, whatever the file is called.
        size: decode JPEGs at a fraction of their size while both sides stay at least this; 0: full.

    Raises:
        BadImage: with the reason.
    """
    with reasons():
        if os.path.getsize(path) == 0:
            raise BadImage("the file is empty")
        with Image.open(path, formats=_FORMATS) as image:
            if min(image.size) < SMALLEST:
                width, height = image.size
                raise BadImage(f"too small: {width}×{height} pixels, {SMALLEST}×{SMALLEST} needed")
            if size:
                image.draft("RGB", (size, size))
            image.load()
            return to_rgb(_upright(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: transparency on white, 16-bit and float grey scaled to 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image if image.mode == "RGB" else image.convert("RGB")


def square(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """Resize the shorter side to `size` and crop the centre: uint8 [size, size, 3]."""
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=_centre(image)))


def square_map(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """Cut a map of classes or objects as `square` cuts its image, nearest neighbour.

    Args:
        image: mode L, of its image's full size.
        size: side in pixels.

    Returns:
        uint8 [size, size].
    """
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST, box=_centre(image)))


def _centre(image: Image.Image) -> tuple[int, int, int, int]:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken notes of a camera do not make the picture bad
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey of 16 or 32 bits, or float, to 8 bits.

    16-bit values are divided by 257, floats within [0, 1] multiplied by 255; any other range is
    stretched so that its smallest value is black and its largest white.
    """
    values = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0)
    low, high = values.min(), values.max()
    if image.mode == "F":
        low, high = (0, 1) if low >= 0 and high <= 1 else (low, high)
    elif low >= 0 and high <= 65535:
        low, high = 0, 65535
    scaled = (values - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray((scaled + 0.5).astype(np.uint8))


def _one_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
