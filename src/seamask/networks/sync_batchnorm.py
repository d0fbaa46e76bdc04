"""Batch norm over all processes: each view's statistics are those of the whole batch.

PyTorch's own allows for batches of different sizes, which it asks the GPU for: three waits in each
pass of a layer. Ours are of one size; then nothing waits, and stacked views share their messages.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from seamask.base.errors import UserError
from seamask.base.messages import gathered, summed
from seamask.base.precision import at_least_float32
from seamask.networks.view_batchnorm import PerView

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, BatchNormAct2d)


def synchronise_batchnorm(network: nn.Module) -> nn.Module:
    """Let every batch norm of `network` share its statistics across processes.

    In place, with the very parameters, buffers and names.

    Raises:
        UserError: a kind of batch norm that is none of `KINDS`, or keeps no running statistics.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            if type(module) not in KINDS or not module.track_running_stats or not module.momentum:
                raise UserError(
                    f"--devices: {type(module).__name__} cannot share its statistics between "
                    "processes; take --devices 1, or a backbone with plain BatchNorm2d (ResNets)"
                )
            module.__class__ = SyncBatchNorm
    return network


class SyncBatchNorm(PerView, _BatchNorm):
    """Batch norm whose training statistics are those of the batches of all processes."""

    def _check_input_dim(self, x: Tensor) -> None:
        """Accept `[B, C]` as well as `[B, C, H, W]`."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C]` or `[B, C, H, W]`; every process must hold equally many images."""
        shared = self.training and distributed.is_initialized()
        out: Tensor = self._normalise(x) if shared else super().forward(x)
        for layer in self.children():  # timm's has drop-out and activation inside
            out = layer(out)
        return out

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _normalise(self, x: Tensor) -> Tensor:
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += self.views
        out: Tensor = _Normalise.apply(x, self.weight, self.bias, self)
        return out


class _Normalise(torch.autograd.Function):
    """Each part of `[views · B, C, ...]` by itself, one message forward and one backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, norm: SyncBatchNorm
    ) -> Tensor:
        kernels, eps = _KERNELS[x.is_cuda], norm.eps
        parts = _dense(x).chunk(norm.views)
        own = _beside([kernels.stats(part, eps) for part in parts])  # [V, 2, C]
        everyone = gathered(own)  # [R, V, 2, C]
        pixels = parts[0].numel() // parts[0].shape[1]
        counts = own.new_full((len(everyone),), pixels)  # of each process
        out, saved = [], [counts.int()]
        for v, part in enumerate(parts):
            means, inverses = everyone[:, v].unbind(1)  # [R, C]
            running = norm.running_mean, norm.running_var, norm.momentum
            mean, inverse = kernels.gather_stats(part, means, inverses, *running, eps, counts)
            out.append(kernels.elemt(part, weight, bias, mean, inverse, eps))
            saved += [mean, inverse]
        ctx.views = norm.views
        ctx.save_for_backward(x, weight, *saved)
        return torch.cat(out) if len(out) > 1 else out[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, counts, *saved = ctx.saved_tensors
        asked = ctx.needs_input_grad[:3]
        kernels = _KERNELS[x.is_cuda]
        pairs = zip(_dense(gradient).chunk(ctx.views), _dense(x).chunk(ctx.views), strict=True)
        given = [
            (dy, part, saved[2 * v], saved[2 * v + 1], weight) for v, (dy, part) in enumerate(pairs)
        ]
        sums = [kernels.backward_reduce(*each, *asked) for each in given]
        of_weight, of_bias = (
            functools.reduce(torch.add, [found[i] for found in sums]) if asked[i - 1] else None
            for i in (2, 3)
        )
        if not asked[0]:
            return None, of_weight, of_bias, None
        total = summed(_beside([found[:2] for found in sums]))  # [V, 2, C]
        of_x = [
            kernels.backward_elemt(*each, *both.unbind(), counts)
            for each, both in zip(given, total, strict=True)
        ]
        return torch.cat(of_x) if len(of_x) > 1 else of_x[0], of_weight, of_bias, None


def _beside(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    return torch.stack([x for pair in pairs for x in pair]).view(len(pairs), 2, -1)


def _dense(x: Tensor) -> Tensor:
    channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return x if channels_last else x.contiguous()


class _Kernels(NamedTuple):
    """PyTorch's kernels of a batch norm in parts, which it has for GPUs alone.

    Statistics are `[C]`: the mean, and the inverse of the standard deviation, to whose square `eps`
    was added.
    """

    stats: Callable[..., Any]
    gather_stats: Callable[..., Any]
    elemt: Callable[..., Any]
    backward_reduce: Callable[..., Any]
    backward_elemt: Callable[..., Any]


def _stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    others = [d for d in range(x.ndim) if d != 1]
    variance, mean = torch.var_mean(at_least_float32(x), others, correction=0)
    return mean, (variance + eps).rsqrt()


def _gather_stats(
    x: Tensor, mean: Tensor, inverse: Tensor, running_mean: Tensor, running_var: Tensor,
    momentum: float, eps: float, counts: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    between, total = torch.var_mean(mean, 0, correction=0)
    variance = _variance(inverse, eps).mean(0) + between
    n = counts.sum()
    running_mean.lerp_(total, momentum)
    running_var.lerp_(variance * (n / (n - 1)), momentum)
    return total, (variance + eps).rsqrt()


def _variance(inverse: Tensor, eps: float) -> Tensor:
    return inverse**-2 - eps


def _elemt(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, inverse: Tensor, eps: float
) -> Tensor:
    running = mean, _variance(inverse, eps)
    return torch.native_batch_norm(x, weight, bias, *running, False, 0.0, eps)[0]


def _backward_reduce(
    gradient: Tensor, x: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor | None, *asked: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    running = mean, _variance(inverse, 0.0)
    _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
        gradient, x, weight, *running, None, None, False, 0.0, [False, True, True]
    )
    return of_bias, of_weight / inverse, of_weight, of_bias


def _backward_elemt(
    gradient: Tensor, x: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor | None,
    sum_dy: Tensor, sum_dy_xmu: Tensor, counts: Tensor,
) -> Tensor:  # fmt: skip
    shape = (-1,) + (1,) * (x.ndim - 2)  # of what is [C], so that it broadcasts over x
    scale = inverse if weight is None else weight * inverse
    slope = -scale * inverse.square() * sum_dy_xmu / counts.sum()
    shift = -scale * sum_dy / counts.sum() - slope * mean
    affine = torch.addcmul(shift.view(shape), at_least_float32(x), slope.view(shape))
    return affine.addcmul_(at_least_float32(gradient), scale.view(shape)).to(x.dtype)


_KERNELS = {
    False: _Kernels(_stats, _gather_stats, _elemt, _backward_reduce, _backward_elemt),
    True: _Kernels(
        torch.batch_norm_stats,
        torch.batch_norm_gather_stats_with_counts,
        torch.batch_norm_elemt,
        torch.batch_norm_backward_reduce,
        torch.batch_norm_backward_elemt,
    ),
}
