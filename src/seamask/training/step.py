"""The two-player step: the encoder learns through the masks, then the masks learn to hurt it.

    min over I, max over M:   mean_i [ L(x, I, m^i) − penalties(m^i) ]

Every image has two views x^A, x^B. The masker looks at x^B and gives N masks; the encoder is
compared between the anchor x^A and each masked view x^B · (1 − m^i). Both steps go through the
masks one by one and free each graph before the next, so memory does not grow with N; the anchor
is encoded once in each. That is 2 (N + 1) encoder passes a step, N + 1 if no masker is learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from seamask.masks import all_penalties, draw_one, take_one

View = tuple[Tensor, Tensor]  # x_a, x_b, each [B, 3, H, W]


def _nothing(parameters: Sequence[nn.Parameter]) -> None:
    pass


@dataclass
class TwoPlayers:
    """Who plays, and by which rules.

    Attributes:
        encoder: images `[B, 3, H, W]` → embeddings `[B, D]`.
        masker: images → masks `[B, N, H, W]`; its attribute `learned` says whether it plays.
        objective: `(anchor, other)` embeddings → scalar loss.
        encoder_optimizer: updates the encoder.
        masker_optimizer: updates the masker; None if it is not learned.
        penalty_weights: weight by name of penalty; a name left out is logged but not paid.
        budget: b of the budget penalty.
        reduction: `mean` or `sum` over the masks.
        single: train on one of the N masks per image, drawn at random (ADIOS-s).
        autocast: context of every network pass, for mixed precision.
        average: averages the gradients of parameters over processes, in place.
    """

    encoder: nn.Module
    masker: nn.Module
    objective: Callable[[Tensor, Tensor], Tensor]
    encoder_optimizer: Optimizer
    masker_optimizer: Optimizer | None
    penalty_weights: dict[str, float] = field(default_factory=dict)
    budget: float = 0.25
    reduction: str = "mean"
    single: bool = False
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    average: Callable[[Sequence[nn.Parameter]], None] = _nothing


def two_player_step(
    players: TwoPlayers, views: Sequence[View], generator: Generator | None = None
) -> dict[str, Tensor]:
    """Take one step of each player on a batch; return its metrics, without waiting for them.

    Args:
        players: networks, optimisers and rules; updated in place.
        views: the batch, as one pair of views, or several whose gradients are added up.
        generator: a CPU generator for masks and choices that are drawn.

    Returns:
        Scalars by name, detached, on the device: `loss/encoder`, and where masks exist
        `mask/coverage_<k>` (share removed by mask k), `mask/binary` (share of pixels below 0.1 or
        above 0.9), and where they are learned `loss/mask` (what the masker minimises) and
        `penalty/<name>` (unweighted).
    """
    # With one part the masks' graph is kept for the masker's step; with several, it is made anew.
    keep_graph = players.masker_optimizer is not None and len(views) == 1
    batches, metrics = [], []
    with torch.set_grad_enabled(keep_graph):
        for x_a, x_b in views:
            masks = _masks(players, x_b, generator)  # [B, N, H, W]
            choice = draw_one(len(masks), masks.shape[1], generator) if players.single else None
            batches.append((x_a, x_b, masks, choice))
            metrics.append(describe(masks.detach()))
    share = 1 / len(views)

    # 1. The encoder lowers the loss; the masks are given.
    players.encoder_optimizer.zero_grad(set_to_none=True)
    for metric, (x_a, x_b, masks, choice) in zip(metrics, batches, strict=True):
        used = _used(masks.detach(), choice)
        metric["loss/encoder"] = _encoder_backward(players, x_a, x_b, used, share)
    players.average(list(players.encoder.parameters()))
    players.encoder_optimizer.step()

    # 2. The masker raises it, against the encoder just updated, which stays exactly as it is.
    if players.masker_optimizer is not None:
        players.masker_optimizer.zero_grad(set_to_none=True)
        with held_still(players.encoder):
            for metric, (x_a, x_b, masks, choice) in zip(metrics, batches, strict=True):
                masks = masks if keep_graph else _masks(players, x_b, generator)
                metric |= _masker_backward(players, x_a, x_b, masks, choice, share)
        players.average(list(players.masker.parameters()))
        players.masker_optimizer.step()
    return {name: torch.stack([m[name] for m in metrics]).mean() for name in metrics[0]}


def _encoder_backward(
    players: TwoPlayers, x_a: Tensor, x_b: Tensor, masks: Tensor, share: float
) -> Tensor:
    """Add the gradient of the encoder's loss to its parameters; return the loss."""
    z_a = _encode(players, x_a)  # [B, D], the only graph kept from mask to mask
    anchor = z_a.detach().requires_grad_()  # collects what each mask's loss asks of the anchor
    weight = share * _mask_weight(players, masks)
    total = torch.zeros((), device=x_a.device)
    for mask in masks.split(1, dim=1):  # [B, 1, H, W]
        loss = weight * players.objective(anchor, _encode(players, x_b * (1 - mask)))
        loss.backward()
        total += loss.detach()
    z_a.backward(anchor.grad)
    return total / share


