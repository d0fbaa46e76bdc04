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
from seamask.masks.cells import check_patch
from seamask.masks.hard import make_hard
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
    masker = MASKERS[settings.masker](settings, image_size)
    if settings.hard:
        check_patch(settings.hard_patch, image_size, image_size)
        make_hard(masker, settings.hard_patch)
    return masker
