"""VICReg (Bardes et al. 2022): invariance, variance and covariance of embeddings."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from seamask.base.precision import at_least_float32
from seamask.objectives.base import OBJECTIVES, Objective
from seamask.objectives.settings import ObjectiveSettings

INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0  # section 4.2
EPSILON = 1e-4


def vicreg(a: Tensor, b: Tensor) -> Tensor:
    """Return `25 · mse(a, b) + 25 · (v(a) + v(b)) + c(a) + c(b)` (algorithm 1 of the paper).

    `v` is the mean over dimensions of `max(0, 1 − √(Var + 1e-4))`, `c` the sum of the squared
    covariances of different dimensions over D.

    Args:
        a: embeddings `[B, D]` of the first view, B at least 2.
        b: embeddings `[B, D]` of the second view, rows in the same order.
    """
    a, b = (at_least_float32(z) for z in (a, b))
    total = INVARIANCE * F.mse_loss(a, b)
    for z in (a, b):
        z = z - z.mean(0)
        covariance = z.T @ z / (len(z) - 1)  # [D, D]
        variance = covariance.diagonal()
        total = total + VARIANCE * F.relu(1 - (variance + EPSILON).sqrt()).mean()
        others = covariance.square().sum() - variance.square().sum()
        total = total + COVARIANCE * others / z.shape[1]
    return total


@OBJECTIVES.register("vicreg", ObjectiveSettings)
class VICReg(Objective):
    """VICReg between projections; with several processes, over the images of all of them."""

    def loss(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return `vicreg` between embeddings `[B, D]`."""
        return vicreg(self.everyone(anchor), self.everyone(other))

    def each(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return the invariance of each image: variance and covariance are those of the batch."""
        a, b = (at_least_float32(z) for z in (anchor, other))
        return INVARIANCE * F.mse_loss(a, b, reduction="none").mean(1)

    def range(self, batch_size: int) -> float:
        """Return 50: the invariance term of unrelated embeddings of the variance asked for, 1."""
        return 2 * INVARIANCE
