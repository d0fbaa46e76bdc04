"""BYOL (Grill et al. 2020) and SimSiam (Chen & He 2021): predict the other view's projection."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.precision import at_least_float32
from seamask.networks.encoder import Encoder, projector
from seamask.objectives.base import OBJECTIVES, Objective
from seamask.objectives.settings import SiameseSettings


class PredictingEncoder(Encoder):
    """Returns what it predicts and what the other view's prediction is compared with, side by side.

    Args:
        backbone: `[B, 3, H, W]` → features `[B, F]`.
        head: the projector, `[B, F]` → `[B, D]`.
        predictor: `[B, D]` → `[B, D]`.
        channels_last: memory layout of the images inside.
        momentum: compare with a slowly moving copy of backbone and projector (BYOL), not with the
            projection itself (SimSiam).
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        predictor: nn.Module,
        channels_last: bool = True,
        momentum: bool = False,
    ) -> None:
        super().__init__(backbone, head, channels_last)
        self.predictor = predictor
        self.target = (
            Encoder(deepcopy(backbone), deepcopy(head), channels_last) if momentum else None
        )
        if self.target is not None:
            self.target.requires_grad_(False)

    def forward(
        self, images: Tensor, mask: Tensor | None = None, longest: int | None = None
    ) -> Tensor:
        """Map images `[B, 3, H, W]`, of which `mask` `[B, 1, H, W]` was removed, to `[B, 2D]`.

        These are the prediction and the target, which has no gradient.
        """
        projection = super().forward(images, mask, longest)
        with torch.no_grad():
            target = projection
            if self.target is not None:
                target = self.target(images, _detached(mask), longest)
        return torch.cat([self.predictor(projection), target.detach()], dim=1)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the target's weights: momentum · target + (1 − momentum) · encoder."""
        assert self.target is not None
        pairs = (
            (self.target.backbone, self.backbone),
            (self.target.head, self.head),
        )
        for ours, theirs in pairs:
            slow: list[Tensor] = [*ours.parameters()]
            fast: list[Tensor] = [*theirs.parameters()]
            torch._foreach_lerp_(slow, fast, 1 - momentum)


@OBJECTIVES.register("simsiam", SiameseSettings)
class SimSiam(Objective):
    """Negative cosine between predictions and the other view's projection, without gradient to it.

    `½ D(p_a, z_b) + ½ D(p_b, z_a)`, `D = −cos` (Chen & He 2021, eq. 2).
    """

    momentum = False
    predicts = True

    def encoder(self, backbone: nn.Module, n_features: int, channels_last: bool = True) -> Encoder:
        """Build backbone, projector and predictor, with batch norm as the paper has it."""
        c = self.config
        head = projector(n_features, c.hidden, c.out_dim, norm=True, norm_last=not self.momentum)
        predictor = projector(c.out_dim, (c.predictor,), c.out_dim, norm=True)
        return PredictingEncoder(backbone, head, predictor, channels_last, self.momentum)

    def each_way(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return `D(p, z)` of each image between `[B, 2D]` of two views, in [−1, 1]."""
        p, _ = at_least_float32(predicted).chunk(2, dim=1)
        _, z = at_least_float32(target).chunk(2, dim=1)
        return -F.cosine_similarity(p, z.detach(), dim=1)

    def range(self, batch_size: int) -> float:
        """Return 1: from orthogonal predictions to equal ones."""
        return 1.0

    def embedding(self, encoded: Tensor) -> Tensor:
        """Return the targets `[B, D]`: projections."""
        return encoded.chunk(2, dim=1)[1]


@OBJECTIVES.register("byol", SiameseSettings)
class BYOL(SimSiam):
    """Squared distance of normalised predictions from a momentum target's projections.

    `‖p̄_a − t̄_b‖² + ‖p̄_b − t̄_a‖²` (Grill et al. 2020, eq. 2 and its symmetric twin). The target's
    momentum rises from `momentum` to 1 along a cosine.
    """

    momentum = True

    def each_way(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return twice `‖p̄ − t̄‖²` between `[B, 2D]` of two views, in [0, 8], as `each` is."""
        return 4 + 4 * super().each_way(predicted, target)

    def range(self, batch_size: int) -> float:
        """Return 4: from orthogonal predictions to equal ones."""
        return 4.0

    def update(self, encoder: Encoder, done: float) -> None:
        """Let the target follow the encoder; its momentum reaches 1 at the end (section 3.3)."""
        assert isinstance(encoder, PredictingEncoder)
        encoder.follow(1 - (1 - self.config.momentum) * (math.cos(math.pi * done) + 1) / 2)


def _detached(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.detach()
