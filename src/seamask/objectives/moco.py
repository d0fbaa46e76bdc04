"""MoCo (He et al. 2020, v2): recognise the other view's key among a queue of earlier keys."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.precision import at_least_float32
from seamask.networks.encoder import Encoder, projector
from seamask.objectives.base import OBJECTIVES, Gather, Objective
from seamask.objectives.settings import MoCoSettings
from seamask.objectives.siamese import PredictingEncoder


class QueueEncoder(PredictingEncoder):
    """Returns query and key side by side, the key from a slowly moving copy; keeps a queue of keys.

    Args:
        backbone: `[B, 3, H, W]` → features `[B, F]`.
        head: the projector, `[B, F]` → `[B, D]`.
        size: keys in the queue, K; at first they are random.
        width: D.
        channels_last: memory layout of the images inside.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, size: int, width: int, channels_last: bool
    ) -> None:
        super().__init__(backbone, head, nn.Identity(), channels_last, momentum=True)
        self.register_buffer("queue", F.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.long))
        self.queue: Tensor
        self.oldest: Tensor

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put keys `[M, D]` in the place of the oldest; of more than K, the last K."""
        size = len(self.queue)
        keys = keys[-size:].to(self.queue.dtype)
        at = torch.arange(len(keys), device=self.queue.device)
        self.queue[(self.oldest + at) % size] = F.normalize(keys, dim=1)
        self.oldest.copy_((self.oldest + len(keys)) % size)


@OBJECTIVES.register("moco", MoCoSettings)
class MoCo(Objective):
    """InfoNCE between queries and keys, symmetric: negatives are the keys of earlier batches.

    `−log exp(q·k / τ) / (exp(q·k / τ) + Σ_n exp(q·n / τ))` over n in the queue (eq. 1), all of unit
    length. After each step the keys of the anchor, of all processes, enter the queue, and the copy
    that makes keys follows with a fixed momentum (the paper's is 0.999).
    """

    network: QueueEncoder

    def __init__(self, config: MoCoSettings, gather: Gather | None = None, rank: int = 0) -> None:
        super().__init__(config, gather, rank)
        self.keys: list[Tensor] = []  # of the parts of this step

    def encoder(self, backbone: nn.Module, n_features: int, channels_last: bool = True) -> Encoder:
        """Build backbone and projector, their slow copy, and the queue."""
        c = self.config
        head = projector(n_features, c.hidden, c.out_dim)
        self.network = QueueEncoder(backbone, head, c.queue, c.out_dim, channels_last)
        return self.network

    def each_way(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return InfoNCE of the first view's queries with the second's keys, `[B, 2D]` each."""
        queries, _ = predicted.chunk(2, dim=1)
        _, keys = target.chunk(2, dim=1)
        q = F.normalize(at_least_float32(queries), dim=1)
        k = F.normalize(at_least_float32(keys.detach()), dim=1)
        positive = (q * k).sum(1, keepdim=True)  # [B, 1]
        negative = q @ self.network.queue.to(q.dtype).T  # [B, K]
        logits = torch.cat([positive, negative], dim=1) / self.config.temperature
        place = q.new_zeros(len(q), dtype=torch.long)
        return F.cross_entropy(logits, place, reduction="none")

    def range(self, batch_size: int) -> float:
        """Return the logarithm of the number of keys: from a guess among them to the right one."""
        return math.log(1 + self.config.queue)

    def embedding(self, encoded: Tensor) -> Tensor:
        """Return the queries `[B, D]`."""
        return encoded.chunk(2, dim=1)[0]

    def remember(self, anchor: Tensor) -> None:
        """Keep the anchor's keys."""
        self.keys.append(anchor.chunk(2, dim=1)[1])

    def update(self, encoder: Encoder, done: float) -> None:
        """Let the slow copy follow; put the keys of all parts of the step into the queue."""
        self.network.follow(self.config.momentum)
        self.network.enqueue(torch.cat([self.everyone(keys) for keys in self.keys]))
        self.keys = []
