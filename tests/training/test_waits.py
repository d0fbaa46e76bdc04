"""The step on a device that computes nothing: what would break or wait on a GPU shows without one.

Tensors on PyTorch's `meta` device have shapes and no values, so whatever asks for a value (`item`,
`bool`, `nonzero`, a copy to the CPU) raises just where a GPU would be waited for.
"""

from contextlib import nullcontext

import pytest
import torch
from test_device import CASES, WAITS, workload
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seamask.base import draws

pytestmark = pytest.mark.slow


class Apart(TorchDispatchMode):
    """Refuses operations on tensors of both devices, and copies that a GPU would be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        devices = {x.device.type for x in tensors if x.ndim}  # a number on the CPU is let through
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and devices == {"cpu"}:
            assert found.device.type == "cpu", (
                f"waits: a copy of {tuple(found.shape)} to the device"
            )
        elif func is not torch.ops.aten.copy_.default:
            assert len(devices) < 2, f"{func} is given tensors of two devices"
        return found


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """No autocast, which knows no `meta` device; draws, which travel pinned, pass uncounted."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **keywords: nullcontext())
    monkeypatch.setattr(
        draws, "_draw", lambda make, device: torch.empty_like(make(), device=device)
    )


@pytest.mark.parametrize("changed", CASES, ids=str)
def test_a_step_never_waits(changed):
    work = workload(changed, "meta")
    with Apart():
        work.step()
    assert {value.device.type for value in work.metrics.values()} == {"meta"}


@pytest.mark.parametrize("changed", WAITS, ids=str)
def test_what_waits_is_known(changed):
    with pytest.raises((RuntimeError, AssertionError)), Apart():
        workload(changed, "meta").step()


class Waits(nn.Module):
    def forward(self, x):
        return x * float(x.mean())


class Mixes(nn.Module):
    def forward(self, x):
        return x @ torch.ones(4, 4)


@pytest.mark.parametrize("module", [Waits(), Mixes()])
def test_it_would_notice(module):
    with pytest.raises((RuntimeError, AssertionError)), Apart():
        module(torch.empty(4, 4, device="meta"))
