"""GridMask (Chen et al. 2020): squares at equal distances; MAE's grid-wise masks among them."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from seamask.base.draws import drawn_per_image
from seamask.masks.masker import MASKERS, check_drawn
from seamask.masks.settings import RandomSettings


class GridMasker(nn.Module):
    """Remove one square of every tile of 2 × 2 cells, the grid shifted at random.

    A tile of side d loses a square of side √ratio · d, to the nearest pixel, and of a ratio above
    one half keeps one of side √(1 − ratio) · d: at 0.75 one of four cells stays (He et al. 2022,
    figure 6, grid-wise), at 0.25 one goes. The shift is drawn in pixels; GridMask's rotation and
    its random period are left out.

    Args:
        n_masks: N, masks per image, drawn independently.
        ratio: share of the pixels to remove, in [0, 1], as near as whole pixels come.
        patch: side of a cell in pixels, half the distance of the squares.
    """

    learned = False

    def __init__(self, n_masks: int = 1, ratio: float = 0.25, patch: int = 8) -> None:
        super().__init__()
        check_drawn(n_masks, ratio, patch)
        self.n_masks, self.ratio, self.patch = n_masks, ratio, patch

    def forward(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Map images `[B, C, H, W]` to masks `[B, N, H, W]` of zeros and ones.

        Args:
            images: only their shape and device matter.
            generator: a CPU generator, so that masks do not depend on the device.
        """
        period = 2 * self.patch

        def draw(n: int, source: Generator | None) -> Tensor:
            return torch.randint(period, (n, 2, self.n_masks, 1), generator=source)

        shift = drawn_per_image(draw, len(images), generator, images.device).unbind(1)
        keeps = self.ratio > 0.5
        side = round(math.sqrt(1 - self.ratio if keeps else self.ratio) * period)
        rows, columns = (
            (torch.arange(length, device=images.device) + moved) % period < side  # [B, N, H or W]
            for length, moved in zip(images.shape[-2:], shift, strict=True)
        )
        squares = rows[..., :, None] & columns[..., None, :]
        masks: Tensor = squares ^ keeps
        return masks.to(images.dtype)


@MASKERS.register("grid", RandomSettings)
def _grid(settings: RandomSettings, image_size: int) -> GridMasker:
    return GridMasker(settings.n_masks, settings.ratio, settings.patch)
