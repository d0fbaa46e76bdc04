"""An encoder that is asked and not trained; its counters, while it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def held_still(network: nn.Module) -> Iterator[None]:
    """Keep parameters and buffers of a network as they are, while it runs in training mode.

    No gradient reaches its parameters; the running statistics that batch norm moves are put back.
    """
    with _uncounted(network):
        yield from _held(network)


@contextmanager
def counted_once(network: nn.Module) -> Iterator[None]:
    """Count what a network is given within as one batch, in the counters of its batch norms.

    Each would add 1 on the device in each pass, and nothing reads them: they are there for weights
    to load elsewhere.
    """
    with _uncounted(network) as counters:
        yield
    if counters:
        with torch.no_grad():
            torch._foreach_add_(counters, 1)


@contextmanager
def _uncounted(network: nn.Module) -> Iterator[list[Tensor]]:
    """Within, batch norms that need no counters have none; yield these."""
    norms = [
        (module, module.num_batches_tracked)
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.momentum is not None
    ]
    counters = [(norm, counter) for norm, counter in norms if counter is not None]
    for norm, _ in counters:
        norm.num_batches_tracked = None
    try:
        yield [counter for _, counter in counters]
    finally:
        for norm, counter in counters:
            norm.num_batches_tracked = counter


def _held(network: nn.Module) -> Iterator[None]:
    trained = [p for p in network.parameters() if p.requires_grad]
    alike: dict[torch.dtype, list[Tensor]] = {}  # which are copied at once
    for buffer in network.buffers():
        alike.setdefault(buffer.dtype, []).append(buffer)
    before = {kind: [torch.empty_like(b) for b in alike[kind]] for kind in alike}
    for kind, buffers in alike.items():
        torch._foreach_copy_(before[kind], buffers)
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        with torch.no_grad():
            for kind, buffers in alike.items():
                torch._foreach_copy_(buffers, before[kind])
