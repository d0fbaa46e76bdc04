"""Attention of short sequences as plain matrix products, several times faster on a CPU.

The fused kernel of PyTorch is made for sequences that do not fit the cache. On the 65 to 197 tokens
of a small ViT its backward pass in bf16 takes three to seven times as long as products and a
softmax, which is what a ViT in bf16 then spends half of its time on (docs/performance.md).
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Attention
from torch import Tensor, nn

LONGEST = 256  # tokens of which products are faster in bf16; beyond, their memory grows too
LONGEST_FLOAT = 96  # in float32


def multiply_short_attention(network: nn.Module) -> nn.Module:
    """Let plain attention of `network` be matrix products where that is faster.

    In place, with the very parameters and names; results differ by rounding alone.
    """
    for module in network.modules():
        if type(module) is Attention and module.fused_attn:
            module.__class__ = ShortAttention
    return network


def fuse_attention(network: nn.Module) -> nn.Module:
    """Undo `multiply_short_attention`."""
    for module in network.modules():
        if isinstance(module, ShortAttention):
            module.__class__ = Attention
            module.fused_attn = True
    return network


class ShortAttention(Attention):  # type: ignore[misc]
    """timm's `Attention`, fused but for short sequences on a CPU."""

    fused_attn: bool

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        """Map `[B, T, D]` to `[B, T, D]`."""
        reduced = torch.is_autocast_enabled("cpu") or x.dtype == torch.bfloat16
        short = x.shape[1] <= (LONGEST if reduced else LONGEST_FLOAT)
        fused = x.device.type != "cpu" or not short
        if self.fused_attn != fused:
            self.fused_attn = fused
        found: Tensor = super().forward(x, *others, **named)
        return found
