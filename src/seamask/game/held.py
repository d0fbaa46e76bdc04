"""An encoder that is asked, and not trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def held_still(network: nn.Module) -> Iterator[None]:
    """Keep parameters and buffers of a network as they are, while it runs in training mode.

    No gradient reaches its parameters; the running statistics that batch norm moves are put back.
    """
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
