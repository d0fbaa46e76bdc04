"""Frozen features of a backbone, for probes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seamask.views import normalize

Triple = tuple[float, float, float]
BATCH = 256  # images at once


@torch.no_grad()
def over_images(
    function: Callable[[Tensor], Tensor],
    device: torch.device,
    pixels: Tensor,
    size: int,
    mean: Triple,
    std: Triple,
) -> Tensor:
    """Return what a function makes of whole images, without augmentation and without gradient.

    Args:
        function: normalised images `[B, 3, size, size]`, channels-last → `[B, ...]`.
        device: where to compute.
        pixels: uint8 `[n, S, S, 3]`.
        size: side at which the function sees them.
        mean: per channel, of values in [0, 1].
        std: per channel.

    Returns:
        float32 `[n, ...]` on the CPU.
    """
    found = []
    for part in pixels.split(BATCH):
        images = normalize(part.to(device).permute(0, 3, 1, 2), mean, std, size)
        images = images.contiguous(memory_format=torch.channels_last)
        found.append(function(images).float().cpu())
    return torch.cat(found)


def extract(backbone: nn.Module, pixels: Tensor, size: int, mean: Triple, std: Triple) -> Tensor:
    """Return the features `[n, F]` of images, in eval mode; see `over_images`.

    The backbone, `[B, 3, H, W]` → `[B, F]`, is left as it was, its training mode included.
    """
    training = backbone.training
    device = next(backbone.parameters()).device
    found = over_images(backbone.eval(), device, pixels, size, mean, std)
    backbone.train(training)
    return found
