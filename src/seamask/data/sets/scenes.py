"""The built-in data set: generated scenes of textured shapes, with object masks.

A scene is a textured background, one to three small shapes and, largest and in front, the main
shape, which is the class. Colours, textures, places and tilts are drawn independently of the
class, so statistics of colour or texture do not give it away. Backgrounds have middling colours
and shapes light or dark ones: a removed pixel becomes the mean colour, so that removing a shape
makes it vanish instead of leaving its outline.

An image is a pure function of (seed, index, size): every number it needs is a hash of seed, index
and a slot, so it is the same whatever the batch, the count or the order.
"""

# Arithmetic on float32 arrays is `Any` to numpy's stubs.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

VERSION = 7  # of the generator: part of the fingerprint
TEST_START = 1 << 41  # held-out images have indices from here on
MEAN = (0.5, 0.5, 0.5)  # measured
STD = (0.18, 0.18, 0.18)

Floats = npt.NDArray[np.float32]

OBJECTS = 4  # at most, the main one included
_TILT = np.float32(0.5)  # radians to either side, at most
_SLOTS = 16  # random numbers per layer
_EXTENT = 1.1  # no outline reaches further from its centre than this many radii


def generate(
    seed: int, indices: npt.NDArray[np.int64], size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Draw the images with these indices.

    Args:
        seed: of the whole data set, 0 or more.
        indices: [n], 0 or more; class = index mod 8, so any run of indices is balanced.
        size: side in pixels, at least 8.

    Returns:
        pixels uint8 [n, size, size, 3]; labels int64 [n], positions in `CLASSES`; objects uint8
        [n, size, size], what is visible: 0 background, 1 the main shape, 2 to 4 the others.
    """
    n = len(indices)
    labels = indices % len(CLASSES)
    draws = _uniform(seed, indices, (OBJECTS + 1) * _SLOTS).reshape(n, OBJECTS + 1, _SLOTS)
    axis = ((np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size))[None]

    base = 0.38 + 0.24 * draws[:, 0, :3]
    image = np.zeros((3, n, size, size), np.float32)  # one plane per colour: fast
    _paint(image, ..., draws[:, 0], base, 0.03 + 0.12 * draws[:, 0, 3], axis, axis, np.float32(1))
    objects = np.zeros((n, size, size), np.uint8)
    others = (draws[:, 0, 15] * 3).astype(np.int64) + 1
    for layer in range(OBJECTS, 0, -1):  # the main shape last: it is in front
        rows = np.flatnonzero(others >= layer - 1)
        u = draws[rows, layer]
        kind = labels[rows]
        if layer == 1:
            largest, radius = 0.4, 0.3 + 0.1 * u[:, 4]
            x, y = 0.34 + 0.32 * u[:, 5], 0.34 + 0.32 * u[:, 6]
        else:  # spread around the main shape, of another kind
            kind = (kind + 1 + (u[:, 7] * (len(CLASSES) - 1)).astype(np.int64)) % len(CLASSES)
            largest, radius = 0.15, 0.09 + 0.06 * u[:, 4]
            turn = 2 * np.pi * (draws[rows, 0, 14] + (layer + 0.5 * u[:, 5]) / (OBJECTS - 1))
            reach = 0.37 + 0.08 * u[:, 6]
            x, y = 0.5 + reach * np.cos(turn), 0.5 + reach * np.sin(turn)
        # Only a window around the shape is painted: that is most of the speed.
        window = min(int(2 * _EXTENT * largest * size) + 3, size)
        left, top = _window(x, window, size), _window(y, window, size)
        at = rows[:, None, None], top[:, :, None], left[:, None, :]
        xs, ys = axis[0, left], axis[0, top]
        colour = 0.34 * u[:, :3] + np.where(u[:, 15:] < 0.5, 0, np.float32(0.66))
        dx, dy = xs - x[:, None], ys - y[:, None]
        tilt = _TILT * (2 * u[:, 8] - 1)
        cover = _cover(kind, dx, dy, radius, tilt, size)
        _paint(image, at, u, colour, 0.15 * u[:, 3], xs, ys, cover)
        objects[at] = np.where(cover >= 0.5, np.uint8(layer), objects[at])
    pixels = np.empty((n, size, size, 3), np.uint8)
    for plane, colours in enumerate(image):
        pixels[..., plane] = colours * np.float32(255) + np.float32(0.5)
    return pixels, labels, objects


def _uniform(seed: int, indices: npt.NDArray[np.int64], count: int) -> Floats:
    """Return [n, count] numbers in [0, 1): SplitMix64 keyed by (seed, index)."""
    golden = np.uint64(0x9E3779B97F4A7C15)

    def mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    key = mix(mix(np.array([seed], np.uint64) + golden) + indices.astype(np.uint64))
    bits = mix(key[:, None] + golden * np.arange(1, count + 1, dtype=np.uint64))
    return ((bits >> np.uint64(40)) / np.float32(1 << 24)).astype(np.float32)


def _column(values: npt.ArrayLike) -> Floats:
    """Shape [n] numbers so that they broadcast over [n, y, x]."""
    return np.asarray(values, np.float32)[:, None, None]


def _window(centre: Floats, width: int, size: int) -> npt.NDArray[np.int64]:
    """Return [n, width] neighbouring pixel positions around the centres, within the image."""
    first = np.floor(centre * size - width / 2 + 0.5).astype(np.int64)
    return first.clip(0, size - width)[:, None] + np.arange(width)


def _paint(
    image: Floats, at: Any, u: Floats, colour: Floats, contrast: Floats, x: Floats, y: Floats,
    cover: Floats | np.float32,
) -> None:  # fmt: skip
    """Paint a textured layer onto part of the images.

    Args:
        image: [3, n, size, size] in [0, 1], changed in place.
        at: index of the part of each plane that is painted, [k, y, x].
        u: [k, _SLOTS] random numbers; slots 9 to 13 choose the texture.
        colour: [k, 3], patterned with a second colour that lies `contrast` [k] away per channel.
        x: [k, x] places of the pixels as a share of the image; `y` alike, [k, y].
        cover: [k, y, x] in [0, 1], how opaque the layer is.
    """
    size = image.shape[-1]
    angle = 2 * np.pi * u[:, 9]
    cycles = np.minimum(2 + 6 * u[:, 10], size / 4)  # across the image; finer ones would alias
    wave = 2 * np.pi * cycles
    right, down = _column(np.cos(angle) * wave), _column(np.sin(angle) * wave)
    x, y = x[:, None, :] - np.float32(0.5), y[:, :, None] - np.float32(0.5)
    a = right * x + down * y
    b = right * y - down * x + _column(2 * np.pi * u[:, 12])
    pattern = np.empty_like(a)
    kinds = (u[:, 13] * len(_PATTERNS)).astype(np.int64)
    for kind, function in enumerate(_PATTERNS):
        rows = np.flatnonzero(kinds == kind)
        scaled = _column(wave[rows])
        pattern[rows] = function(a[rows], b[rows], _column(2 * np.pi * u[rows, 11]), scaled)
    pattern.clip(0, 1, out=pattern)
    step = np.where(colour < 0.5, 1, -1) * contrast[:, None]  # towards the middle: stays in range
    for plane, first, change in zip(image, colour.T, step.T, strict=True):
        behind = plane[at]
        plane[at] = behind + cover * (_column(first) + pattern * _column(change) - behind)


def _gradient(a: Floats, b: Floats, phase: Floats, wave: Floats) -> Floats:
    return np.float32(0.5) + a / wave


def _stripes(a: Floats, b: Floats, phase: Floats, wave: Floats) -> Floats:
    return np.float32(0.5) + 2 * np.sin(a + phase)


def _checker(a: Floats, b: Floats, phase: Floats, wave: Floats) -> Floats:
    return np.float32(0.5) + 3 * np.sin(a + phase) * np.sin(b)


def _dots(a: Floats, b: Floats, phase: Floats, wave: Floats) -> Floats:
    return 2 * (np.sin(a + phase) + np.sin(b)) - np.float32(1.5)


def _clouds(a: Floats, b: Floats, phase: Floats, wave: Floats) -> Floats:
    a, b = np.float32(0.6) * a + phase, np.float32(0.6) * b  # two waves that bend each other
    bent = np.sin(a + 2 * np.sin(np.float32(0.7) * b)) + np.sin(b + 2 * np.sin(a + phase))
    return np.float32(0.5) + np.float32(0.35) * bent


_PATTERNS: tuple[Callable[[Floats, Floats, Floats, Floats], Floats], ...] = (
    _gradient, _stripes, _checker, _dots, _clouds,
)  # fmt: skip


def _cover(
    kind: npt.NDArray[np.int64], x: Floats, y: Floats, radius: Floats, angle: Floats, size: int
) -> Floats:
    """Return which share of each pixel the shapes cover, [n, y, x] in [0, 1].

    Args:
        kind: [n] positions in `CLASSES`.
        x: [n, x] distance from the shape's centre as a share of the image; `y` alike, [n, y].
        radius: [n] as a share of the image.
        angle: [n] in radians.
        size: side of the whole image in pixels.
    """
    dx, dy = x[:, None, :], y[:, :, None]
    cos, sin = _column(np.cos(angle) / radius), _column(np.sin(angle) / radius)
    across, down = cos * dx + sin * dy, cos * dy - sin * dx  # in units of the radius
    distance = np.empty_like(across)
    for k, function in enumerate(CLASSES.values()):
        rows = np.flatnonzero(kind == k)
        distance[rows] = function(across[rows], down[rows])
    edge: Floats = np.float32(0.5) - distance * _column(radius * size)  # one pixel wide
    return edge.clip(0, 1, out=edge)


_COS30, _SIN30 = np.float32(np.sqrt(0.75)), np.float32(0.5)


# Signed distances to the outlines, in units of the radius, negative inside; exact near the edges.


def _circle(x: Floats, y: Floats) -> Floats:
    return np.hypot(x, y) - np.float32(0.9)


def _square(x: Floats, y: Floats) -> Floats:
    return np.maximum(abs(x), abs(y)) - np.float32(0.78)


def _triangle(x: Floats, y: Floats) -> Floats:
    return np.maximum(y, _COS30 * abs(x) - _SIN30 * y) - np.float32(0.58)


def _star(x: Floats, y: Floats) -> Floats:
    sector = np.float32(2 * np.pi / 5)  # fold the ten half points onto one, then one straight edge
    turn = abs((np.arctan2(x, -y) + sector / 2) % sector - sector / 2)
    length = np.hypot(x, y)
    edge = np.array([0.45 * np.cos(np.pi / 5) - 1, 0.45 * np.sin(np.pi / 5)])  # tip to notch
    normal = (np.array([edge[1], -edge[0]]) / np.hypot(*edge)).astype(np.float32)
    return normal[0] * (length * np.cos(turn) - 1) + normal[1] * (length * np.sin(turn))


def _ring(x: Floats, y: Floats) -> Floats:
    return abs(np.hypot(x, y) - np.float32(0.72)) - np.float32(0.23)


def _cross(x: Floats, y: Floats) -> Floats:
    x, y = abs(x), abs(y)
    arm, half = np.float32(0.95), np.float32(0.3)
    return np.minimum(np.maximum(x - arm, y - half), np.maximum(x - half, y - arm))


def _hexagon(x: Floats, y: Floats) -> Floats:
    x, y = abs(x), abs(y)
    return np.maximum(y, _COS30 * x + _SIN30 * y) - np.float32(0.82)


def _heart(x: Floats, y: Floats) -> Floats:
    x, y = abs(x), y - np.float32(0.07)  # a square on its tip and two half discs on its upper edges
    half, root = np.float32(0.5), np.float32(np.sqrt(0.5))
    square = root * (x + abs(y)) - half
    disc = np.hypot(x - half * root, y + half * root) - half
    return np.minimum(square, disc)


CLASSES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "hexagon": _hexagon,
    "heart": _heart,
}
