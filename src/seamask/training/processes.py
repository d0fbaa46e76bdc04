"""The processes of a run, and what they send each other: gradients, statistics, embeddings.

For batch norm's statistics see `networks.sync_batchnorm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx

from seamask.base.devices import kind_of
from seamask.base.errors import UserError
from seamask.base.messages import gathered, summed
from seamask.base.precision import autocast
from seamask.training.cluster import Place


def device_of(device: str, place: Place) -> torch.device:
    """Return what `--device` means for a process: of several GPUs, its own.

    Raises:
        UserError: there is none for it.
    """
    kind = kind_of(device)
    if kind != "cuda":
        return torch.device(kind)
    there = torch.cuda.device_count()
    own = place.by == "srun" and there == 1  # Slurm may show each task only its own
    index = 0 if own else place.local_rank
    if index >= there:
        raise UserError(
            f"process {place.rank} is the {index + 1}. of its machine, which has "
            f"{there} GPUs: start {there}, or take --device cpu"
        )
    found = torch.device(kind, index)
    torch.cuda.set_device(found)
    return found


class Processes:
    """The processes that train a run, as one of them sees them; of one, nothing is sent.

    Several have joined a group, the default one of `torch.distributed`.

    Args:
        device: where this one computes.
        precision: of networks, `fp32`, `tf32` or `bf16`; `use_precision` sets the rest of it.
        rank: of this one, from 0.
        world_size: how many there are.
    """

    def __init__(
        self,
        device: torch.device,
        precision: str = "fp32",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.device, self.precision = device, precision
        self.rank, self.world_size = rank, world_size

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which networks compute."""
        return autocast(self.device, self.precision)

    def mean(self, tensor: Tensor) -> Tensor:
        """Return the mean of a tensor over processes; it is overwritten."""
        if self.world_size > 1:
            summed(tensor).div_(self.world_size)
        return tensor

    def largest(self, tensor: Tensor) -> Tensor:
        """Return the largest values of a tensor over processes; it is overwritten."""
        if self.world_size > 1:
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """Return `[R, ...]`, the tensors of all R processes, with gradient."""
        found: Tensor = _Gather.apply(tensor, self.rank)
        return found

    def barrier(self) -> None:
        """Wait for the others."""
        if self.world_size > 1:
            gpu = [self.device.index] if self.device.type == "cuda" else None
            distributed.barrier(device_ids=gpu)

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average gradients over processes, in place, in one message.

        The step calls it once per player, after all its backward passes.
        `DistributedDataParallel` would do the same with hooks inside those passes, N + 1 times, and
        overlap some of it.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.world_size == 1 or not gradients:
            return
        flat = self.mean(torch.cat([g.flatten() for g in gradients]))
        parts = flat.split([g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def average_with_gradient(self, tensor: Tensor) -> Tensor:
        """Return the average of a tensor over processes; one process returns its own.

        The gradient of a loss that every process computes of it is right once gradients of
        parameters are averaged: what comes back is summed over the processes.
        """
        return tensor if self.world_size == 1 else self.gather(tensor).mean(0)


class _Gather(torch.autograd.Function):
    """The tensors of all processes, one after another; each gets its gradients of all of them."""

    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, rank: int) -> Tensor:
        ctx.rank = rank  # type: ignore[attr-defined]
        return gathered(tensor)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return summed(gradient.clone())[ctx.rank], None  # type: ignore[attr-defined]
