"""One mask an image, drawn from its N: ADIOS-s."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def draw_one(batch: int, n_masks: int, generator: Generator | None) -> Tensor:
    """Draw which one of its N masks each image is trained on (ADIOS-s): index `[B, 1, 1, 1]`.

    Args:
        batch: B.
        n_masks: N.
        generator: a CPU generator, so that the choice does not depend on the device.
    """
    return torch.randint(n_masks, (batch, 1, 1, 1), generator=generator)


def take_one(masks: Tensor, index: Tensor) -> Tensor:
    """Take mask `index[b]` of each image: `[B, N, H, W]`, `[B, 1, 1, 1]` → `[B, 1, H, W]`."""
    return torch.take_along_dim(masks, index.to(masks.device), dim=1)
