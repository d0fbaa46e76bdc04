"""Backbones of one size see larger images through windows."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.errors import UserError
from seamask.evaluate.segment.fcn import FCN
from seamask.networks.check import channels_of

OVERLAP = 1 / 3  # of neighbouring windows


def adapt(model: FCN, crop: int, device: torch.device) -> int:
    """Make a backbone of fixed size take the crops, by timm's `set_input_size` where it has one.

    Returns:
        0 if the model takes images of any size, else the side of the windows that it takes.

    Raises:
        UserError: it cannot take the crops.
    """
    window = crop + -crop % model.stride
    if refusal(model, window, window + model.stride, device) is None:
        return 0
    backbone: Any = model.backbone
    if hasattr(backbone, "set_input_size"):
        backbone.set_input_size(img_size=(window, window))
        model.to(device)
    reason = refusal(model, window, window, device)
    if reason is None:
        return window
    raise UserError(
        f"cannot segment {crop}-pixel crops with {type(backbone).__name__}: {reason}; "
        "choose another --crop, or a convolutional backbone"
    )


@torch.no_grad()
def refusal(model: FCN, height: int, width: int, device: torch.device) -> str | None:
    """Return why the model cannot take an image of this size; None if it can."""
    model.eval()
    try:
        model(torch.zeros(1, channels_of(model), height, width, device=device))
    except (AssertionError, RuntimeError, ValueError, TypeError) as error:
        return next(iter(str(error).splitlines()), type(error).__name__)
    return None


def windowed(model: nn.Module, images: Tensor, window: int = 0) -> Tensor:
    """Return the logits of images, averaged over overlapping windows where `window` asks for them.

    Args:
        model: `[B, 3, H, W]` → `[B, C, H, W]`.
        images: `[B, 3, H, W]`, normalised.
        window: side of the only size that the model takes; 0: it takes any.

    Returns:
        `[B, C, H, W]`.
    """
    if not window:
        logits: Tensor = model(images)
        return logits
    height, width = images.shape[-2:]
    images = F.pad(images, (0, max(window - width, 0), 0, max(window - height, 0)))
    total: Tensor | None = None
    times = images.new_zeros(images.shape[-2:])
    for top in starts(images.shape[-2], window):
        for left in starts(images.shape[-1], window):
            place = (..., slice(top, top + window), slice(left, left + window))
            part = model(images[place])
            if total is None:
                total = part.new_zeros(*part.shape[:2], *images.shape[-2:])
            total[place] += part
            times[place] += 1
    assert total is not None
    return (total / times)[..., :height, :width]


def starts(length: int, window: int) -> list[int]:
    """Return where windows begin that cover a length evenly and overlap by a third or more."""
    n = 1 + math.ceil((length - window) / (window * (1 - OVERLAP)))
    return [round(k * (length - window) / max(n - 1, 1)) for k in range(n)]
