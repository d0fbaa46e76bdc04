"""Batch norm over all processes: each view's statistics are those of the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx


def synchronise_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Return `model` with batch norms that share statistics across processes.

    On a GPU this is PyTorch's own `SyncBatchNorm`, which has no CPU kernels; on the CPU it is
    `CpuSyncBatchNorm2d` for `nn.BatchNorm2d`.
    """
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for name, child in model.named_children():
        if type(child) is nn.BatchNorm2d:
            synchronised = CpuSyncBatchNorm2d(child.num_features, child.eps, child.momentum)
            synchronised.__dict__.update(child.__dict__)  # the very parameters and buffers
            setattr(model, name, synchronised)
        else:
            synchronise_batchnorm(child, device)
    return model


class CpuSyncBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics are those of the batches of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`; every process must hold equally many images."""
        if not self.training or not distributed.is_initialized():
            return super().forward(x)
        world = distributed.get_world_size()
        kind, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
        moments = torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))])  # [2, C]
        mean, square = _Sum.apply(moments) / world
        variance = square - mean.square()
        with torch.no_grad():
            n = x.numel() / x.shape[1] * world
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        out: Tensor = x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]
        return out.to(kind)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
