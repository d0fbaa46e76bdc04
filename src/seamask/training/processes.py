"""What several processes share: gradients, and (see `networks.sync_batchnorm`) statistics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import nn


def average_gradients(fabric: Fabric, parameters: Sequence[nn.Parameter]) -> None:
    """Average gradients over processes, in place, in one message; one process does nothing.

    The step calls it once per player, after all its backward passes. `DistributedDataParallel`
    would do the same with hooks inside those passes, N + 1 times, and overlap some of it.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if fabric.world_size == 1 or not gradients:
        return
    flat = fabric.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
    assert isinstance(flat, torch.Tensor)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
