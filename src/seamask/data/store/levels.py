"""How often each of the 256 levels occurs in each channel: what mean and deviation are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LEVELS = 256
AT_ONCE = 64  # images
LEAST_STD = 1 / 255  # images of one colour have none

Levels = list[list[int]]  # of each channel


def levels_of(pixels: npt.NDArray[np.uint8]) -> Levels:
    """Count the levels of images, uint8 `[n, S, S, C]`."""
    counts = np.zeros((pixels.shape[-1], LEVELS), np.int64)
    for start in range(0, len(pixels), AT_ONCE):
        for channel, values in enumerate(np.moveaxis(pixels[start : start + AT_ONCE], -1, 0)):
            counts[channel] += np.bincount(values.ravel(), minlength=LEVELS)
    return [list(map(int, row)) for row in counts]


def added(one: Levels, other: Levels) -> Levels:
    """Return the levels of both."""
    if not one:
        return other
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(one, other, strict=True)]


def mean_and_std(levels: Levels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over all pixels, of values in [0, 1]."""
    found = [_moments(row) for row in levels]
    return tuple(mean for mean, _ in found), tuple(std for _, std in found)


def _moments(counts: Sequence[int]) -> tuple[float, float]:
    n = sum(counts)
    total = sum(value * count for value, count in enumerate(counts))
    squares = sum(value * value * count for value, count in enumerate(counts))
    std = math.sqrt(n * squares - total * total) / n / 255  # whole numbers: nothing is lost
    return round(total / n / 255, 6), round(max(std, LEAST_STD), 6)
