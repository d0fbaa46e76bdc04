"""The hardest of several random masks: what a mask network must beat to be needed."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import torch
from torch import Generator, Tensor, nn

from seamask.base.errors import check_choice, check_whole
from seamask.masks.masker import MASKERS, Seen, masks_of
from seamask.masks.settings import Drawn, HardestSettings


class HardestMasker(nn.Module):
    """Draw each mask K times; take, of each image, the one under which its loss is highest.

    The loss is the encoder's own, of the step that is about to be taken: K · N forward passes and
    one of the clean view. Outside a step, where there is no loss, one is drawn.

    Args:
        among: draws the masks to choose from.
        candidates: K.
    """

    learned = False

    def __init__(self, among: nn.Module, candidates: int = 4) -> None:
        super().__init__()
        check_whole("candidates", candidates, 1, 254)
        self.among, self.candidates = among, candidates
        self.n_masks = int(among.n_masks)  # type: ignore[arg-type]

    def forward(
        self,
        images: Tensor,
        generator: Generator | None = None,
        segments: Tensor | None = None,
        encoder: Seen | None = None,
    ) -> Tensor:
        """Map images `[B, C, H, W]` to masks `[B, N, H, W]` of zeros and ones.

        Args:
            images: that the masks are for.
            generator: a CPU generator of what is drawn.
            segments: of superpixels, for masks that are made of them.
            encoder: that is asked for its losses.
        """

        def draw() -> Tensor:
            return masks_of(self.among, images, generator=generator, segments=segments)

        if encoder is None or not encoder.compares:
            return draw()
        drawn = [draw() for _ in range(self.candidates)]
        losses = encoder.losses(torch.cat(drawn, dim=1))  # [B, K · N]
        best = losses.unflatten(1, (-1, self.n_masks)).argmax(1)  # [B, N]
        masks = torch.stack(drawn, dim=1)  # [B, K, N, H, W]
        return masks.take_along_dim(best[:, None, :, None, None], dim=1)[:, 0]


@MASKERS.register("hardest", HardestSettings)
def _hardest(settings: HardestSettings, image_size: int) -> HardestMasker:
    check_choice("among", settings.among, get_args(Drawn))
    among = MASKERS[settings.among](replace(settings, masker=settings.among), image_size)
    return HardestMasker(among, settings.candidates)
