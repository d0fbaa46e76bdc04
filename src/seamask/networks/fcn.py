"""A fully convolutional network for segmentation on any timm backbone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from seamask.base.errors import UserError

OVERLAP = 1 / 3  # of neighbouring windows, where a backbone cannot take whole images
STAGES = 3  # FCN-8s: strides 32, 16 and 8 of a standard ResNet


class FCN(nn.Module):
    """FCN-8s (Shelhamer, Long, Darrell 2015) on the deepest three stages of a backbone.

    A 1×1 convolution scores the classes at each stage; the coarser scores are upsampled to the
    finer ones and added; the sum is upsampled to the image. All upsampling is bilinear and fixed
    (in the paper the last is, and the others start so).

    Sides that the coarsest stride does not divide are padded with zeros at the right and bottom,
    and the scores cropped: so every score belongs to exactly the square of pixels it came from.

    Args:
        backbone: a timm model, with whatever weights; becomes part of this module.
        n_classes: C.

    Raises:
        UserError: the backbone does not give its stages.
    """

    def __init__(self, backbone: nn.Module, n_classes: int) -> None:
        super().__init__()
        if not hasattr(backbone, "forward_intermediates"):
            raise UserError(
                f"cannot segment with {type(backbone).__name__}: timm's forward_intermediates is "
                "missing; take another backbone (ResNets, ConvNeXt, EfficientNet and ViT have it)"
            )
        self.backbone = backbone
        info = list(cast(Any, backbone.feature_info))  # one dict per stage, or block of a ViT
        self.indices = deepest([stage["reduction"] for stage in info])
        self.stride = int(info[-1]["reduction"])
        self.scores = nn.ModuleList(
            nn.Conv2d(info[i]["num_chs"], n_classes, kernel_size=1) for i in self.indices
        )
        # As in the paper: a random start was no better, and zeros leave the features in peace
        # until the scores mean something. The first step moves only these layers.
        for parameter in self.scores.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]`, of any H and W, to logits `[B, C, H, W]`."""
        height, width = images.shape[-2:]
        padded = functional.pad(images, (0, -width % self.stride, 0, -height % self.stride))
        stages: list[Tensor] = cast(Any, self.backbone).forward_intermediates(
            padded, indices=self.indices, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        maps = [score(stage) for score, stage in zip(self.scores, stages, strict=True)]
        logits: Tensor = maps.pop()
        while maps:
            finer = maps.pop()
            logits = finer + upsample(logits, finer.shape[-2:])
        return upsample(logits, padded.shape[-2:])[..., :height, :width]


def upsample(maps: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Resize maps `[B, C, h, w]` to `size` = (H, W), bilinearly."""
    return functional.interpolate(maps, tuple(size), mode="bilinear")


def deepest(strides: Sequence[int]) -> list[int]:
    """Return the indices of the three feature maps that are scored, from fine to coarse.

    The last map of each of the three largest strides; of a backbone with fewer strides (a ViT)
    three maps equally spaced in depth, the last one included.

    Args:
        strides: of every map, in order of depth; not falling.
    """
    last = {stride: index for index, stride in enumerate(strides)}
    if len(last) >= STAGES:
        return sorted(last.values())[-STAGES:]
    n = len(strides)
    return sorted({max(n * k // STAGES, 1) - 1 for k in range(1, STAGES + 1)})


# Backbones of one size see larger images through windows


def fit(model: FCN, crop: int, device: torch.device) -> int:
    """Make a backbone of fixed size take the crops, by timm's `set_input_size` where it has one.

    Returns:
        0 if the model takes images of any size, else the side of the windows that it takes.

    Raises:
        UserError: it cannot take the crops.
    """
    window = crop + -crop % model.stride
    if refuses(model, window, window + model.stride, device) is None:
        return 0
    backbone: Any = model.backbone
    if hasattr(backbone, "set_input_size"):
        backbone.set_input_size(img_size=(window, window))
        model.to(device)
    reason = refuses(model, window, window, device)
    if reason is None:
        return window
    raise UserError(
        f"cannot segment {crop}-pixel crops with {type(backbone).__name__}: {reason}; "
        "choose another --crop, or a convolutional backbone"
    )


@torch.no_grad()
def refuses(model: FCN, height: int, width: int, device: torch.device) -> str | None:
    """Return why the model cannot take an image of this size; None if it can."""
    model.eval()
    try:
        model(torch.zeros(1, 3, height, width, device=device))
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
    images = functional.pad(images, (0, max(window - width, 0), 0, max(window - height, 0)))
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
