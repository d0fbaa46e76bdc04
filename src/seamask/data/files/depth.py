"""Pictures of more than 8 bits a value: by which range they become 0 to 255.

Of 12 bits in a file of 16, of floats, of values that stand for no data, no single image knows how
it should look: the images of a data set are scaled alike, by the range that they all use.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

BAND = 2**20  # pixels that are converted at once
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners have
LOW_BYTES = {
    "L": "B",
    "B": "L",
    "N": "B" if sys.byteorder == "little" else "L",
}  # of 16 bits, see `_pairs`
NAMES = str, os.PathLike
# Of an image's `info`, what the rest must know of it:
COLOURS = "seamask colours"  # see `holding`
FILE = "seamask file"  # what it is read from, a path (of `NAMES`) or bytes
WHITE = "seamask white"  # 0 is white, and the highest value black
GDAL_NODATA = 42113  # of a TIFF: the value that stands for no data, as text

USUAL_NODATA = (-999.0, -9999.0, -99999.0, -32767.0, -32768.0, 65535.0)

Numbers = npt.NDArray[np.generic]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""


@dataclass(frozen=True)
class Range:
    """What becomes black and what white; values outside are clipped.

    Attributes:
        low: becomes 0.
        high: becomes 255.
        nodata: values that are left out of it: far from all others.
    """

    low: float
    high: float
    nodata: tuple[float, ...] = ()

    def scale(self, values: Numbers, inverted: bool = False) -> npt.NDArray[np.uint8]:
        """Return values of any type as 0 to 255, or 255 to 0; what is no number becomes 0."""
        wide = np.asarray(values, np.float64)
        above = self.high - wide if inverted else wide - self.low
        out = above * (255 / max(self.high - self.low, 1e-12))
        return (np.nan_to_num(out, posinf=255, neginf=0).clip(0, 255) + 0.5).astype(np.uint8)

    def plain(self) -> list[float]:
        """Return what `as_range` takes."""
        return [self.low, self.high, *self.nodata]


def as_range(values: Sequence[float]) -> Range:
    """Return a range from its two ends and the values for no data.

    Raises:
        ValueError, TypeError: it is none.
    """
    low, high, *nodata = map(float, values)
    return Range(low, high, tuple(nodata))


Ranges = Mapping[str, Range]
"""By `kind_of`."""


def as_ranges(kept: Mapping[str, Sequence[float]]) -> Ranges:
    """Return the ranges of a data set from plain values; see `as_range`."""
    return {kind: as_range(values) for kind, values in kept.items()}


@dataclass
class Extremes:
    """The two lowest and the two highest different values of some images, as far as there are."""

    values: list[float] = field(default_factory=list)
    nodata: set[float] = field(default_factory=set)

    def add(self, values: Iterable[float]) -> None:
        """Take more values into account."""
        every = sorted({*self.values, *values} - self.nodata)
        self.values = every if len(every) < 4 else [*every[:2], *every[-2:]]

    def range(self, kind: str) -> Range:
        """Return the range that these values use.

        Of whole numbers from 0 on: the bits of a camera. Floats within [0, 1] are taken as they
        are. Otherwise from the lowest value to the highest. A value far from all others is taken
        for no data.
        """
        found, nodata = list(self.values), sorted(self.nodata)
        floats = kind.startswith("float")
        whole = not floats and bool(found) and found[0] >= 0
        if len(found) > 3 and _is_apart(found[-1], found[-2], found[0]):
            nodata.append(found.pop())
        if not whole and len(found) > 2 and _is_apart(found[0], found[1], found[-1]):
            nodata.append(found.pop(0))
        if not found:
            return Range(0, 1, tuple(nodata))
        low, high = found[0], found[-1]
        if floats and low >= 0 and high <= 1:
            low, high = 0, 1
        elif whole:
            tops = (2**bits - 1 for bits in DEPTHS)
            low, high = 0, next((top for top in tops if high <= top), high)
        return Range(low, high, tuple(nodata))


def _is_apart(value: float, nearest: float, farthest: float) -> bool:
    """Say whether a value is far from all others, which lie between two."""
    others = abs(farthest - nearest)
    return others > 0 and abs(value - nearest) > others * (0.5 if value in USUAL_NODATA else 2)


def holding(colours: Numbers) -> Image.Image:
    """Return an image that holds colours `[H, W, 3]` of a type for which Pillow has no mode.

    What Pillow sees of it is black; `numbers` and `eight_bits` see the colours.
    """
    height, width, _ = colours.shape
    image = Image.new("RGB", (width, height))
    image.info[COLOURS] = colours
    return image


def kind_of(image: Image.Image) -> str | None:
    """Say what an image that was opened and not yet loaded has more than 8 bits of, if it does."""
    if (colours := image.info.get(COLOURS)) is not None:
        floats = colours.dtype.kind == "f"
        return "float colour" if floats else f"{8 * colours.itemsize}-bit colour"
    if _rawmode(image).startswith(("RGB;16", "RGBA;16", "RGBX;16", "LA;16")):
        return "16-bit colour"
    if image.mode.startswith("I;16"):
        return "16-bit grey"
    return {"I": "32-bit grey", "F": "float"}.get(image.mode)


def remark(image: Image.Image) -> str:
    """Say what is odd about an image that is read all the same; empty: nothing."""
    raw = _rawmode(image)
    if image.format == "TIFF" and raw.startswith("RGBA"):
        return "TIFF whose fourth band is transparency, as it says: laid on white"
    if raw.startswith("RGBX"):
        return "TIFF of more than three bands: the first three are red, green and blue"
    return ""


def extremes_of(image: Image.Image, kind: str) -> Extremes:
    """Return the extreme values of an image of a kind."""
    found = Extremes(nodata=_nodata(image))
    for _, values in numbers(image, kind):
        seen = values[..., :3] if values.ndim == 3 else values  # and not how transparent they are
        kept = seen[np.isfinite(seen) & ~np.isin(seen, list(found.nodata))]
        for _ in range(2):  # the outermost values, then those next to them
            if len(kept):
                low, high = kept.min(), kept.max()
                found.add((float(low), float(high)))
                kept = kept[(kept > low) & (kept < high)]
    return found


def ranges_of(extremes: Iterable[tuple[str, Extremes]]) -> dict[str, Range]:
    """Return the range of each kind, of the extremes of all images of that kind."""
    merged: dict[str, Extremes] = {}
    for kind, found in extremes:
        all_of_kind = merged.setdefault(kind, Extremes())
        all_of_kind.nodata |= found.nodata
        all_of_kind.add(found.values)
    return {kind: found.range(kind) for kind, found in sorted(merged.items())}


def numbers(image: Image.Image, kind: str) -> Iterator[tuple[Box, Numbers]]:
    """Yield the values of an image, `[h, W]` or with colours `[h, W, 3]`, and the box they are of.

    Of an image with transparency there is a fourth colour. Some rows at a time: what is made on the
    way takes no memory to speak of.
    """
    if (colours := image.info.get(COLOURS)) is not None:
        for left, top, right, bottom in bands(image):
            yield (left, top, right, bottom), colours[top:bottom]
        return
    if kind == "16-bit colour":
        yield from _pairs(image)
        return
    for box in bands(image):
        yield box, np.asarray(image.crop(box))


def eight_bits(image: Image.Image, kind: str, scale: Range) -> Image.Image:
    """Return an image of a kind, loaded, with 8 bits a value: mode L, RGB or RGBA; white is 255."""
    if kind == "16-bit colour" and COLOURS not in image.info and scale.high == 65535:
        return image  # Pillow takes the upper 8 bits
    result = Image.new(image.mode if kind.endswith("colour") else "L", image.size)
    for box, values in numbers(image, kind):
        result.paste(Image.fromarray(scale.scale(values, image.info.get(WHITE, False))), box)
    return result


def bands(image: Image.Image) -> Iterator[Box]:
    """Yield boxes of an image's full width that follow each other, of `BAND` pixels."""
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _pairs(image: Image.Image) -> Iterator[tuple[Box, Numbers]]:
    """Yield the values of 16-bit colours, of which Pillow gives 8 bits at a time.

    The upper ones as it should, the lower ones if it is told that the bytes stand the other way;
    of grey with transparency all four bytes, if it is told that they are four colours.
    """
    assert isinstance(image, ImageFile.ImageFile)
    file = image.info[FILE]
    if not isinstance(file, NAMES):
        file.seek(0)
    with Image.open(file) as other:
        raw = _rawmode(other)
        grey = raw.startswith("LA")
        told = "RGBA" if grey else f"{raw[:-1]}{LOW_BYTES[raw[-1]]}"
        other.tile = [
            tile._replace(args=told if isinstance(tile[3], str) else (told, *(tile[3] or ())[1:]))
            for tile in other.tile
        ]
        for box in bands(image):
            low = np.asarray(other.crop(box)).astype(np.uint16)
            if grey:
                yield box, (low[..., [0, 0, 0, 2]] * np.uint16(256)) + low[..., [1, 1, 1, 3]]
            else:
                yield box, np.asarray(image.crop(box)).astype(np.uint16) * np.uint16(256) + low


def _rawmode(image: Image.Image) -> str:
    """Return how the values lie in the file, as Pillow calls it; empty: unknown."""
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) else ""


def _nodata(image: Image.Image) -> set[float]:
    """Return the value that a GeoTIFF says stands for no data, unless that is no number anyway."""
    said = getattr(image, "tag_v2", {}).get(GDAL_NODATA)
    try:
        value = float(str(said).strip("\0 "))
    except ValueError:
        return set()
    value = float(np.float32(value))  # as pixels have it
    return {value} if math.isfinite(value) else set()


def told(ranges: Ranges) -> list[str]:
    """Return a line on each kind."""
    lines = []
    for kind, scale in ranges.items():
        without = ", ".join(f"{value:,.6g}" for value in scale.nodata)
        lines.append(
            f"{kind} images: {scale.low:,.6g} is shown black and {scale.high:,.6g} white"
            + f"; {without} is taken for no data" * bool(without)
        )
    return lines
