"""The two-player step: the encoder learns through the masks, then the masks learn to hurt it.

    min over I, max over M:   mean_i [ L(x, I, m^i) − penalties(m^i) ]

Every image has two views x^A, x^B. The masker looks at x^B and gives N masks; the encoder is
compared between the anchor x^A and each masked view x^B · (1 − m^i), or between other pairs of
clean and masked views, as asked. Both steps go through the masks one by one and free each graph
before the next, so memory does not grow with N; clean views are encoded once in each. That is
2 (N + 1) encoder passes a step, N + 1 if no masker is learned.

Two switches make it faster. Stacked views go through the encoder together, batch norm still view by
view: the same step, more memory. Simultaneous updates take the masker's gradient from the encoder's
own backward pass, reversed at the masks: N + 1 passes, but another dynamic, since the masker no
longer answers the encoder that was just updated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from seamask.masks import PENALTIES, all_penalties, draw_one, take_one
from seamask.masks.penalties import alone
from seamask.networks import Encoder
from seamask.networks.view_batchnorm import stacked

# What is compared, by name: pairs of views, clean (a, b) or masked (ma, mb). A loss is the mean
# over its directed terms, of which a pair has two (ADIOS's SimSiam): so `each` weighs as much as
# `none` and `both` together.
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


Seen = tuple[Tensor, Tensor | None]  # images, and the mask of what the encoder does not see of them


def _nothing(given: object) -> None:
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
        one_way: `(predicted, target)` embeddings → scalar loss, if a clean view is only ever the
            target of a masked one, never predicted from it; None: both ways, by `objective`.
        remember: is given the anchor's embeddings `[B, D]`, detached, of each part of a batch.
        encoder_optimizer: updates the encoder.
        masker_optimizer: updates the masker; None if it is not learned.
        penalty_weights: weight by name of penalty; a name left out is logged but not paid.
        budget: b of the budget penalty; or what finds it, `[B, N]`, from a view's maps.
        compare: the loss of a mask is the mean over these; see `COMPARISONS`.
        reduction: `mean` ([Seq]) or `sum` ([ADIOS]'s code) over the masks of a view; of penalties
            over the views.
        single: train on one of the N masks per image, drawn at random (ADIOS-s), the same for both
            players and both views.
        simultaneous: both players answer what the other was before the step.
        stack: encode all views at once, not mask by mask; the encoder must have gone through
            `networks.view_batchnorm.keep_views_apart`.
        autocast: context of every network pass, for mixed precision.
        average: averages the gradients of parameters over processes, in place.
        average_masks: averages a tensor over processes, with gradient.
    """

    encoder: nn.Module
    masker: nn.Module
    objective: Callable[[Tensor, Tensor], Tensor]
    encoder_optimizer: Optimizer
    masker_optimizer: Optimizer | None
    penalty_weights: dict[str, float] = field(default_factory=dict)
    budget: float | Callable[[Tensor | None], Tensor] = 0.25
    compare: Sequence[str] = ("one",)
    one_way: Callable[[Tensor, Tensor], Tensor] | None = None
    remember: Callable[[Tensor], None] = _nothing
    reduction: Literal["mean", "sum"] = "mean"
    single: bool = False
    simultaneous: bool = False
    stack: bool = False
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    average: Callable[[Sequence[nn.Parameter]], None] = _nothing
    average_masks: Callable[[Tensor], Tensor] = alone


def two_player_step(
    players: TwoPlayers,
    batch: Sequence[tuple[View, View]],
    generator: Generator | None = None,
    move_masks: bool = True,
) -> dict[str, Tensor]:
    """Take one step of each player on a batch; return its metrics, without waiting for them.

    Args:
        players: networks, optimisers and rules; updated in place.
        batch: one pair of views, or several whose gradients are averaged.
        generator: a CPU generator for masks and choices that are drawn.
        move_masks: False leaves a learned masker as it is in this step.

    Returns:
        Scalars by name, detached, on the device: `loss/encoder`, and where masks exist
        `mask/coverage_<k>` (share removed by mask k), `mask/binary` (share of pixels below 0.1 or
        above 0.9), and where they move `loss/mask` (what the masker minimises) and
        `penalty/<name>` (unweighted).
    """
    masker_optimizer = players.masker_optimizer if move_masks else None
    simultaneous = players.simultaneous and masker_optimizer is not None
    # With one part the masks' graph is kept for the masker's step; with several, it is made anew.
    keep_graph = masker_optimizer is not None and len(batch) == 1
    parts, metrics = [], []
    with torch.set_grad_enabled(keep_graph):
        for a, b in batch:
            part = _Part({"a": a, "b": b}, players, generator)
            parts.append(part)
            metrics.append(describe(torch.cat([m.detach() for m in part.masks.values()])))
    share = 1 / len(batch)

    # 1. The encoder lowers the loss; the masks are given. Simultaneously, the same backward pass
    # says what each pixel removed has cost it.
    players.encoder_optimizer.zero_grad(set_to_none=True)
    for metric, part in zip(metrics, parts, strict=True):
        part.give_masks(ask=simultaneous)
        metric["loss/encoder"] = _encoder_backward(players, part, share)
        players.remember(part.anchor)
    players.average(list(players.encoder.parameters()))
    players.encoder_optimizer.step()

    # 2. The masker raises it. Alternating, it asks the encoder just updated, which stays exactly
    # as it is.
    if masker_optimizer is not None:
        masker_optimizer.zero_grad(set_to_none=True)
        with nullcontext() if simultaneous else held_still(players.encoder):
            for metric, part in zip(metrics, parts, strict=True):
                if not keep_graph:
                    part.draw_masks(players, generator)
                gain = metric["loss/encoder"]
                if not simultaneous:
                    part.give_masks(ask=True)
                    gain = _ask(players, part, share)
                metric |= _masker_backward(players, part, share, gain)
        players.average(list(players.masker.parameters()))
        masker_optimizer.step()
    return {name: torch.stack([m[name] for m in metrics]).mean() for name in metrics[0]}


