"""Masks that are made of cells: squares of pixels, as large as the patches of a ViT, say."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from seamask.base.errors import UserError


def check_patch(patch: int, height: int, width: int) -> None:
    """Refuse a patch that does not divide the image's sides.

    Raises:
        UserError: with the nearest patch that does.
    """
    if height % patch or width % patch:
        fits = [p for p in range(1, min(height, width) + 1) if not height % p and not width % p]
        near = min(fits, key=lambda p: abs(p - patch))
        raise UserError(f"patch {patch} does not divide {height}×{width} pixels: take {near}")


def cells_of(images: Tensor, patch: int) -> tuple[int, int]:
    """Return rows and columns of the grid of cells of images `[B, C, H, W]`.

    Raises:
        UserError: cells of `patch` pixels do not divide the images.
    """
    height, width = images.shape[-2:]
    check_patch(patch, height, width)
    return height // patch, width // patch


def strongest(scores: Tensor, share: float | Tensor) -> Tensor:
    """Return where the scores are highest, just a share of the cells of each grid.

    Args:
        scores: `[..., R, C]`; of equal ones the first are taken.
        share: in [0, 1], a number or `[...]`; rounded to a whole number of cells.

    Returns:
        bool `[..., R, C]`.
    """
    flat = scores.flatten(-2)
    rank = flat.argsort(stable=True, dim=-1, descending=True).argsort(-1)
    count = share * flat.shape[-1]
    found: Tensor = rank < (count.round()[..., None] if isinstance(count, Tensor) else round(count))
    return found.view(scores.shape)


def to_pixels(cells: Tensor, images: Tensor) -> Tensor:
    """Return masks of cells `[B, N, R, C]` as masks of the images' pixels, `[B, N, H, W]`."""
    return F.interpolate(cells.to(images.dtype), images.shape[-2:], mode="nearest")
