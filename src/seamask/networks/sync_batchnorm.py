"""Batch norm over all processes: each view's statistics are those of the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx

from seamask.base.errors import UserError
from seamask.base.precision import at_least_float32


def synchronise_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Return `model` with batch norms that share statistics across processes.

    On a GPU this is PyTorch's own `SyncBatchNorm`, which has no CPU kernels; on the CPU it is
    `CpuSyncBatchNorm` for `nn.BatchNorm1d` and `nn.BatchNorm2d`.

    Raises:
        UserError: another kind of batch norm, on the CPU.
    """
    if device.type == "cuda":
        from timm.layers import convert_sync_batchnorm

        converted: nn.Module = convert_sync_batchnorm(model)  # timm's: keeps fused activations
        return converted
    for name, child in model.named_children():
        if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d):
            synchronised = CpuSyncBatchNorm(0)
            synchronised.__dict__.update(child.__dict__)  # the very parameters and buffers
            setattr(model, name, synchronised)
        elif isinstance(child, nn.modules.batchnorm._BatchNorm):
            raise UserError(
                f"--devices: {type(child).__name__} cannot share its statistics between processes "
                "on the CPU; take --devices 1, GPUs, or a backbone with plain BatchNorm2d (ResNets)"
            )
        else:
            synchronise_batchnorm(child, device)
    return model


class CpuSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose training statistics are those of the batches of all processes."""

    def _check_input_dim(self, x: Tensor) -> None:
        """Accept `[B, C]` as well as `[B, C, H, W]`."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C]` or `[B, C, H, W]`; every process must hold equally many images."""
        if not self.training or not distributed.is_initialized():
            return super().forward(x)
        world = distributed.get_world_size()
        kind, x = x.dtype, at_least_float32(x)
        others = [d for d in range(x.ndim) if d != 1]
        shape = (-1,) + (1,) * (x.ndim - 2)  # of what is [C], so that it broadcasts over x
        mean = _Sum.apply(x.mean(others)) / world  # [C]
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().mean(others)) / world  # [C]
        with torch.no_grad():
            n = x.numel() / x.shape[1] * world
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        out: Tensor = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
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
