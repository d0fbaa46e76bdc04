"""One mask an image, drawn from its N: ADIOS-s."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from seamask.base.draws import drawn_per_image


def draw_one(masks: Tensor, generator: Generator | None) -> Tensor:
    """Draw which one of its N masks each image is trained on (ADIOS-s): index `[B, 1, 1, 1]`.

    Args:
        masks: `[B, N, H, W]`; only their shape and device matter.
        generator: a CPU generator, so that the choice does not depend on the device.
    """
    batch, n_masks = masks.shape[:2]

    def draw(images: int, source: Generator | None) -> Tensor:
        return torch.randint(n_masks, (images, 1, 1, 1), generator=source)

    return drawn_per_image(draw, batch, generator, masks.device)


def take_one(masks: Tensor, index: Tensor) -> Tensor:
    """Take mask `index[b]` of each image: `[B, N, H, W]`, `[B, 1, 1, 1]` → `[B, 1, H, W]`."""
    return torch.take_along_dim(masks, index, dim=1)
