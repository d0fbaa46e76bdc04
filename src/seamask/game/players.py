"""Who plays, by which rules, and what the encoder compares."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from seamask.base.draws import drawn
from seamask.base.errors import UserError, check_choice, unknown
from seamask.game.look import Look
from seamask.masks.budget import Budget
from seamask.masks.masker import masks_of
from seamask.masks.penalties import PENALTIES, Average, alone
from seamask.masks.role import Role
from seamask.networks.removal import Masked
from seamask.networks.view_batchnorm import encode_views, keeps_views_apart

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
        objects: labels of their pixels, uint8 `[B, H, W]`, where the masker is given them: 0
            background, k = object k, 255 = void.
        clusters: labels 1 … N of their pixels, uint8 `[B, H, W]`, where the budget follows them.
        segments: labels of their superpixels, uint8 `[B, H, W]`, where the masker is given them.
        fill: `[B, 3, H, W]`, what stands where a mask removes something; None: zero, the mean
            colour of normalised images.
    """

    images: Tensor
    objects: Tensor | None = None
    clusters: Tensor | None = None
    segments: Tensor | None = None
    fill: Tensor | None = None

    def under(self, mask: Tensor, longest: int | None = None) -> Masked:
        """Return the view under a mask `[B, 1, H, W]`, as an encoder is given it; see `Masked`."""
        return Masked(self.images, mask, self.fill, longest)


def _nothing(given: object) -> None:
    pass


