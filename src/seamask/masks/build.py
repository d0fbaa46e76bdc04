"""Maskers by name. Each is registered in its own file."""

from __future__ import annotations

from torch import nn

from seamask.masks import (  # noqa: F401  # they register their maskers
    attention,
    given,
    grid,
    hardest,
    learned,
    multiblock,
    noise,
    random,
    segments,
)
from seamask.masks.masker import MASKERS
from seamask.masks.settings import MaskerSettings

__all__ = ["MASKERS", "build_masker"]


def build_masker(settings: MaskerSettings, image_size: int) -> nn.Module:
    """Build the masker that settings name, for images of `image_size` pixels.

    Args:
        settings: of the group `masks`.
        image_size: side of the images in pixels.

    Raises:
        UserError: an unknown masker, or settings that it cannot work with.
    """
    return MASKERS[settings.masker](settings, image_size)
