"""The two-player step, fast: the same as `seamask.game.plain` (see tests/game/test_step.py).

It rests on one trick. `cut` gives tensors without their graph, in which the losses leave their
gradients one by one, each graph freed before the next, so memory does not grow with the number of
masks; `send` passes what they gathered through the tensors' own graph, once: through the clean
views to the encoder, through the masks to the masker. That is 2 (N + 1) encoder passes a step,
N + 1 if no masker is learned.

Two switches make it faster. Stacked views go through the encoder together, batch norm still view by
view: the same step, more memory. Simultaneous updates take the masker's gradient from the encoder's
own backward pass, reversed at the masks: N + 1 passes, but another dynamic, since the masker no
longer answers the encoder that was just updated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple, cast

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from seamask.base.errors import UserError
from seamask.base.ranges import named
from seamask.game.held import counted_once, held_still
from seamask.game.players import TwoPlayers, View, terms
from seamask.masks.choice import draw_one, take_one
from seamask.masks.penalties import PENALTIES, all_penalties, alone
from seamask.networks.encoder import Encoder
from seamask.networks.removal import Masked
from seamask.networks.view_batchnorm import encode_views


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

    Raises:
        UserError: no such batch, or a masker that gives no masks of its images.
    """
    pairs = isinstance(batch, Sequence) and all(len(pair) == 2 for pair in batch)
    if not batch or not pairs or not all(isinstance(v, View) for pair in batch for v in pair):
        raise UserError(
            "batch must be a list of pairs of views of the same images: "
            "[(seamask.View(x_a), seamask.View(x_b))], x_a and x_b [B, C, H, W]"
        )
    metrics: dict[str, Tensor] = {}
    for turn in turns(players, batch, generator, move_masks, metrics):
        take(players, turn)
    return metrics


class Turn(NamedTuple):
    """A player whose gradients are ready, to take its step.

    Attributes:
        name: `encoder` or `masker`.
        network: that has the gradients.
        optimizer: of its parameters.
        anchors: what the encoder made of the first view compared, `[B, D]`, of each part.
    """

    name: str
    network: nn.Module
    optimizer: Optimizer
    anchors: tuple[Tensor, ...] = ()


def take(players: TwoPlayers, turn: Turn) -> None:
    """Let a player take the step that its gradients ask for."""
    for anchor in turn.anchors:
        players.remember(anchor)
    with named(f"{turn.name}'s optimiser"):
        players.average(list(turn.network.parameters()))
        turn.optimizer.step()


def turns(
    players: TwoPlayers,
    batch: Sequence[tuple[View, View]],
    generator: Generator | None,
    move_masks: bool,
    metrics: dict[str, Tensor],
) -> Iterator[Turn]:
    """Yield each player of a step when its turn has come; what is asked next is of the updated one.

    Arguments are those of `two_player_step`; its metrics are in `metrics` at the end.
    """
    masker_optimizer = players.masker_optimizer if move_masks else None
    at_once = players.simultaneous and masker_optimizer is not None
    # With one part the masks' graph is kept for the masker's turn; with several, it is made anew.
    keep_graph = masker_optimizer is not None and len(batch) == 1
    with torch.set_grad_enabled(keep_graph):
        parts = [_Part(players, {"a": a, "b": b}, generator, 1 / len(batch)) for a, b in batch]

    # 1. The encoder lowers the loss through the masks as they are.
    players.encoder_optimizer.zero_grad(set_to_none=True)
    with counted_once(players.encoder):
        for part in parts:
            part.metrics["loss/encoder"] = part.backward(train=True, ask_masks=at_once)
    anchors = tuple(part.anchor for part in parts)
    yield Turn("encoder", players.encoder, players.encoder_optimizer, anchors)

    # 2. The masker raises it and pays. It asks the encoder just updated, which is held still;
    # simultaneously, the answer is what the backward passes above have left in the masks.
    if masker_optimizer is not None:
        masker_optimizer.zero_grad(set_to_none=True)
        with nullcontext() if at_once else held_still(players.encoder):
            for part in parts:
                if not keep_graph:
                    part.draw_masks(generator)
                if not at_once:
                    part.backward(train=False, ask_masks=True)
                part.metrics |= part.pay()
        yield Turn("masker", players.masker, masker_optimizer)
    for name in parts[0].metrics:
        metrics[name] = torch.stack([part.metrics[name] for part in parts]).mean()