@dataclass
class TwoPlayers:
    """Who plays, and by which rules.

    Attributes:
        encoder: images `[B, 3, H, W]` → embeddings `[B, D]`, given without what a mask removes; an
            `Encoder` is also told the mask, `[B, 1, H, W]`.
        masker: images → masks `[B, N, H, W]`; see `seamask.masks.masker`.
        objective: `(anchor, other)` embeddings → scalar loss.
        encoder_optimizer: updates the encoder.
        masker_optimizer: updates the masker; None if it is not learned.
        penalty_weights: weight by name of penalty; a name left out is logged but not paid.
        budget: what each mask should remove.
        done: share of the training that is over, in [0, 1], which a moving budget or role follows.
        role: by what the loss is multiplied that the masker raises.
        compare: the loss of a mask is the mean over these; see `COMPARISONS`.
        one_way: `(predicted, target)` embeddings → scalar loss, if a clean view is only ever the
            target of a masked one, never predicted from it; None: both ways, by `objective`.
        remember: is given the anchor's embeddings `[B, D]`, detached, of each part of a batch.
        of_view: of an objective that compares a masked view with its own pixels: (what the encoder
            made of it, its images, its mask) → loss of each image, `[B]`; then no clean view is
            encoded, and `compare` says which are masked. None: views are compared.
        each: like `objective`, the loss of each image, `[B]`; for maskers that ask for it.
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

    Raises:
        UserError: rules that do not fit each other or the players.
    """

    encoder: nn.Module
    masker: nn.Module
    objective: Callable[[Tensor, Tensor], Tensor]
    encoder_optimizer: Optimizer
    masker_optimizer: Optimizer | None
    penalty_weights: dict[str, float] = field(default_factory=dict)
    budget: Budget = Budget()
    done: float = 0.0
    role: Role = Role()
    compare: Sequence[str] = ("one",)
    one_way: Callable[[Tensor, Tensor], Tensor] | None = None
    of_view: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    each: Callable[[Tensor, Tensor], Tensor] | None = None
    remember: Callable[[Tensor], None] = _nothing
    reduction: Literal["mean", "sum"] = "mean"
    single: bool = False
    simultaneous: bool = False
    stack: bool = False
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    average: Callable[[Sequence[nn.Parameter]], None] = _nothing
    average_masks: Average = alone

    def __post_init__(self) -> None:
        for name, weight in self.penalty_weights.items():
            if name not in PENALTIES:
                raise unknown("penalty in penalty_weights", name, PENALTIES)
            if not 0 <= weight < math.inf:
                raise UserError(
                    f"penalty_weights: {name} is {weight}: it must be finite and at least 0"
                )
        if not self.compare or isinstance(self.compare, str):
            raise UserError(f"compare is {self.compare!r}: expected names of {[*COMPARISONS]}")
        for name in self.compare:
            check_choice("compare", name, COMPARISONS)
        check_choice("reduction", self.reduction, ("mean", "sum"))
        kind = type(self.masker).__name__
        if self.budget.exact and not getattr(self.masker, "takes_shares", False):
            raise UserError(
                f"budget is {self.budget}: {kind} cannot remove an exact share; take "
                "SequentialMasker, or a budget that is not exact"
            )
        if self.masker_optimizer is None and getattr(self.masker, "learned", False):
            raise UserError(f"masker_optimizer is None: {kind} is learned and needs one")
        if self.masker_optimizer is not None and not getattr(self.masker, "learned", True):
            raise UserError(f"masker_optimizer is given: {kind} is not learned; leave it None")
        if self.stack and not keeps_views_apart(self.encoder):
            raise UserError(
                "stack is True: the encoder has batch norm that would mix the views; prepare it "
                "with seamask.networks.keep_views_apart(encoder)"
            )

    def target(self, view: View) -> Tensor:
        """Return what each mask of a view should remove, `[B, 1]` or `[B, N]`."""
        images, budget = view.images, self.budget
        if budget.moves:
            shape, kind = (len(images), 1), images.dtype
            return drawn(lambda: torch.full(shape, budget.at(self.done), dtype=kind), images.device)
        n_masks = getattr(self.masker, "n_masks", 1)
        return budget.target(images, view.clusters, n_masks)

    def factor(self, like: Tensor) -> Tensor | float:
        """Return by what the loss is multiplied that the masker raises, now; of the type `like`."""
        role, kind = self.role, like.dtype
        if not role.moves:
            return role.factor
        return drawn(lambda: torch.full((), role.at(self.done), dtype=kind), like.device)

    def masks_of(
        self, view: View, other: View, target: Tensor, generator: Generator | None = None
    ) -> Tensor:
        """Return the masks of a view, `[B, N, H, W]`.

        Args:
            view: of a batch.
            other: that it is compared with.
            target: what `self.target` says of it; the masker is told if the budget is exact.
            generator: a CPU generator of masks that are drawn.
        """
        shares = target if self.budget.exact else None
        with self.autocast():
            return masks_of(
                self.masker,
                view.images,
                generator=generator,
                objects=view.objects,
                segments=view.segments,
                encoder=Look(self.encoder, view.images, self._loss_under(view, other)),
                shares=shares,
            )

    def loss_of(self, anchor: Tensor, encoded: Tensor, images: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of a view under a mask `[B, 1, H, W]`, beside a clean anchor or alone."""
        if self.of_view is not None:
            return self.of_view(encoded, images, mask).mean()
        if self.one_way is not None:
            return self.one_way(encoded, anchor)
        return self.objective(anchor, encoded)

    def _loss_under(self, view: View, other: View) -> Callable[[Tensor], Tensor]:
        """Return what maps a mask of a view, `[B, 1, H, W]`, to the loss of each image, `[B]`."""

        @functools.cache
        def clean() -> Tensor:
            (z,) = encode_views(self.encoder, [Masked(other.images)])
            return z

        def loss_under(mask: Tensor) -> Tensor:
            if self.of_view is None and self.each is None:
                kind = type(self.masker).__name__
                raise UserError(f"each is None: {kind} asks for the loss of each image")
            (z,) = encode_views(self.encoder, [view.under(mask)])
            if self.of_view is not None:
                return self.of_view(z, view.images, mask)
            assert self.each is not None
            return self.each(clean(), z)

        return loss_under


class Term(NamedTuple):
    """A part of the loss of one mask: two views, by name, that are compared.

    Attributes:
        views: `a`, `b`, or masked `ma`, `mb`; of one direction, the prediction first.
        directions: 2, or 1 if the second view is only the target of the first.
        weight: share of the loss, all terms adding up to 1.
    """

    views: tuple[str, str]
    directions: Literal[1, 2]
    weight: float


def terms(compare: Sequence[str], one_sided: bool = False, alone: bool = False) -> list[Term]:
    """Return what the loss of a mask is the mean of, direction by direction.

    Args:
        compare: names in `COMPARISONS`.
        one_sided: of a masked and a clean view the masked one is the prediction only.
        alone: every masked view is compared with its own pixels.
    """
    found: list[tuple[tuple[str, str], Literal[1, 2]]] = []
    for a, b in (pair for name in compare for pair in COMPARISONS[name]):
        if alone:
            found += [((view, view), 1) for view in (a, b) if is_masked(view)]
        elif one_sided and is_masked(a) != is_masked(b):
            found.append(((a, b) if is_masked(a) else (b, a), 1))
        else:
            found.append(((a, b), 2))
    total = sum(directions for _, directions in found)
    return [Term(views, directions, directions / total) for views, directions in found]


def masked_share(compare: Sequence[str], one_sided: bool = False, alone: bool = False) -> float:
    """Return the share of the loss that masks have a part in; see `terms`."""
    return sum(t.weight for t in terms(compare, one_sided, alone) if any(map(is_masked, t.views)))


def is_masked(view: str) -> bool:
    """Say whether the name of a view is that of a masked one."""
    return view[0] == "m"
