"""Several views through one encoder, also stacked in one batch: each keeps its own statistics."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from seamask.networks.encoder import Encoder
from seamask.networks.removal import Masked

_BatchNorm = nn.modules.batchnorm._BatchNorm


class PerView:
    """Comes before a batch norm among the bases of a class; see `keep_views_apart`.

    Attributes:
        views: that are stacked in a batch.
    """

    views = 1

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each of `views` equal parts of the batch `[views · B, ...]` by itself."""
        forward = super().forward  # type: ignore[misc]
        if self.views == 1:
            alone: Tensor = forward(x)
            return alone
        return torch.cat([forward(part) for part in x.chunk(self.views)])


@functools.cache
def _per_view(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"PerView{kind.__name__}", (PerView, kind), {})


def keep_views_apart(network: nn.Module) -> nn.Module:
    """Give every batch norm of `network` (any kind) the ability that `stacked` asks for.

    In place, with the very parameters, buffers and names; norms of `synchronise_batchnorm`, which
    comes before, have it.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, PerView):
            module.__class__ = _per_view(type(module))  # type: ignore[arg-type, assignment]
    return network


def keeps_views_apart(network: nn.Module) -> bool:
    """Say whether every batch norm of a network keeps stacked views apart."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return all(isinstance(norm, PerView) for norm in norms)


@contextmanager
def stacked(network: nn.Module, views: int) -> Iterator[None]:
    """Within, a batch `[views · B, ...]` means the same as `views` calls with `[B, ...]` each.

    Outputs, gradients and running statistics are those of the calls one after another.

    Args:
        network: prepared by `keep_views_apart`; all else in it works image by image.
        views: equal parts that lie behind each other in the batch.
    """
    norms = [m for m in network.modules() if isinstance(m, PerView)]
    for norm in norms:
        norm.views = views
    try:
        yield
    finally:
        for norm in norms:
            norm.views = 1


def encode_views(
    encoder: nn.Module, views: Sequence[Masked], together: bool = False
) -> list[Tensor]:
    """Return the embeddings `[B, D]` of each of some views.

    Args:
        encoder: an `Encoder`, which is told what was removed and may leave such patches out;
            other modules are given images alone.
        views: images `[B, 3, H, W]`, and what is removed of them.
        together: in one batch, batch norm still view by view (see `keep_views_apart`).
    """
    if together and len(views) > 1:
        with stacked(encoder, len(views)):
            return list(encoder(torch.cat([view.seen() for view in views])).chunk(len(views)))
    if isinstance(encoder, Encoder):
        # One of a plugin may not know of `longest`.
        return [
            encoder(view.seen(), view.mask)
            if view.longest is None
            else encoder(view.seen(), view.mask, view.longest)
            for view in views
        ]
    return [encoder(view.seen()) for view in views]