OTHER = {"a": "b", "b": "a"}


class Given(NamedTuple):
    """A mask as the encoder is given it.

    Attributes:
        mask: `[B, 1, H, W]`, without its graph.
        longest: see `Encoder.most_kept`.
    """

    mask: Tensor
    longest: int | None = None


class _Part:
    """Two views of a batch, their masks, and the loss of these masks.

    Args:
        players: who looks, encodes and compares.
        views: `a` and `b`.
        generator: of masks and choices that are drawn.
        share: of the step's loss that is this part's.
    """

    def __init__(
        self, players: TwoPlayers, views: dict[str, View], generator: Generator | None, share: float
    ) -> None:
        self.players, self.views, self.share = players, views, share
        self.terms = terms(
            players.compare, players.one_way is not None, players.of_view is not None
        )
        compared = {view for term in self.terms for view in term.views}
        self.clean = [view for view in "ab" if view in compared]
        self.masked = [view for view in "ab" if f"m{view}" in compared]
        self.targets = {name: players.target(views[name]) for name in self.masked}
        self.draw_masks(generator)
        first = self.masks[self.masked[0]]
        self.choice = draw_one(first, generator) if players.single else None
        self.metrics = describe(torch.cat([m.detach() for m in self.masks.values()]))
        self.loss: Tensor  # of the masks, as last asked
        self.given: list[dict[str, Given]]  # mask k of each view
        self.anchor: Tensor  # what the encoder made of the first view compared, `[B, D]`

    def draw_masks(self, generator: Generator | None) -> None:
        """Ask the masker: masks `[B, N, H, W]` of each view that is masked."""
        with named("mask network"):
            self.masks = {
                name: self.players.masks_of(
                    self.views[name], self.views[OTHER[name]], target, generator
                )
                for name, target in self.targets.items()
            }

    def used(self) -> dict[str, Tensor]:
        """Return the masks that are trained on, `[B, N or 1, H, W]`, of each view."""
        if self.choice is None:
            return self.masks
        return {name: take_one(masks, self.choice) for name, masks in self.masks.items()}

    def backward(self, train: bool, ask_masks: bool) -> Tensor:
        """Compute the loss of the masks and its gradients; return the loss.

        Args:
            train: leave them in the encoder, which is held still otherwise.
            ask_masks: leave in `given` what removing each pixel has cost.
        """
        players = self.players
        split = zip(*(m.split(1, dim=1) for m in self.used().values()), strict=True)
        masks = [mask for of_views in split for mask in cut(of_views, gather=ask_masks)]
        encoder, each = players.encoder, len(self.masked)
        if isinstance(encoder, Encoder):
            given = [*map(Given, masks, encoder.most_kept(masks))]
        else:
            given = [*map(Given, masks)]
        self.given = [
            dict(zip(self.masked, given[k : k + each], strict=True))
            for k in range(0, len(given), each)
        ]
        scale = self.share / (len(self.given) if players.reduction == "mean" else 1)
        total = torch.zeros((), device=self.views["a"].images.device)
        # Where views are stacked, clean ones are too, as far as they get a gradient.
        before = [] if players.stack and train else self.clean
        clean = dict(zip(before, self._encode(before, []), strict=True))
        leaves = dict(zip(clean, cut(clean.values()), strict=True))
        for part in [self.given] if players.stack else [[one] for one in self.given]:
            loss = scale * self._loss(leaves, part)
            with named("encoder passes"):
                loss.backward()
            total += loss.detach()
        with named("encoder passes"):
            send(list(clean.values()), [leaf.grad for leaf in leaves.values()])
        self.loss = total / self.share
        return self.loss

    def _loss(self, clean: dict[str, Tensor], given: Sequence[dict[str, Given]]) -> Tensor:
        """Return the sum of the losses of some masks; clean views not in `clean` are encoded."""
        players = self.players
        names = [view for view in self.clean if view not in clean]
        encoded = iter(self._encode(names, given))
        known = clean | {name: next(encoded) for name in names}
        total: Tensor | float = 0.0
        for masks in given:
            z = known | {f"m{name}": next(encoded) for name in masks}
            with named("losses"):
                for (a, b), directions, weight in self.terms:
                    if players.of_view is not None:
                        images, mask = self.views[a[1]].images, masks[a[1]].mask
                        total = total + weight * players.of_view(z[a], images, mask).mean()
                        continue
                    compare = players.objective if directions == 2 else players.one_way
                    assert compare is not None
                    total = total + weight * compare(z[a], z[b])
        self.anchor = z[self.clean[0] if self.clean else self.terms[0].views[0]].detach()
        return cast(Tensor, total)

    def _encode(self, clean: Sequence[str], given: Sequence[dict[str, Given]]) -> list[Tensor]:
        """Return embeddings `[B, D]` of clean views, then of the views under each mask."""
        seen = [Masked(self.views[name].images) for name in clean]
        seen += [self.views[name].under(*m) for masks in given for name, m in masks.items()]
        with named("encoder passes"), self.players.autocast():
            return encode_views(self.players.encoder, seen, self.players.stack)

    def pay(self) -> dict[str, Tensor]:
        """Leave the gradient of penalties − role · loss in the masker; return its metrics."""
        with named("penalties"):
            penalties = self._penalties()
            weights = self.players.penalty_weights.items()
            price = torch.as_tensor(sum(w * penalties[name] for name, w in weights))
        used = self.used()
        asked = [torch.cat([m[name].mask.grad for m in self.given], dim=1) for name in used]  # type: ignore[misc]
        factor = self.players.factor(asked[0])
        with named("mask network"):
            send([*used.values()], [-factor * g for g in asked], self.share * price)
        metrics = {f"penalty/{name}": value.detach() for name, value in penalties.items()}
        return metrics | {"loss/mask": price.detach() - factor * self.loss}

    def _penalties(self) -> dict[str, Tensor]:
        """Return every penalty, unweighted, over the views that are masked."""
        players = self.players
        views = [(masks, self.targets[name]) for name, masks in self.masks.items()]
        shared = any(PENALTIES[name].of_mean for name in players.penalty_weights)
        average = players.average_masks if shared else alone  # a message only where it is paid for
        return all_penalties(views, players.reduction, average)


