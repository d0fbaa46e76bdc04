"""A network's layers as matrix products, where that is faster on a CPU, and as they were."""

from __future__ import annotations

from torch import nn

from seamask.networks.short_attention import fuse_attention, multiply_short_attention
from seamask.networks.small_maps import convolve_small_maps, multiply_small_maps


def as_products(network: nn.Module) -> nn.Module:
    """Let convolutions on small maps and attention of short sequences be matrix products.

    In place, with the very parameters and names; on a CPU alone, where results differ by rounding.
    """
    return multiply_short_attention(multiply_small_maps(network))


def as_layers(network: nn.Module) -> nn.Module:
    """Undo `as_products`: for exports, and for what a GPU computes."""
    return fuse_attention(convolve_small_maps(network))
