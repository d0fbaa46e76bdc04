"""An objective: Barlow Twins (Zbontar et al. 2021), embeddings without redundancy.

seamask pretrain --plugin examples/plugins/objective.py --objective barlow
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from seamask.base.settings import Within
from seamask.objectives import OBJECTIVES, Objective, ObjectiveSettings


@dataclass(frozen=True)
class BarlowSettings(ObjectiveSettings):
    """Barlow Twins."""

    off_diagonal: Annotated[float, Within(0)] = 0.005
    """`barlow` only: λ, the weight of correlations between dimensions (the paper: 0.005)."""


def barlow_twins(a: Tensor, b: Tensor, off_diagonal: float) -> Tensor:
    """Return `Σ_i (1 − C_ii)² + λ Σ_{i≠j} C_ij²` (eq. 1), C the correlations of two views (eq. 2).

    Args:
        a: embeddings `[B, D]` of the first view, B at least 2.
        b: embeddings `[B, D]` of the second view, rows in the same order.
        off_diagonal: λ.
    """
    a, b = ((z - z.mean(0)) / (z.std(0, correction=0) + 1e-5) for z in (a.float(), b.float()))
    correlation = a.T @ b / len(a)  # [D, D]
    same = correlation.diagonal()
    others = correlation.square().sum() - same.square().sum()
    return (1 - same).square().sum() + off_diagonal * others


@OBJECTIVES.register("barlow", BarlowSettings)
class BarlowTwins(Objective):
    """Barlow Twins between projections; with several processes, over the images of all of them."""

    def loss(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return `barlow_twins` between embeddings `[B, D]`."""
        return barlow_twins(self.everyone(anchor), self.everyone(other), self.config.off_diagonal)

    def range(self, batch_size: int) -> float:
        """Return D: the first sum, from views that have nothing in common (C_ii = 0) to equal."""
        return float(self.config.out_dim)
