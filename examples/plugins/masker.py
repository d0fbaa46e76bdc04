"""A masker: N soft discs whose places a small network learns. Their size is a setting.

seamask pretrain --plugin examples/plugins/masker.py --masker discs --masks.radius 0.2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Generator, Tensor, nn

from seamask.base.settings import Within
from seamask.masks import MASKERS, MaskerSettings

EDGE = 0.02  # width of a disc's soft edge, in sides of the image: without it no place is learned


@dataclass(frozen=True)
class DiscSettings(MaskerSettings):
    """Discs of one size."""

    radius: Annotated[float, Within(0, 1, above=True)] = 0.3
    """`discs` only: of each disc, in sides of the image."""


class DiscMasker(nn.Module):
    """Remove N discs of a fixed radius, at places that depend on the image.

    Args:
        n_masks: N, discs per image.
        radius: in sides of the image.
    """

    learned = True

    def __init__(self, n_masks: int, radius: float) -> None:
        super().__init__()
        self.n_masks, self.radius = n_masks, radius
        self.places = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=4, padding=2), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Linear(32 * 4 * 4, 2 * n_masks), nn.Sigmoid(),
        )  # fmt: skip

    def forward(
        self,
        images: Tensor,
        generator: Generator | None = None,
        objects: Tensor | None = None,
        shares: Tensor | None = None,
    ) -> Tensor:
        """Map images `[B, 3, H, W]` to masks `[B, N, H, W]` in (0, 1); the rest is not used."""
        y, x = self.places(images).view(-1, 2, self.n_masks, 1, 1).unbind(1)  # [B, N, 1, 1]
        rows, columns = (
            torch.linspace(0, 1, side, dtype=y.dtype, device=y.device) for side in images.shape[2:]
        )
        distance2 = (rows[:, None] - y).square() + (columns - x).square()  # [B, N, H, W]
        # Near the edge (r² − d²) / 2r is the distance to it, and its gradient is finite everywhere.
        masks: Tensor = ((self.radius**2 - distance2) / (2 * self.radius * EDGE)).sigmoid()
        return masks


@MASKERS.register("discs", DiscSettings)
def discs(settings: DiscSettings, image_size: int) -> DiscMasker:
    """Build the masker for images of any size."""
    return DiscMasker(settings.n_masks, settings.radius)
