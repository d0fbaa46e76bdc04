"""The U-Net that looks at an image and gives features at every pixel, for the mask heads."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.errors import UserError, check_choice, check_whole

Norm = Literal["instance", "group"]
BOTTLENECK = 128  # hidden width of the MLP at the bottom (ADIOS code)


class UNet(nn.Module):
    """U-Net after the description in ADIOS (Shi et al. 2022) and GENESIS; images → features.

    `floor(log2(image_size)) − 1` blocks of convolution 3×3, norm and ReLU, nearest resampling by
    two between them, skips concatenated, a three-layer MLP across the whole bottom.

    Args:
        image_size: (height, width) of the images in pixels, or one number for both; each of the
            halvings must divide both, of which the smaller side decides the number.
        width: base channels c; the three lowest blocks have 2c.
        norm: instance norm (affine), or group norm with 8 groups.
        blocks: levels; 0: as above.
        bottleneck: hidden width of the MLP; 0: none.
        in_channels: of the images.

    Raises:
        UserError: an argument outside its range, a size that the halvings do not divide, or group
            norm with a width that 8 does not divide.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        width: int = 32,
        norm: Norm = "instance",
        blocks: int = 0,
        bottleneck: int = BOTTLENECK,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        check_whole("width", width, 1)
        check_whole("in_channels", in_channels, 1)
        check_whole("bottleneck", bottleneck, 0)
        check_choice("norm", norm, ("instance", "group"))
        check_size(image_size, blocks=blocks)
        if norm == "group" and width % 8:
            raise UserError(f"masks.width is {width}: group norm needs a multiple of 8")
        sides = both_sides(image_size)
        n = blocks or n_blocks(min(sides))
        down = [width] * max(n - 3, 1) + [2 * width] * min(3, n - 1)  # of each level
        self.sides = sides
        self.out_channels = width
        self.down = nn.ModuleList(
            _block(i, o, norm) for i, o in zip([in_channels, *down], down, strict=False)
        )
        # On the way up each block sees the map from below and its level's skip, of equal width.
        self.up = nn.ModuleList(
            _block(2 * c, o, norm)
            for c, o in zip(reversed(down), [*down[-2::-1], width], strict=True)
        )
        flat = down[-1] * (sides[0] >> (n - 1)) * (sides[1] >> (n - 1))
        self.mlp = (
            nn.Sequential(
                nn.Flatten(),
                nn.Linear(flat, bottleneck),
                nn.ReLU(),
                nn.Linear(bottleneck, bottleneck),
                nn.ReLU(),
                nn.Linear(bottleneck, flat),
                nn.ReLU(),
            )
            if bottleneck
            else nn.Identity()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, in_channels, H, W]` to features `[B, width, H, W]`."""
        x: Tensor = images.contiguous()  # norms are slow on channels-last memory
        skips = []
        for level, block in enumerate(self.down):
            if level:
                x = _resampled(x, 0.5)
            x = block(x)
            skips.append(x)
        x = self.mlp(x).view_as(x)
        for level, block in enumerate(self.up):
            if level:
                x = _resampled(x, 2.0)
            x = block(torch.cat([x, skips.pop()], dim=1))
        return x


class InstanceNorm(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d`, on a CPU as a group norm of one channel a group: faster kernels.

    On a GPU autocast would take a group norm to float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel of each of `[B, C, H, W]`."""
        if x.device.type != "cpu":
            return super().forward(x)
        return F.group_norm(x, self.num_features, self.weight, self.bias, self.eps)


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` that keeps the type of its input, which autocast on a GPU does not: it sums
    in float32 anyway, and moves half the bytes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each group of channels of each of `[B, C, H, W]`."""
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
            return F.group_norm(x, self.num_groups, weight, bias, self.eps)


def _resampled(x: Tensor, factor: float) -> Tensor:
    """Resample by the nearest pixel in the type of `x`, which autocast on a GPU does not."""
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, scale_factor=factor, mode="nearest")


def n_blocks(image_size: int) -> int:
    """Return the number of blocks at `image_size` pixels (32: 4, 96: 5)."""
    return int(math.log2(image_size)) - 1


def both_sides(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) in pixels.

    Args:
        image_size: the same, or one number for both.

    Raises:
        UserError: it is neither.
    """
    try:
        height, width = image_size if isinstance(image_size, Iterable) else (image_size,) * 2
    except ValueError:
        raise UserError(f"image_size is {image_size!r}: expected one number or (H, W)") from None
    for side in (height, width):
        check_whole("image_size", side, 1)
    return int(height), int(width)


def check_size(image_size: int | tuple[int, int], downscale: int = 1, blocks: int = 0) -> None:
    """Refuse sides that the U-Net's halvings, after `downscale`, do not divide down to 2 or more.

    Args:
        image_size: (height, width) in pixels, or one number for both.
        downscale: the U-Net sees the image at this fraction of its sides.
        blocks: of the U-Net; 0: as many as `n_blocks` says of the smaller side.

    Raises:
        UserError: with the nearest sides that work.
    """
    sides = both_sides(image_size)
    check_choice("downscale", downscale, (1, 2, 4))
    check_whole("blocks", blocks, 0, 12)
    levels = blocks or (n_blocks(max(8, min(sides) // downscale)) if len(set(sides)) > 1 else 0)

    def works(size: int) -> bool:
        inside, rest = divmod(size, downscale)
        if rest or inside < 8:
            return False
        halvings = (levels or n_blocks(inside)) - 1
        return inside % (1 << halvings) == 0 and inside >> halvings >= 2

    for side in dict.fromkeys(sides):
        if works(side):
            continue
        near = sorted(
            filter(works, range(8, 2 * max(side, 8 * downscale << max(levels - 1, 0)))),
            key=lambda s: abs(s - side),
        )
        reduced = f" with masks.downscale {downscale}" if downscale > 1 else ""
        reduced += f" with masks.blocks {blocks}" if blocks else ""
        raise UserError(
            f"the mask network cannot take images of {sides[0]}×{sides[1]} pixels{reduced}: "
            f"its poolings do not divide them; nearest sides that work instead of {side}: "
            f"{', '.join(map(str, sorted(near[:2])))}"
        )


def _block(channels: int, out: int, norm: Norm) -> nn.Sequential:
    normalise = InstanceNorm(out, affine=True) if norm == "instance" else GroupNorm(8, out)
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), normalise, nn.ReLU())
