"""Frozen features of a backbone, for probes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seamask.views import normalize


@torch.no_grad()
def extract(
    backbone: nn.Module,
    pixels: Tensor,
    size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    batch: int = 256,
) -> Tensor:
    """Return the features of images, in eval mode and without augmentation.

    The backbone is left as it was, its training mode included.

    Args:
        backbone: `[B, 3, H, W]` → `[B, F]`.
        pixels: uint8 `[n, S, S, 3]`.
        size: side at which the backbone sees them.
        mean: per channel, of values in [0, 1].
        std: per channel.
        batch: images at once.

    Returns:
        float32 `[n, F]` on the CPU.
    """
    device = next(backbone.parameters()).device
    training = backbone.training
    backbone.eval()
    found = []
    for start in range(0, len(pixels), batch):
        images = pixels[start : start + batch].to(device).permute(0, 3, 1, 2)
        images = normalize(images, mean, std, size).contiguous(memory_format=torch.channels_last)
        found.append(backbone(images).float().cpu())
    backbone.train(training)
    return torch.cat(found)
