"""SimCLR (Chen et al. 2020): NT-Xent between the embeddings of two views."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seamask.objectives.base import Objective

Form = Literal["standard", "cross-view"]


def nt_xent(
    a: Tensor,
    b: Tensor,
    temperature: float = 0.2,
    form: Form = "standard",
    candidates: tuple[Tensor, Tensor] | None = None,
    offset: int = 0,
) -> Tensor:
    """Normalised-temperature cross entropy between two views, symmetric, mean over 2B anchors.

    Each `a_i` must be recognised as the partner of `b_i`, and the other way round, by cosine
    similarity over `temperature`. With `form="standard"` an anchor has the 2B − 2 embeddings of
    the other images as negatives (SimCLR eq. 1; ADIOS's code); with `form="cross-view"` only the
    B − 1 of the other view (Sam et al. 2022 eq. 1, with the minus sign that is missing there).

    Args:
        a: embeddings `[B, D]` of the first view, not normalised, any floating type.
        b: embeddings `[B, D]` of the second view, rows in the same order.
        temperature: above 0.
        form: which embeddings are negatives.
        candidates: the embeddings of both views over all processes, `[R·B, D]` each, if negatives
            come from there; `a` and `b` alone otherwise. Gathering them is the caller's business.
        offset: row of `candidates` at which `a` and `b` begin.

    Returns:
        A scalar in at least float32.
    """
    all_a, all_b = candidates or (a, b)
    a, b, all_a, all_b = (_unit(z) for z in (a, b, all_a, all_b))
    target = torch.arange(len(a), device=a.device) + offset  # [B]
    ab = a @ all_b.T / temperature  # [B, R·B]
    ba = b @ all_a.T / temperature
    if form == "standard":
        itself = F.one_hot(target, len(all_a)).bool()  # an anchor is not its own negative
        aa = (a @ all_a.T / temperature).masked_fill(itself, -torch.inf)
        bb = (b @ all_b.T / temperature).masked_fill(itself, -torch.inf)
        ab, ba = torch.cat([ab, aa], dim=1), torch.cat([ba, bb], dim=1)
    return (F.cross_entropy(ab, target) + F.cross_entropy(ba, target)) / 2


def _unit(z: Tensor) -> Tensor:
    return F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)


class SimCLR(Objective):
    """NT-Xent between projections; with several processes, negatives come from all of them."""

    def loss(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return NT-Xent between embeddings `[B, D]`."""
        c = self.config
        if self.gather is None:
            return nt_xent(anchor, other, c.temperature, c.form)
        everyone = self.everyone(anchor), self.everyone(other)
        return nt_xent(anchor, other, c.temperature, c.form, everyone, self.rank * len(anchor))
