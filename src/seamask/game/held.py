"""An encoder that is asked, and not trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def held_still(network: nn.Module) -> Iterator[None]:
    """Keep parameters and buffers of a network as they are, while it runs in training mode.

    No gradient reaches its parameters; the running statistics that batch norm moves are put back.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    buffers = list(network.buffers())
    before = [b.clone() for b in buffers]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        with torch.no_grad():
            if buffers:
                torch._foreach_copy_(buffers, before)
