"""MSN (Assran et al., ECCV 2022): a masked view is assigned to the prototypes of the clean one."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.precision import at_least_float32
from seamask.networks.encoder import Encoder, projector
from seamask.objectives.base import OBJECTIVES, Objective
from seamask.objectives.settings import MSNSettings
from seamask.objectives.siamese import PredictingEncoder


class PrototypeEncoder(PredictingEncoder):
    """Returns an anchor and a target side by side, the target from a slowly moving copy.

    Args:
        backbone: `[B, 3, H, W]` → features `[B, F]`.
        head: the projector, `[B, F]` → `[B, D]`.
        count: prototypes, K, which are trained.
        width: D.
        channels_last: memory layout of the images inside.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, count: int, width: int, channels_last: bool
    ) -> None:
        super().__init__(backbone, head, nn.Identity(), channels_last, momentum=True)
        bound = width**-0.5  # as its code draws them
        self.prototypes = nn.Parameter(torch.empty(count, width).uniform_(-bound, bound))


def assignments(z: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """Return `log softmax_k(cos(z, q_k) / τ)` (eq. 1), `[B, D]`, `[K, D]` → `[B, K]`."""
    z = F.normalize(at_least_float32(z), dim=1)
    q = F.normalize(prototypes.to(z.dtype), dim=1)
    return (z @ q.T / temperature).log_softmax(dim=1)


@OBJECTIVES.register("msn", MSNSettings)
class MSN(Objective):
    """Cross-entropy of a masked view's prototypes with the sharpened ones of a clean view.

    `mean_i H(p⁺_i, p_i) − λ H(mean_i p_i) + μ mean_i H(p_i)` (eq. 2; μ is `ent_weight` of its code,
    0 in its recipe), p the softmax of cosines with the prototypes over τ, p⁺ that of the momentum
    target, sharpened to `p^(1/T)`, without gradient. To the mean entropy, log K is added, as in its
    code. Means are over all processes; each mask is an anchor view of its own. Of a clean and a
    masked view the clean one is always the target. Its multi-crop and Sinkhorn are left out.
    """

    network: PrototypeEncoder
    one_sided = True

    def encoder(self, backbone: nn.Module, n_features: int, channels_last: bool = True) -> Encoder:
        """Build backbone and projector, with batch norm as its code has it, and the prototypes."""
        c = self.config
        head = projector(n_features, c.hidden, c.out_dim, norm=True)
        self.network = PrototypeEncoder(backbone, head, c.prototypes, c.out_dim, channels_last)
        return self.network

    def each_way(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of each image between `[B, 2D]` of two views."""
        c, prototypes = self.config, self.network.prototypes
        anchor, aim = predicted.chunk(2, dim=1)[0], target.chunk(2, dim=1)[1]
        with torch.no_grad():  # p^(1/T), normalised, is the softmax of log p / T
            sharp = (assignments(aim, prototypes, c.temperature) / c.sharpen).softmax(dim=1)
        each: Tensor = -(sharp * assignments(anchor, prototypes, c.temperature)).sum(1)
        return each

    def one_way(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the first view's anchors and the second's targets, `[B, 2D]` each."""
        c, (predicted, target) = self.config, map(self.everyone, (predicted, target))
        anchor = predicted.chunk(2, dim=1)[0]
        log_p = assignments(anchor, self.network.prototypes, c.temperature)
        mean = log_p.exp().mean(0)
        spread = math.log(len(mean)) + torch.special.xlogy(mean, mean).sum()  # log K − H(p̄)
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        loss: Tensor = self.each_way(predicted, target).mean()
        loss = loss + c.mean_entropy * spread + c.entropy * entropy
        return loss

    def loss(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return the mean of both directions between `[B, 2D]` of two views."""
        return (self.one_way(anchor, other) + self.one_way(other, anchor)) / 2

    def range(self, batch_size: int) -> float:
        """Return log K: from prototypes that are all as likely to the right one."""
        return math.log(self.config.prototypes)

    def embedding(self, encoded: Tensor) -> Tensor:
        """Return the anchors `[B, D]`."""
        return encoded.chunk(2, dim=1)[0]

    def update(self, encoder: Encoder, done: float) -> None:
        """Let the target follow; its momentum rises to 1 linearly, over 1.25 trainings (code)."""
        start = self.config.momentum
        self.network.follow(start + (1 - start) * done / 1.25)
