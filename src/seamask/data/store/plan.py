"""What a store is made of: its splits, and how the images of each come, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Chunk:
    """Some decoded images on their way to the store."""

    pixels: npt.NDArray[np.uint8]
    """[k, S, S, 3]."""
    labels: npt.NDArray[np.int64] | None = None
    """[k]."""
    objects: npt.NDArray[np.uint8] | None = None
    """[k, S, S]."""
    skipped: tuple[tuple[str, str], ...] = ()
    """(path, reason) of images that are not among the k."""


@dataclass(frozen=True)
class Split:
    """How to make one split."""

    total: int
    """Number of images, the ones that will be skipped included."""
    chunks: Callable[[], Iterable[Chunk]]
    labelled: bool
    """Every chunk has labels."""
    segmented: bool = False
    """Every chunk has objects."""


@dataclass(frozen=True)
class Plan:
    """How to make a store."""

    splits: dict[str, Split]
    classes: tuple[str, ...] = ()
