"""The two-player step: the encoder learns through the masks, then the masks learn to hurt it.

    min over I, max over M:   mean_i [ L(x, I, m^i) − penalties(m^i) ]

Every image has two views x^A, x^B. The masker looks at x^B and gives N masks; the encoder is
compared between the anchor x^A and each masked view x^B · (1 − m^i), or between other pairs of
clean and masked views, as asked. Both steps go through the masks one by one and free each graph
before the next, so memory does not grow with N; clean views are encoded once in each. That is
2 (N + 1) encoder passes a step, N + 1 if no masker is learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from seamask.masks import all_penalties, draw_one, take_one
from seamask.networks import Encoder

# What is compared, by name: pairs of views, clean (a, b) or masked (ma, mb).
COMPARISONS: dict[str, tuple[tuple[str, str], ...]] = {
    "one": (("a", "mb"),),
    "each": (("ma", "b"), ("a", "mb")),
    "both": (("ma", "mb"),),
    "none": (("a", "b"),),
}


class View(NamedTuple):
    """One view of a batch.

    Attributes:
        images: `[B, 3, H, W]`, normalised.
        maps: labels of their pixels, uint8 `[B, H, W]`, where the masker or the budget needs them.
    """

    images: Tensor
    maps: Tensor | None = None


def _nothing(parameters: Sequence[nn.Parameter]) -> None:
    pass


@dataclass
class TwoPlayers:
    """Who plays, and by which rules.

    Attributes:
        encoder: images `[B, 3, H, W]` → embeddings `[B, D]`; an `Encoder` is also given masks
            `[B, 1, H, W]`, other modules images whose masked pixels are blanked.
        masker: images, generator, maps → masks `[B, N, H, W]`; its attribute `learned` says whether
            it plays.
        objective: `(anchor, other)` embeddings → scalar loss.
        encoder_optimizer: updates the encoder.
        masker_optimizer: updates the masker; None if it is not learned.
        penalty_weights: weight by name of penalty; a name left out is logged but not paid.
        budget: b of the budget penalty; or what finds it, `[B, N]`, from a view's maps.
        compare: the loss of a mask is the mean over these; see `COMPARISONS`.
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
    budget: float | Callable[[Tensor | None], Tensor] = 0.25
    compare: Sequence[str] = ("one",)
    reduction: str = "mean"
    single: bool = False
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    average: Callable[[Sequence[nn.Parameter]], None] = _nothing


def two_player_step(
    players: TwoPlayers,
    batch: Sequence[tuple[View, View]],
    generator: Generator | None = None,
) -> dict[str, Tensor]:
    """Take one step of each player on a batch; return its metrics, without waiting for them.

    Args:
        players: networks, optimisers and rules; updated in place.
        batch: one pair of views, or several whose gradients are added up.
        generator: a CPU generator for masks and choices that are drawn.

    Returns:
        Scalars by name, detached, on the device: `loss/encoder`, and where masks exist
        `mask/coverage_<k>` (share removed by mask k), `mask/binary` (share of pixels below 0.1 or
        above 0.9), and where they are learned `loss/mask` (what the masker minimises) and
        `penalty/<name>` (unweighted).
    """
    # With one part the masks' graph is kept for the masker's step; with several, it is made anew.
    keep_graph = players.masker_optimizer is not None and len(batch) == 1
    parts, metrics = [], []
    with torch.set_grad_enabled(keep_graph):
        for a, b in batch:
            part = _Part({"a": a, "b": b}, players, generator)
            parts.append(part)
            metrics.append(describe(torch.cat([m.detach() for m in part.masks.values()])))
    share = 1 / len(batch)

    # 1. The encoder lowers the loss; the masks are given.
    players.encoder_optimizer.zero_grad(set_to_none=True)
    for metric, part in zip(metrics, parts, strict=True):
        metric["loss/encoder"] = _encoder_backward(players, part, share)
    players.average(list(players.encoder.parameters()))
    players.encoder_optimizer.step()

    # 2. The masker raises it, against the encoder just updated, which stays exactly as it is.
    if players.masker_optimizer is not None:
        players.masker_optimizer.zero_grad(set_to_none=True)
        with held_still(players.encoder):
            for metric, part in zip(metrics, parts, strict=True):
                if not keep_graph:
                    part.draw_masks(players, generator)
                metric |= _masker_backward(players, part, share)
        players.average(list(players.masker.parameters()))
        players.masker_optimizer.step()
    return {name: torch.stack([m[name] for m in metrics]).mean() for name in metrics[0]}


