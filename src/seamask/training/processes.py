"""What several processes share: gradients, and (see `networks.sync_batchnorm`) statistics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn


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


def average_with_gradient(fabric: Fabric, tensor: Tensor) -> Tensor:
    """Return the average of a tensor over processes; one process returns its own.

    The gradient of a loss that every process computes of it is right once gradients of parameters
    are averaged: what comes back is summed over the processes.
    """
    if fabric.world_size == 1:
        return tensor
    gathered = fabric.all_gather(tensor, sync_grads=True)
    assert isinstance(gathered, Tensor)
    return gathered.mean(0)
