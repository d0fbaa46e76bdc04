"""Attention of short sequences as plain matrix products, several times faster on a CPU.

The fused kernel of PyTorch is made for sequences that do not fit the cache. On the 65 to 197 tokens
of a small ViT its backward pass in bf16 takes three to seven times as long as products and a
softmax, which is what a ViT in bf16 then spends half of its time on (docs/performance.md).
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Attention
from torch import nn

LONGEST = 256  # tokens of which products are faster in bf16; beyond, their memory grows too
LONGEST_FLOAT = 96  # in float32


def multiply_short_attention(network: nn.Module) -> nn.Module:
    """Let plain attention of `network` be matrix products where that is faster.

    In place; results differ by rounding alone.
    """
    for module in network.modules():
        if type(module) is Attention and module.fused_attn:
            module.register_forward_pre_hook(_choose)
    return network


def _choose(attention: Attention, given: tuple[Any, ...]) -> None:
    tokens = given[0]  # [B, T, D]
    reduced = torch.is_autocast_enabled("cpu") or tokens.dtype == torch.bfloat16
    short = tokens.shape[1] <= (LONGEST if reduced else LONGEST_FLOAT)
    fused = tokens.device.type != "cpu" or not short
    if attention.fused_attn != fused:
        attention.fused_attn = fused
