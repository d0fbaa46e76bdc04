"""SimCLR (Chen et al. 2020): NT-Xent between the embeddings of two views."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from seamask.base.errors import UserError, check_choice
from seamask.base.precision import at_least_float32
from seamask.objectives.base import OBJECTIVES, Objective
from seamask.objectives.settings import SimCLRSettings

Form = Literal["standard", "cross-view"]


def nt_xent(
    a: Tensor,
    b: Tensor,
    temperature: float = 0.2,
    form: Form = "standard",
    candidates: tuple[Tensor, Tensor] | None = None,
    offset: int = 0,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Normalised-temperature cross entropy between two views, mean over 2B anchors.

    Each `a_i` must be recognised as the partner of `b_i`, and the other way round, by cosine
    similarity over `temperature`. With `form="standard"` an anchor has the 2B − 2 embeddings of
    the other images as negatives (SimCLR eq. 1; ADIOS's code). `form="cross-view"` is eq. 1 of Sam
    et al. 2022 as it is printed, but for the minus sign that is missing there: `a_i` among the
    B − 1 other embeddings of `b`, the positive not in the denominator, in this direction alone:
    `−mean_i log(exp(s(a_i, b_i) / τ) / Σ_{j≠i} exp(s(a_i, b_j) / τ))`. It can be below 0.

    Args:
        a: embeddings `[B, D]` of the first view, not normalised, any floating type.
        b: embeddings `[B, D]` of the second view, rows in the same order.
        temperature: above 0.
        form: which embeddings are negatives.
        candidates: the embeddings of both views over all processes, `[R·B, D]` each, if negatives
            come from there; `a` and `b` alone otherwise. Gathering them is the caller's business.
        offset: row of `candidates` at which `a` and `b` begin.
        reduction: `none` leaves the mean over images to the caller.

    Returns:
        A scalar, or `[B]`, in at least float32.

    Raises:
        UserError: embeddings of other shapes, a form that there is not, or a temperature of 0.
    """
    check_choice("form", form, get_args(Form))
    if not temperature > 0:
        raise UserError(f"temperature is {temperature}: it must be above 0")
    if a.ndim != 2 or a.shape != b.shape:
        raise UserError(
            f"embeddings have the shapes {list(a.shape)} and {list(b.shape)}: expected [B, D] twice"
        )
    z = _unit(a, b)  # [2B, D]
    others = z if candidates is None else _unit(*candidates)  # [2RB, D]
    n, many = len(a), len(others) // 2
    place = torch.arange(n, device=a.device) + offset  # of the images among all
    if form == "cross-view":
        scores = z[:n] @ others[many:].T / temperature  # [B, RB]
        positive = scores.take_along_dim(place[:, None], dim=1)[:, 0]
        each = scores.scatter(1, place[:, None], -torch.inf).logsumexp(1) - positive
        return each if reduction == "none" else each.mean()
    scores = z @ others.T / temperature  # [2B, 2RB]
    itself, partner = torch.cat([place, place + many]), torch.cat([place + many, place])
    scores = scores.scatter(1, itself[:, None], -torch.inf)  # not its own negative
    loss = F.cross_entropy(scores, partner, reduction=reduction)
    return loss.view(2, n).mean(0) if reduction == "none" else loss


def _unit(a: Tensor, b: Tensor) -> Tensor:
    """Return the embeddings of two views, one after the other, of unit length."""
    return F.normalize(at_least_float32(torch.cat([a, b])), dim=1)


@OBJECTIVES.register("simclr", SimCLRSettings)
class SimCLR(Objective):
    """NT-Xent between projections; with several processes, negatives come from all of them."""

    def loss(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return NT-Xent between embeddings `[B, D]`."""
        return self._nt_xent(anchor, other, "mean")

    def each(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return NT-Xent of each image, `[B]`."""
        return self._nt_xent(anchor, other, "none")

    def _nt_xent(self, a: Tensor, b: Tensor, reduction: Literal["mean", "none"]) -> Tensor:
        c = self.config
        everyone = None if self.gather is None else (self.everyone(a), self.everyone(b))
        return nt_xent(a, b, c.temperature, c.form, everyone, self.rank * len(a), reduction)

    def range(self, batch_size: int) -> float:
        """Return the logarithm of the number of candidates: from a guess among them to certainty.

        The cross-view form has no such bound: its positive pair is no candidate, and the loss falls
        by 1/τ as that pair's cosine rises from 0 to 1.
        """
        if self.config.form == "cross-view":
            return 1 / float(self.config.temperature)
        return math.log(2 * batch_size - 1)