def _masker_backward(
    players: TwoPlayers,
    x_a: Tensor,
    x_b: Tensor,
    masks: Tensor,
    choice: Tensor | None,
    share: float,
) -> dict[str, Tensor]:
    """Add the gradient of −(loss − penalties) to the masker's parameters; return its metrics."""
    used = _used(masks, choice)  # [B, N or 1, H, W]
    with torch.no_grad():
        z_a = _encode(players, x_a)
    weight = share * _mask_weight(players, used)
    gain = torch.zeros((), device=x_a.device)
    asked = []  # what the gain asks of each mask: its gradient, [B, 1, H, W]
    for mask in used.detach().split(1, dim=1):
        mask.requires_grad_()
        loss = weight * players.objective(z_a, _encode(players, x_b * (1 - mask)))
        asked.append(torch.autograd.grad(loss, mask)[0])
        gain += loss.detach()
    penalties = all_penalties(masks, players.budget)
    price = sum(share * w * penalties[name] for name, w in players.penalty_weights.items())
    # Through this product the masker's parameters receive the gradient of −gain.
    (price - (used * torch.cat(asked, dim=1)).sum()).backward()
    metrics = {f"penalty/{name}": value.detach() for name, value in penalties.items()}
    metrics["loss/mask"] = (torch.as_tensor(price).detach() - gain) / share
    return metrics


def _used(masks: Tensor, choice: Tensor | None) -> Tensor:
    return masks if choice is None else take_one(masks, choice)


def _masks(players: TwoPlayers, x_b: Tensor, generator: Generator | None) -> Tensor:
    with players.autocast():
        masks: Tensor = players.masker(x_b, generator)
    return masks


def _encode(players: TwoPlayers, images: Tensor) -> Tensor:
    with players.autocast():
        embeddings: Tensor = players.encoder(images)
    return embeddings


def _mask_weight(players: TwoPlayers, masks: Tensor) -> float:
    return 1 / masks.shape[1] if players.reduction == "mean" else 1.0


@contextmanager
def held_still(encoder: nn.Module) -> Iterator[None]:
    """Keep the parameters and buffers of `encoder` as they are, while it runs in training mode.

    No gradient reaches its parameters; the running statistics that batch norm moves are put back.
    """
    trained = [p for p in encoder.parameters() if p.requires_grad]
    buffers = list(encoder.buffers())
    before = [b.clone() for b in buffers]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


def describe(masks: Tensor) -> dict[str, Tensor]:
    """Return coverage of each mask and the share of pixels that are nearly 0 or 1.

    Args:
        masks: `[B, N, H, W]` in [0, 1].
    """
    coverage = masks.mean((0, 2, 3))
    found = {f"mask/coverage_{k}": c for k, c in enumerate(coverage, start=1)}
    found["mask/binary"] = ((masks < 0.1) | (masks > 0.9)).float().mean()
    return found