def cut(tensors: Iterable[Tensor], gather: bool = True) -> list[Tensor]:
    """Return tensors without their graph, which gather the gradients of what is made of them.

    Args:
        tensors: of any shapes.
        gather: False: no gradient is asked for.
    """
    return [t.detach().requires_grad_(gather) for t in tensors]


def send(
    tensors: Sequence[Tensor], gradients: Sequence[Tensor | None], loss: Tensor | None = None
) -> None:
    """Pass gradients through the graphs of tensors, and that of a loss with them, once.

    Args:
        tensors: with or, where there is nothing to be trained, without a graph.
        gradients: one each, of its shape; None: nothing was asked of it.
        loss: a scalar.
    """
    pairs = [*zip(tensors, gradients, strict=True)]
    roots = [(t, g) for t, g in pairs if g is not None and t.requires_grad]
    if loss is not None and loss.requires_grad:
        roots.append((loss, torch.ones_like(loss)))
    if roots:
        torch.autograd.backward([t for t, _ in roots], [g for _, g in roots])


def describe(masks: Tensor) -> dict[str, Tensor]:
    """Return coverage of each mask and the share of pixels that are nearly 0 or 1.

    Args:
        masks: `[B, N, H, W]` in [0, 1].
    """
    coverage = masks.mean((0, 2, 3))
    found = {f"mask/coverage_{k}": c for k, c in enumerate(coverage, start=1)}
    found["mask/binary"] = ((masks < 0.1) | (masks > 0.9)).float().mean()
    return found