class _Part:
    """Two views of a batch, their masks, and which of them are compared."""

    def __init__(
        self, views: dict[str, View], players: TwoPlayers, generator: Generator | None
    ) -> None:
        self.views = views
        self.pairs = [pair for name in players.compare for pair in COMPARISONS[name]]
        self.weights = [
            1 / (len(players.compare) * len(COMPARISONS[name]))
            for name in players.compare
            for _ in COMPARISONS[name]
        ]
        compared = {view for pair in self.pairs for view in pair}
        self.clean = [view for view in "ab" if view in compared]
        self.masked = [view for view in "ab" if f"m{view}" in compared]
        self.draw_masks(players, generator)
        self.choice = {
            name: draw_one(len(m), m.shape[1], generator) if players.single else None
            for name, m in self.masks.items()
        }

    def draw_masks(self, players: TwoPlayers, generator: Generator | None) -> None:
        """Ask the masker: masks `[B, N, H, W]` of each view that is masked."""
        with players.autocast():
            self.masks: dict[str, Tensor] = {
                name: players.masker(self.views[name].images, generator, self.views[name].maps)
                for name in self.masked
            }

    def used(self) -> dict[str, Tensor]:
        """Return the masks that are trained on, `[B, N or 1, H, W]`, of each view."""
        chosen = {}
        for name, masks in self.masks.items():
            choice = self.choice[name]
            chosen[name] = masks if choice is None else take_one(masks, choice)
        return chosen

    def encode_clean(self, players: TwoPlayers) -> dict[str, Tensor]:
        """Return embeddings `[B, D]` of the clean views that are compared."""
        return {name: _encode(players, self.views[name].images) for name in self.clean}

    def loss(
        self, players: TwoPlayers, clean: dict[str, Tensor], masks: dict[str, Tensor]
    ) -> Tensor:
        """Return the loss of one mask `[B, 1, H, W]` of each masked view."""
        z = dict(clean)
        for name, mask in masks.items():
            z[f"m{name}"] = _encode(players, self.views[name].images, mask)
        losses = [players.objective(z[first], z[second]) for first, second in self.pairs]
        return sum(w * loss for w, loss in zip(self.weights, losses, strict=True))  # type: ignore[return-value]


def _encoder_backward(players: TwoPlayers, part: _Part, share: float) -> Tensor:
    """Add the gradient of the encoder's loss to its parameters; return the loss."""
    encoded = part.encode_clean(players)  # [B, D]: the only graphs kept from mask to mask
    # These collect what each mask's loss asks of the clean views.
    clean = {name: z.detach().requires_grad_() for name, z in encoded.items()}
    masks = {name: m.detach() for name, m in part.used().items()}
    weight = share * _mask_weight(players, masks)
    total = torch.zeros((), device=part.views["a"].images.device)
    for one in _one_by_one(masks):
        loss = weight * part.loss(players, clean, one)
        loss.backward()
        total += loss.detach()
    for name, z in encoded.items():
        z.backward(clean[name].grad)
    return total / share


def _masker_backward(players: TwoPlayers, part: _Part, share: float) -> dict[str, Tensor]:
    """Add the gradient of −(loss − penalties) to the masker's parameters; return its metrics."""
    used = part.used()
    with torch.no_grad():
        clean = part.encode_clean(players)
    weight = share * _mask_weight(players, used)
    gain = torch.zeros((), device=part.views["a"].images.device)
    asked: dict[str, list[Tensor]] = {name: [] for name in used}  # the gain's gradients, by mask
    for one in _one_by_one({name: m.detach() for name, m in used.items()}):
        for mask in one.values():
            mask.requires_grad_()
        loss = weight * part.loss(players, clean, one)
        for name, gradient in zip(one, torch.autograd.grad(loss, list(one.values())), strict=True):
            asked[name].append(gradient)
        gain += loss.detach()
    penalties = _penalties(players, part)
    price = sum(share * w * penalties[name] for name, w in players.penalty_weights.items())
    # Through this product the masker's parameters receive the gradient of −gain.
    given = torch.stack([(used[name] * torch.cat(asked[name], dim=1)).sum() for name in used])
    (price - given.sum()).backward()
    metrics = {f"penalty/{name}": value.detach() for name, value in penalties.items()}
    metrics["loss/mask"] = (torch.as_tensor(price).detach() - gain) / share
    return metrics


def _penalties(players: TwoPlayers, part: _Part) -> dict[str, Tensor]:
    """Return every penalty, unweighted, mean over the views that are masked."""
    found = []
    for name, masks in part.masks.items():
        budget = players.budget
        found.append(
            all_penalties(masks, budget(part.views[name].maps) if callable(budget) else budget)
        )
    return {name: torch.stack([f[name] for f in found]).mean() for name in found[0]}


def _one_by_one(masks: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Go through the masks `[B, N, H, W]` of each view: mask k of every view, `[B, 1, H, W]`."""
    splits = [m.split(1, dim=1) for m in masks.values()]
    for together in zip(*splits, strict=True):
        yield dict(zip(masks, together, strict=True))


def _encode(players: TwoPlayers, images: Tensor, mask: Tensor | None = None) -> Tensor:
    with players.autocast():
        if mask is None:
            embeddings: Tensor = players.encoder(images)
        elif isinstance(players.encoder, Encoder):  # which may leave masked patches out
            embeddings = players.encoder(images, mask)
        else:
            embeddings = players.encoder(images * (1 - mask))
    return embeddings


def _mask_weight(players: TwoPlayers, masks: dict[str, Tensor]) -> float:
    n_masks = next(iter(masks.values())).shape[1]
    return 1 / n_masks if players.reduction == "mean" else 1.0


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
