"""Precision: what is computed in low precision is finished in float32."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return a floating tensor in float32, or as it is if it is more precise than that."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def in_float64(tensor: Tensor) -> Tensor:
    """Return a tensor in float64: where it is, or on the CPU if Apple's GPU has it, which has no
    such numbers."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
