"""Image files of any mode → RGB squares.

Decoding takes 5 to 9 bytes a pixel, of WebP 16 and of JPEG 2000 20; JPEGs are decoded at a fraction
of their size, and so are large JPEG 2000s. All threads together decode no more pixels at a time
than one image may have by default: so it takes 1.6 GB, and 3.6 GB of JPEG 2000, however many cores
there are.
"""

from __future__ import annotations

import errno
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.TiffImagePlugin import TiffImageFile

from seamask.base.errors import UserError, printable
from seamask.base.threads import Allowance, in_threads
from seamask.data.files.depth import (
    FILE,
    NAMES,
    WHITE,
    Extremes,
    Ranges,
    bands,
    eight_bits,
    extremes_of,
    holding,
    kind_of,
    ranges_of,
    remark,
)

EXTENSIONS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".avif",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".ico",
})  # fmt: skip
Bytes = str | os.PathLike[str] | IO[bytes]
"""An image file: its path, or its bytes as an open file that can be gone to and fro in."""
Opens = Callable[[str], Bytes]
"""From an image's name to its file; `BadImage` where that cannot be read."""
SMALLEST = 8  # pixels: a smaller side holds no picture
BYTES = 20  # of memory for each pixel that is decoded, at most
DEEP = frozenset({
    ".png", ".apng", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".jp2", ".j2k",
})  # fmt: skip
"""Of files that can hold more than 8 bits a value, or more bands than three."""
_together = Allowance(179_000_000)  # pixels that are decoded at once: what Pillow allows one image
# What is not listed is refused whatever its extension says: Pillow runs Ghostscript on an EPS.
_FORMATS = ["JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "AVIF", "TIFF", "PPM", "JPEG2000", "ICO"]
# Errors of the machine or the network, not of a file; EIO may be a bad sector, which stays one.
PASSING = frozenset({
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN,
    errno.EHOSTDOWN,
})  # fmt: skip
LARGE = 16_000_000  # pixels of a JPEG 2000 from which on not all of it is decoded
SIDES = "seamask sides"  # of `info`: width and height of the whole image, upright
PLANAR, SAMPLES, BITS, INTERPRETATION = 284, 277, 258, 262  # tags of a TIFF
TURNS = {  # by the camera's note on how it was held
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
Image.init()  # registers the formats that this build of Pillow has
_FORMATS = [name for name in _FORMATS if name in Image.OPEN]


class BadImage(Exception):
    """An image that cannot be used; the message is the reason."""


@contextmanager
def reasons(file: Bytes = "") -> Iterator[None]:
    """Turn whatever goes wrong while an image is read into `BadImage` with the reason.

    Args:
        file: the image's; not said: it is a part of something.

    Raises:
        UserError: it is no fault of the image, and would be kept as if it were.
    """
    try:
        yield
    except (BadImage, UserError):
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
        if error.errno in PASSING:
            what = f"image {printable(file)}" if file and isinstance(file, NAMES) else "images"
            raise UserError(
                f"cannot read the {what}: {error.strerror}; mend that and start again"
            ) from error
        raise BadImage(error.strerror or _one_line(error)) from error
    except MemoryError as error:
        raise UserError("out of memory while images are read: free some and start again") from error
    except Exception as error:  # on broken files Pillow's decoders raise nearly anything
        raise BadImage(_one_line(error)) from error


def allow(megapixels: float) -> None:
    """Read images of up to so many million pixels from now on, in this process."""
    Image.MAX_IMAGE_PIXELS = int(megapixels * 1e6 / 2)  # Pillow warns there, and refuses twice that


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file of any mode as RGB, upright.

    Transparency is laid on white; more than 8 bits a value are scaled by the range that the image
    uses (`depth.py`); of an animation the first frame is taken; the orientation noted by the camera
    is applied.

    Raises:
        UserError: it is missing or cannot be used; the message gives the reason.
    """
    with _or_user_error(path), opened(path) as image:
        return image


def read_square(
    path: str | os.PathLike[str], size: int, ranges: Ranges | None = None, exact: bool = False
) -> npt.NDArray[np.uint8]:
    """Read an image file as `read_image` does, as pretraining cuts it: uint8 [size, size, 3].

    `ranges` are those of a data set, for values of more than 8 bits; `exact`: see `--data.jpeg`.

    Raises:
        UserError: it is missing or cannot be used; the message gives the reason.
    """
    return read_square_and_sides(path, size, ranges, exact)[0]


def read_square_and_sides(
    path: str | os.PathLike[str], size: int, ranges: Ranges | None = None, exact: bool = False
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """Read what `read_square` does, and the whole image's width and height, upright."""
    with _or_user_error(path), opened(path, 0 if exact else size, ranges) as image:
        return square(image, size), image.info[SIDES]


@contextmanager
def _or_user_error(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BadImage as error:
        raise UserError(f"cannot read the image {printable(path)}: {error}") from error


@contextmanager
def opened(
    file: Bytes, size: int = 0, ranges: Ranges | None = None, deep: bool = True
) -> Iterator[Image.Image]:
    """Yield an image file as RGB, upright; as long as the block lasts it counts as decoded.

    Args:
        file: any format in `EXTENSIONS`, whatever the file is called.
        size: decode JPEGs at a fraction of their size while both sides stay at least this, large
            JPEG 2000s while they stay four times this; 0: full.
        ranges: by which values of more than 8 bits are scaled; None, or a kind that is not in it:
            the image's own.
        deep: values may have more than 8 bits; False: `survey` passed it over, so they must not.

    Raises:
        BadImage: with the reason.
    """
    with ExitStack() as stack:
        with reasons(file), _header(file) as image:
            if not deep and (kind := kind_of(image)):
                raise BadImage(
                    f"a {image.format} of {kind}, which its name does not say: give it the suffix "
                    "of its format"
                )
            sides = image.size
            whole = image.width * image.height
            if size:
                image.draft("RGB", (size, size))
            if "progressive" not in image.info:  # else its coefficients are in memory, all of them
                whole = image.width * image.height
            if isinstance(image, Jpeg2KImageFile) and size and whole > LARGE:
                halvings = _halvings(file, image.size, size)
                image.reduce = halvings
                whole >>= 2 * halvings
            stack.enter_context(_together.take(whole))
            rgb = _rgb(image, ranges)
            rgb.info[SIDES] = sides if rgb.size == image.size else sides[::-1]  # turned
        del image  # it takes as much memory as the result
        yield rgb


def _halvings(file: Bytes, sides: tuple[int, int], size: int) -> int:
    """Return how often a JPEG 2000 can be halved as it is decoded, to no side below 4 × `size`.

    Each halving keeps every other point, not means of two, so what is halved is moved by up to half
    a pixel of its own: an eighth of one that is kept, at most.
    """
    with open(file, "rb") if isinstance(file, NAMES) else nullcontext(file) as opened:
        opened.seek(0)
        head = opened.read(2**16)
    levels = 0
    at = head.find(b"\xff\x4f\xff\x51") + 2  # the image's start, and its first segment
    while 2 <= at < len(head) - 9:
        if head[at : at + 2] == b"\xff\x52":  # how it is coded
            levels = head[at + 9]
            break
        at += 2 + int.from_bytes(head[at + 2 : at + 4])
    # The library rounds sides up, and Pillow to the nearest: where that differs it reads nothing.
    possible = (n for n in range(levels, 0, -1) if all(
        side >> n >= 4 * size and (side + 2**n // 2) >> n == -(-side >> n) for side in sides
    ))  # fmt: skip
    return next(possible, 0)


def _rgb(image: Image.Image, ranges: Ranges | None) -> Image.Image:
    """Load an image that was opened; return it as RGB, upright."""
    kind = kind_of(image)
    image.load()
    turned = 1
    with suppress(Exception):  # broken notes of a camera do not make the picture bad
        turned = image.getexif().get(ExifTags.Base.Orientation, 1)
    if kind is not None:
        image = eight_bits(
            image, kind, (ranges or {}).get(kind) or extremes_of(image, kind).range(kind)
        )
    rgb = to_rgb(image)
    return rgb.transpose(TURNS[turned]) if turned in TURNS else rgb


@contextmanager
def _header(file: Bytes) -> Iterator[Image.Image]:
    """Yield an image file that is opened and not yet loaded; refuse what is no single picture."""
    if _size(file) == 0:
        raise BadImage("the file is empty")
    image: Image.Image
    try:
        image = Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:
        image = _other_tiff(file)
    if image.format == "TIFF" and _is_planar(image):
        if isinstance(file, NAMES):
            image.close()  # else that would close the file itself
        image = _other_tiff(file)
    with image:
        image.info[FILE] = file
        if isinstance(image, TiffImageFile):
            image.info[WHITE] = image.tag_v2.get(INTERPRETATION) == 0
            # Else Pillow maps what is not compressed into memory, at the sides of what it has
            # turned upright, before it is turned.
            image.filename = ""
        width, height = image.size
        pages = _pages(image) if image.format == "TIFF" else 1
        if pages > 1:
            raise BadImage(
                f"a stack of {pages} pages of {width}×{height} pixels; save each as a file"
            )
        if min(image.size) < SMALLEST:
            raise BadImage(f"too small: {width}×{height} pixels, {SMALLEST}×{SMALLEST} needed")
        yield image


@dataclass(frozen=True)
class Survey:
    """What the images of a data set are like, where that decides how they are read.

    Attributes:
        ranges: that values of more than 8 bits use, all images together.
        remarks: {what is odd about an image that is read all the same: how many are}.
    """

    ranges: Ranges
    remarks: Mapping[str, int]


def may_be_deep(name: str) -> bool:
    """Say whether a file of this name can hold more than 8 bits a value."""
    return os.path.splitext(name)[1].lower() in DEEP


def survey(names: Iterable[str], opens: Opens = str) -> Survey:
    """Look at image files before any is read; `opens` says where they are, if not at their names.

    Files that hold 8 bits a value by their names are not opened; broken ones are passed over.
    """

    def look(name: str) -> tuple[str, tuple[str, Extremes] | None]:
        try:
            with reasons(name), _header(opens(name)) as image:
                kind = kind_of(image)
                if kind is None:
                    return remark(image), None
                with _together.take(image.width * image.height):
                    image.load()
                    return remark(image), (kind, extremes_of(image, kind))
        except BadImage:
            return "", None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(in_threads(look, filter(may_be_deep, names)))
    ranges = ranges_of(extremes for _, extremes in found if extremes)
    return Survey(ranges, Counter(said for said, _ in found if said))


def _pages(image: Image.Image) -> int:
    """Return how many pages of a TIFF are of the first one's size: others are small copies."""
    size, pages = image.size, 1
    for page in range(1, getattr(image, "n_frames", 1)):
        image.seek(page)
        pages += image.size == size
    image.seek(0)
    return pages


def _is_planar(image: Image.Image) -> bool:
    """Say whether the colours of a TIFF lie one after the other and have more than 8 bits.

    Pillow takes them for 8 bits and shows noise.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    several = tags.get(PLANAR) == 2 and tags.get(SAMPLES, 1) > 1
    return bool(several and max(tags.get(BITS, (8,))) > 8)


def _size(file: Bytes) -> int:
    """Return how many bytes an image file has."""
    if isinstance(file, NAMES):
        return os.path.getsize(file)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _other_tiff(file: Bytes) -> Image.Image:
    """Return what Pillow cannot read of a TIFF, if it is grey or RGB; else say what it is."""
    import tifffile  # slow to import

    if not isinstance(file, NAMES):
        file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            pages, shape, kind = len(tiff.pages), page.shape, page.dtype
            grey = page.axes == "YX"
            colour = page.axes in ("YXS", "SYX") and page.samplesperpixel == 3
            colour = colour and page.photometric in (1, 2)  # black is 0, or RGB
            known = (grey or colour) and pages == 1 and kind is not None and kind.kind in "fiu"
            pixels = page.imagelength * page.imagewidth
            if known and pixels > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError(f"{pixels} pixels")
            values = page.asarray() if known else None
            tag = page.tags.get(ExifTags.Base.Orientation)
            turned = tag.value if tag else 1
    except tifffile.TiffFileError as error:
        raise BadImage("not an image, or of an unknown format") from error
    if values is None:
        size = "×".join(map(str, shape))
        raise BadImage(
            f"a TIFF of {pages} {'page' if pages == 1 else 'pages'} of {size} values of type "
            f"{kind}; save it with 8 or 16 bits a value as grey or RGB"
        )
    if colour:
        image = holding(np.moveaxis(values, 0, 2) if page.axes == "SYX" else values)
    else:
        image = Image.fromarray(values.astype(np.float32))
    image.info[WHITE] = page.photometric == 0
    image.getexif()[ExifTags.Base.Orientation] = turned
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode of 8 bits a value to RGB: transparency on white."""
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
    for box in bands(image):
        result.paste(convert(image.crop(box)), box)
    return result


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


def _one_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
