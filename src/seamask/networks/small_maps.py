"""Convolutions on the smallest maps as matrix products, several times faster on a CPU.

The last stage of a ResNet-18 has 512 channels on 2×2 pixels at 64 px, on 3×3 at 96 px. A library's
convolution goes along the rows of a map, two or three pixels at a time, and waits for its weights;
as one product of all pixels of a batch with all weights the same arithmetic keeps a core busy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 9  # pixels of a map: 3×3; from 4×4 on a convolution is as fast (docs/performance.md)


def multiply_small_maps(network: nn.Module) -> nn.Module:
    """Let plain convolutions of `network` be matrix products where that is faster.

    In place, with the very parameters and names; results differ by rounding alone.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = SmallMapConv2d
    return network


def convolve_small_maps(network: nn.Module) -> nn.Module:
    """Undo `multiply_small_maps`."""
    for module in network.modules():
        if isinstance(module, SmallMapConv2d):
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
    return network


def _is_plain(conv: nn.Conv2d) -> bool:
    numbers = not isinstance(conv.padding, str)
    return numbers and conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"


class SmallMapConv2d(nn.Conv2d):
    """`nn.Conv2d` that multiplies matrices on a CPU where at most `LARGEST` pixels come out."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, O, H', W']`."""
        assert not isinstance(self.padding, str)
        (k, m), (s, t), (p, q) = self.kernel_size, self.stride, self.padding
        height = (x.shape[2] + 2 * p - k) // s + 1
        width = (x.shape[3] + 2 * q - m) // t + 1
        if x.device.type != "cpu" or min(height, width) < 1 or height * width > LARGEST:
            return super().forward(x)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, q, q, p, p))
        seen = [
            padded[:, i : i + s * height : s, j : j + t * width : t]
            for i in range(k)
            for j in range(m)
        ]
        columns = torch.stack(seen, dim=3).flatten(3)  # [B, H', W', k · m · C]
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # [O, k · m · C]
        return F.linear(columns, weight, self.bias).permute(0, 3, 1, 2)
