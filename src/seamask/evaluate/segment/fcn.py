"""A fully convolutional network for segmentation on any timm backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.errors import UserError

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
        padded = F.pad(images, (0, -width % self.stride, 0, -height % self.stride))
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
    return F.interpolate(maps, tuple(size), mode="bilinear")


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
