"""Precision: how products and convolutions are computed, and what is finished in float32.

| `--precision` | networks | products and convolutions of float32 |
|---|---|---|
| `fp32` | float32 | float32 |
| `tf32` | float32 | TF32: float32 with ten bits of mantissa in products, on an NVIDIA GPU |
| `bf16` | bfloat16 under autocast | float32 |

PyTorch by itself computes convolutions in TF32 and products in float32; nothing else here sets it.
"""

from __future__ import annotations

import functools
import os
import time
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

SIDE = 384  # of the matrices that are multiplied to find out how fast a CPU is: about 1 ms each
TURNS = 24  # of which the best counts: what else runs takes a share of some
# Times as many products in bfloat16, from which on a step gains. CPUs that have no instructions for
# it are near 1 or far below, those with AVX-512's near 2, with AMX 8: far enough from either that
# two processes of one machine say the same.
FAST = 1.4


def use_precision(precision: str, deterministic: bool = False) -> None:
    """Have this process compute so from now on; before it first multiplies on a GPU.

    Args:
        precision: `fp32`, `tf32` or `bf16`; for the last, `autocast` does the rest.
        deterministic: the same numbers on the same GPU, by algorithms that may be slower; an
            operation that has none raises `RuntimeError`. Once asked for, it stays.
    """
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = False
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read with the first product
        torch.use_deterministic_algorithms(True)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return a context in which networks compute."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def chosen_precision(precision: str, kind: str) -> str:
    """Return what `--precision` means: `auto` is `bf16` where that is fast, or `fp32`.

    Args:
        precision: of the settings.
        kind: of device: `cuda`, `mps` or `cpu`.
    """
    if precision != "auto":
        return precision
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = kind == "cpu" and multiplies_bf16_fast()
    return "bf16" if fast else "fp32"


@functools.cache
def multiplies_bf16_fast() -> bool:
    """Say whether this CPU multiplies matrices well faster in bfloat16 than in float32.

    Measured once, in turns, in at most half a second or so.
    """
    kinds = torch.float32, torch.bfloat16
    pairs = [[torch.ones(SIDE, SIDE, dtype=kind) for _ in "ab"] for kind in kinds]
    best = [float("inf")] * 2
    end = time.perf_counter() + 0.4
    for turn in range(TURNS):
        for k, (a, b) in enumerate(pairs):
            begin = time.perf_counter()
            torch.mm(a, b)
            if turn:  # the first one chooses its algorithm
                best[k] = min(best[k], time.perf_counter() - begin)
        if turn and time.perf_counter() > end:
            break
    return best[0] >= FAST * best[1]


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return a floating tensor in float32, or as it is if it is more precise than that."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def in_float64(tensor: Tensor) -> Tensor:
    """Return a tensor in float64: where it is, or on the CPU if Apple's GPU has it, which has no
    such numbers."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
