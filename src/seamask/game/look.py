"""What a masker may ask the encoder about the images that it masks. Nothing of it moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seamask.game.held import held_still
from seamask.networks.maps import attention_map


@dataclass(frozen=True)
class Look:
    """The encoder as a masker sees it; see `seamask.masks.masker.Seen`.

    Attributes:
        encoder: that is trained, or the backbone of one that was.
        images: `[B, C, H, W]`, of which masks are asked.
        loss_under: mask `[B, 1, H, W]` → the loss of each image under it, `[B]`; None outside a
            step, where there is no other view to compare with.
    """

    encoder: nn.Module
    images: Tensor
    loss_under: Callable[[Tensor], Tensor] | None = None

    @torch.no_grad()
    def attention(self) -> Tensor:
        """Return how much the encoder attends to each place, `[B, h, w]`."""
        with held_still(self.encoder):
            return attention_map(getattr(self.encoder, "backbone", self.encoder), self.images)

    @property
    def compares(self) -> bool:
        """Whether there is a loss: inside a step."""
        return self.loss_under is not None

    @torch.no_grad()
    def losses(self, masks: Tensor) -> Tensor:
        """Return the loss of each image under each of some masks, `[B, K, H, W]` → `[B, K]`.

        One encoder pass a mask; only inside a step.
        """
        assert self.loss_under is not None
        with held_still(self.encoder):
            return torch.stack([self.loss_under(m) for m in masks.split(1, dim=1)], dim=1)
