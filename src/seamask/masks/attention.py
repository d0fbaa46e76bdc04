"""AttMask (Kakogeorgiou et al., ECCV 2022): remove what the encoder attends to."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from seamask.base.draws import drawn_per_image
from seamask.base.errors import UserError, check_choice
from seamask.masks.cells import cells_of, strongest, to_pixels
from seamask.masks.masker import MASKERS, Seen, check_drawn
from seamask.masks.settings import AttentionSettings

Attend = Literal["high", "hint", "low"]
HINTS = 0.1  # of the cells, the most attended: half of them, at random, stay (its code: `show_max`)


class AttentionMasker(nn.Module):
    """Remove the cells that the encoder attends to most (`high`) or least (`low`).

    `hint` removes those it attends to most but for some of the very first, which stay as hints;
    as many more are removed, so that every mask removes its share, where the authors' code removes
    less. AttMask asks a teacher; this asks the encoder itself, by one forward pass.

    Args:
        n_masks: N, of `hint`, which draws; `high` and `low` have one mask.
        ratio: share of the cells to remove, in [0, 1]; rounded to a whole number of cells.
        patch: side of a cell in pixels, which must divide the image's sides; 1: pixels.
        attend: which cells.
    """

    learned = False

    def __init__(
        self, n_masks: int = 1, ratio: float = 0.25, patch: int = 8, attend: Attend = "high"
    ) -> None:
        super().__init__()
        check_drawn(n_masks, ratio, patch)
        check_choice("attend", attend, get_args(Attend))
        self.n_masks = n_masks if attend == "hint" else 1
        self.ratio, self.patch, self.attend = ratio, patch, attend

    def forward(
        self,
        images: Tensor,
        generator: Generator | None = None,
        encoder: Seen | None = None,
    ) -> Tensor:
        """Map images `[B, C, H, W]` to masks `[B, N, H, W]` of zeros and ones.

        Args:
            images: that the encoder is asked about.
            generator: a CPU generator, of the hints.
            encoder: that is asked for its attention.

        Raises:
            UserError: no encoder, or a patch that does not divide the image.
        """
        if encoder is None:
            raise UserError("encoder is None: AttentionMasker takes the attention of an encoder")
        grid = cells_of(images, self.patch)
        attention = encoder.attention()[:, None]  # [B, 1, h, w]
        if attention.shape[-2:] != grid:
            attention = F.interpolate(attention, grid, mode="bilinear", align_corners=False)
        if self.attend == "low":
            return to_pixels(strongest(-attention, self.ratio), images)
        if self.attend == "hint":
            attention = self._without_hints(attention.expand(-1, self.n_masks, -1, -1), generator)
        return to_pixels(strongest(attention, self.ratio), images)

    def _without_hints(self, attention: Tensor, generator: Generator | None) -> Tensor:
        """Return attention `[B, N, R, C]`, the lowest there is where a hint stays."""
        batch, *shape = attention.shape

        def draw(n: int, source: Generator | None) -> Tensor:
            return torch.rand((n, *shape), generator=source)

        chance = drawn_per_image(draw, batch, generator, attention.device)
        first = strongest(attention, HINTS)
        hints = strongest(torch.where(first, chance, -1.0), HINTS / 2)
        return torch.where(hints, -torch.inf, attention)


@MASKERS.register("attention", AttentionSettings)
def _attention(settings: AttentionSettings, image_size: int) -> AttentionMasker:
    cells_of(torch.empty(0, 3, image_size, image_size), settings.patch)
    return AttentionMasker(settings.n_masks, settings.ratio, settings.patch, settings.attend)