class _Part:
    """Two views of a batch, their masks, and which of them are compared."""

    def __init__(
        self, views: dict[str, View], players: TwoPlayers, generator: Generator | None
    ) -> None:
        self.views = views
        self.pairs, terms = _compared(players.compare, players.one_way is not None)
        self.weights = [n / sum(terms) for n in terms]
        one_way = players.one_way or players.objective
        self.losses = [one_way if n == 1 else players.objective for n in terms]
        compared = {view for pair in self.pairs for view in pair}
        self.clean = [view for view in "ab" if view in compared]
        self.anchor_view = self.clean[0] if self.clean else self.pairs[0][0]
        self.masked = [view for view in "ab" if f"m{view}" in compared]
        self.draw_masks(players, generator)
        self.choice = None
        if players.single and self.masks:
            masks = next(iter(self.masks.values()))
            self.choice = draw_one(len(masks), masks.shape[1], generator)

    def draw_masks(self, players: TwoPlayers, generator: Generator | None) -> None:
        """Ask the masker: masks `[B, N, H, W]` of each view that is masked."""
        with players.autocast():
            self.masks: dict[str, Tensor] = {
                name: players.masker(self.views[name].images, generator, self.views[name].maps)
                for name in self.masked
            }

    def used(self) -> dict[str, Tensor]:
        """Return the masks that are trained on, `[B, N or 1, H, W]`, of each view."""
        if self.choice is None:
            return self.masks
        return {name: take_one(masks, self.choice) for name, masks in self.masks.items()}

    def give_masks(self, ask: bool) -> None:
        """Hand the masks to the encoder, without their graph.

        `given` holds mask k of each view, `[B, 1, H, W]`; with `ask`, a backward pass leaves the
        loss's gradient in each.
        """
        used = {name: masks.detach() for name, masks in self.used().items()}
        together = zip(*(masks.split(1, dim=1) for masks in used.values()), strict=True)
        self.given = [
            {name: m.requires_grad_(ask) for name, m in zip(used, ms, strict=True)}
            for ms in together
        ]

    def asked(self) -> dict[str, Tensor]:
        """Return the gradients in the masks given, `[B, N or 1, H, W]`, of each view."""
        return {
            name: torch.cat([cast(Tensor, masks[name].grad) for masks in self.given], dim=1)
            for name in self.masked
        }

    def encode_clean(self, players: TwoPlayers) -> dict[str, Tensor]:
        """Return embeddings `[B, D]` of the clean views that are compared."""
        seen: list[Seen] = [(self.views[name].images, None) for name in self.clean]
        return dict(zip(self.clean, encode(players, seen), strict=True))

    def loss(
        self,
        players: TwoPlayers,
        given: Sequence[dict[str, Tensor]],
        clean: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """Return the sum of the losses of masks.

        Args:
            players: who encodes and compares.
            given: some of `self.given`.
            clean: embeddings of the clean views; None: they are encoded along with the others.
        """
        names = self.clean if clean is None else []
        seen: list[Seen] = [(self.views[name].images, None) for name in names]
        seen += [(self.views[name].images, m) for masks in given for name, m in masks.items()]
        encoded = iter(encode(players, seen))
        known = {name: next(encoded) for name in names} if clean is None else clean
        total: Tensor | float = 0.0
        for masks in given:
            z = known | {f"m{name}": next(encoded) for name in masks}
            for weight, loss, pair in zip(self.weights, self.losses, self.pairs, strict=True):
                total = total + weight * loss(*(z[view] for view in pair))
        self.anchor = z[self.anchor_view].detach()  # [B, D]
        return cast(Tensor, total)


def _encoder_backward(players: TwoPlayers, part: _Part, share: float) -> Tensor:
    """Add the gradient of the encoder's loss to its parameters; return the loss."""
    weight = share * _mask_weight(players, part)
    if players.stack:
        loss = weight * part.loss(players, part.given)
        loss.backward()
        return loss.detach() / share
    encoded = part.encode_clean(players)  # [B, D]: the only graphs kept from mask to mask
    # These collect what each mask's loss asks of the clean views.
    clean = {name: z.detach().requires_grad_() for name, z in encoded.items()}
    total = torch.zeros((), device=part.views["a"].images.device)
    for masks in part.given:
        loss = weight * part.loss(players, [masks], clean)
        loss.backward()
        total += loss.detach()
    for name, z in encoded.items():
        if clean[name].grad is not None:  # one-sided, a clean view is only ever a target
            z.backward(clean[name].grad)
    return total / share


def _ask(players: TwoPlayers, part: _Part, share: float) -> Tensor:
    """Leave the gradient of the loss in the masks given; return the loss. The encoder is frozen."""
    with torch.no_grad():
        clean = part.encode_clean(players)
    weight = share * _mask_weight(players, part)
    total = torch.zeros((), device=part.views["a"].images.device)
    for masks in [part.given] if players.stack else [[one] for one in part.given]:
        loss = weight * part.loss(players, masks, clean)
        loss.backward()
        total += loss.detach()
    return total / share


def _masker_backward(
    players: TwoPlayers, part: _Part, share: float, gain: Tensor
) -> dict[str, Tensor]:
    """Add the gradient of −(loss − penalties) to the masker's parameters; return its metrics.

    `gain` is the loss, whose gradients `part.asked()` are.
    """
    used, asked = part.used(), part.asked()
    penalties = _penalties(players, part)
    price = sum(w * penalties[name] for name, w in players.penalty_weights.items())
    # Through this product the masker's parameters receive the gradient of −gain.
    given = torch.stack([(used[name] * asked[name]).sum() for name in used])
    (share * price - given.sum()).backward()
    metrics = {f"penalty/{name}": value.detach() for name, value in penalties.items()}
    metrics["loss/mask"] = torch.as_tensor(price).detach() - gain
    return metrics


def _penalties(players: TwoPlayers, part: _Part) -> dict[str, Tensor]:
    """Return every penalty, unweighted, over the views that are masked."""
    budget = players.budget
    views = [
        (masks, budget(part.views[name].maps) if callable(budget) else budget)
        for name, masks in part.masks.items()
    ]
    shared = any(PENALTIES[name].of_mean for name in players.penalty_weights)
    average = players.average_masks if shared else alone  # a message only where it is paid for
    return all_penalties(views, players.reduction, average)


def encode(players: TwoPlayers, seen: Sequence[Seen]) -> list[Tensor]:
    """Return the embeddings `[B, D]` of each of some views: images and a mask, or None."""
    encoder = players.encoder
    with players.autocast():
        if not players.stack or len(seen) < 2:
            if isinstance(encoder, Encoder):  # which may leave masked patches out
                return [encoder(*view) for view in seen]
            return [encoder(_masked(view)) for view in seen]
        with stacked(encoder, len(seen)):
            return list(encoder(torch.cat([_masked(view) for view in seen])).chunk(len(seen)))


def _masked(view: Seen) -> Tensor:
    images, mask = view
    return images if mask is None else images * (1 - mask)


def _mask_weight(players: TwoPlayers, part: _Part) -> float:
    return 1 / len(part.given) if players.reduction == "mean" else 1.0


def masked_share(compare: Sequence[str], one_sided: bool = False) -> float:
    """Return the share of the loss that masks have a part in; see `COMPARISONS`."""
    pairs, terms = _compared(compare, one_sided)
    masked = [n for n, pair in zip(terms, pairs, strict=True) if any(map(_is_masked, pair))]
    return sum(masked) / sum(terms)


def _compared(
    compare: Sequence[str], one_sided: bool
) -> tuple[list[tuple[str, str]], list[Literal[1, 2]]]:
    """Return the pairs of views, and of each how many directed terms it has.

    A pair of one term has the masked view first: it is the prediction.
    """
    pairs = [pair for name in compare for pair in COMPARISONS[name]]
    one_way = [one_sided and _is_masked(a) != _is_masked(b) for a, b in pairs]
    ordered = [
        (b, a) if one and _is_masked(b) else (a, b)
        for one, (a, b) in zip(one_way, pairs, strict=True)
    ]
    return ordered, [1 if one else 2 for one in one_way]


def _is_masked(view: str) -> bool:
    return view[0] == "m"


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
