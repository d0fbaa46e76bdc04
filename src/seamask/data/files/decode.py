"""Image files of any mode → RGB squares.

Decoding takes 5 to 9 bytes a pixel, of WebP 16 and of JPEG 2000 20; JPEGs are decoded at a fraction
of their size. All threads together decode no more pixels at a time than one image may have by
default: so it takes 1.6 GB, and 3.6 GB of JPEG 2000, however many cores there are.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from seamask.base.errors import UserError
from seamask.base.errors import printable as printable  # others have it from here
from seamask.base.threads import Allowance

EXTENSIONS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".avif",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".ico",
})  # fmt: skip
SMALLEST = 8  # pixels: a smaller side holds no picture
BYTES = 20  # of memory for each pixel that is decoded, at most
BAND = 2**20  # pixels that are converted at once
_together = Allowance(179_000_000)  # pixels that are decoded at once: what Pillow allows one image
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
    except Image.DecompressionBombError as error:
        pixels = float(re.findall(r"\d+", str(error))[0]) / 1e6
        raise BadImage(
            f"{pixels:,.0f} million pixels; to read it needs up to {pixels * BYTES / 1e3:,.1f} GB: "
            f"--data.max-megapixels {math.ceil(pixels)} allows that"
        ) from error
    except UnidentifiedImageError as error:
        raise BadImage("not an image, or of an unknown format") from error
    except OSError as error:
        raise BadImage(error.strerror or _one_line(error)) from error
    except Exception as error:  # on broken files Pillow's decoders raise nearly anything
        raise BadImage(_one_line(error)) from error


def allow(megapixels: float) -> None:
    """Read images of up to so many million pixels from now on, in this process."""
    Image.MAX_IMAGE_PIXELS = int(megapixels * 1e6 / 2)  # Pillow warns there, and refuses twice that


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file of any mode as RGB, upright.

    Transparency is laid on white; 16-bit grey is scaled to 8 bits; of an animation the first frame
    is taken; the orientation noted by the camera is applied.

    Raises:
        UserError: it is missing or cannot be used; the message gives the reason.
    """
    with _or_user_error(path), opened(path) as image:
        return image


def read_square(path: str | os.PathLike[str], size: int) -> npt.NDArray[np.uint8]:
    """Read an image file as `read_image` does, as pretraining cuts it: uint8 [size, size, 3].

    Raises:
        UserError: it is missing or cannot be used; the message gives the reason.
    """
    with _or_user_error(path), opened(path, size) as image:
        return square(image, size)


@contextmanager
def _or_user_error(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BadImage as error:
        raise UserError(f"cannot read the image {printable(path)}: {error}") from error


@contextmanager
def opened(path: str | os.PathLike[str], size: int = 0) -> Iterator[Image.Image]:
    """Yield an image file as RGB, upright; as long as the block lasts it counts as decoded.

    Args:
        path: any format in `EXTENSIONS`, whatever the file is called.
        size: decode JPEGs at a fraction of their size while both sides stay at least this; 0: full.

    Raises:
        BadImage: with the reason.
    """
    with ExitStack() as stack:
        with reasons():
            if os.path.getsize(path) == 0:
                raise BadImage("the file is empty")
            with Image.open(path, formats=_FORMATS) as image:
                width, height = image.size
                if min(image.size) < SMALLEST:
                    raise BadImage(
                        f"too small: {width}×{height} pixels, {SMALLEST}×{SMALLEST} needed"
                    )
                if size:
                    image.draft("RGB", (size, size))
                whole = "progressive" in image.info  # its coefficients are in memory, whatever size
                decoded = width * height if whole else image.width * image.height
                stack.enter_context(_together.take(decoded))
                image.load()
                _turn_upright(image)
                rgb = to_rgb(image)
            del image  # it takes as much memory as the result
        yield rgb


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: transparency on white, 16-bit and float grey scaled to 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _in_bands(image, "RGB", _on_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _in_bands(
    image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Convert an image some rows at a time: what is made on the way takes no memory to speak of."""
    result = Image.new(mode, image.size)
    for box in _bands(image):
        result.paste(convert(image.crop(box)), box)
    return result


def _bands(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


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


def _turn_upright(image: Image.Image) -> None:
    with suppress(Exception):  # broken notes of a camera do not make the picture bad
        ImageOps.exif_transpose(image, in_place=True)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey of 16 or 32 bits, or float, to 8 bits.

    16-bit values are divided by 257, floats within [0, 1] multiplied by 255; any other range is
    stretched so that its smallest value is black and its largest white.
    """

    def values(band: Image.Image) -> npt.NDArray[np.float64]:
        return np.nan_to_num(np.asarray(band, np.float64), posinf=0, neginf=0)

    def scaled(band: Image.Image) -> Image.Image:
        out = (values(band) - low) * (255 / max(high - low, 1e-12))
        return Image.fromarray((out + 0.5).astype(np.uint8))

    limits = [(part.min(), part.max()) for part in map(values, map(image.crop, _bands(image)))]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    if image.mode == "F":
        low, high = (0, 1) if low >= 0 and high <= 1 else (low, high)
    elif low >= 0 and high <= 65535:
        low, high = 0, 65535
    return _in_bands(image, "L", scaled)


def _one_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
