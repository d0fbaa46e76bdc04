"""What every objective is: how the encoder ends, and the loss between two views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seamask.base.registry import Registry
from seamask.networks.encoder import Encoder, projector
from seamask.objectives.settings import ObjectiveSettings

Gather = Callable[[Tensor], Tensor]


class Objective:
    """An objective knows no masks: it compares what the encoder makes of an anchor and a view.

    Subclasses give `loss`, or `each` where images have losses of their own, and `range`, and where
    they need more than a projector, `encoder`, `embedding`, `remember` and `update`. What an
    encoder returns is one tensor `[B, D]`, whatever it holds: the two-player step only passes it
    on, with gradients.

    Args:
        config: of the objective.
        gather: maps `[B, D]` to `[R, B, D]` over R processes, with gradient; None for one process.
        rank: this process's place among them.
    """

    def __init__(
        self, config: ObjectiveSettings, gather: Gather | None = None, rank: int = 0
    ) -> None:
        self.config: Any = config  # of the type that the objective is registered with
        self.gather, self.rank = gather, rank

    def encoder(self, backbone: nn.Module, n_features: int, channels_last: bool = True) -> Encoder:
        """Build the encoder: the backbone `[B, 3, H, W]` → `[B, F]` and what comes after it."""
        head = projector(n_features, self.config.hidden, self.config.out_dim)
        return Encoder(backbone, head, channels_last)

    def loss(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return the loss between what the encoder returned of two views, at least float32."""
        return self.each(anchor, other).mean()

    def each(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return the loss of each image, `[B]`, by which masks of one image are compared.

        Its mean is the loss, but for terms that belong to the batch as a whole.
        """
        return (self.each_way(anchor, other) + self.each_way(other, anchor)) / 2

    def each_way(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the half of `each` that predicts the target, which gets no gradient, `[B]`.

        Only for objectives that have a direction (`directed`): `each` is the mean of both.
        """
        raise NotImplementedError

    def one_way(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the half of `loss` that predicts the target, of which `loss` is the mean."""
        return self.each_way(predicted, target).mean()

    def of_view(self, encoded: Tensor, images: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of each image of a masked view beside its own pixels, `[B]`.

        Only for objectives that ask for images and masks (`alone`), in place of `loss`.

        Args:
            encoded: what the encoder returned of the masked view.
            images: `[B, C, H, W]`, of which nothing is removed.
            mask: `[B, 1, H, W]` in [0, 1], 1 = removed.
        """
        raise NotImplementedError

    def range(self, batch_size: int) -> float:
        """Return what `loss` can fall by: from views that have nothing in common to equal ones.

        Weights of the penalties that have to hold against the loss are in units of it.

        Args:
            batch_size: images that are compared at once, over all processes.
        """
        return 1.0

    def embedding(self, encoded: Tensor) -> Tensor:
        """Return of what the encoder returned, `[B, ...]`, the embeddings that may collapse."""
        return encoded

    def remember(self, anchor: Tensor) -> None:
        """See what the encoder returned of the anchor, `[B, D]`, once for each part of a step."""

    def update(self, encoder: Encoder, done: float) -> None:
        """Do what is due after a step; `done` in [0, 1] is the share of the training behind it."""

    def __call__(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return `loss` in full precision, whatever the precision of the networks."""
        with torch.autocast(anchor.device.type, enabled=False):
            return self.loss(anchor, other)

    predicts = False  # whether the encoder ends in a predictor
    one_sided = False  # whether a clean view is only ever the target of a masked one

    @property
    def directed(self) -> bool:
        """Whether one view can be predicted from another, which stays the target."""
        return type(self).each_way is not Objective.each_way

    @property
    def separable(self) -> bool:
        """Whether images have losses of their own."""
        return self.directed or self.alone or type(self).each is not Objective.each

    @property
    def alone(self) -> bool:
        """Whether a masked view is compared with its own pixels, not with another view."""
        return type(self).of_view is not Objective.of_view

    def from_one(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return `one_way` in full precision, whatever the precision of the networks."""
        with torch.autocast(predicted.device.type, enabled=False):
            return self.one_way(predicted, target)

    def from_view(self, encoded: Tensor, images: Tensor, mask: Tensor) -> Tensor:
        """Return `of_view` in full precision, whatever the precision of the networks."""
        with torch.autocast(encoded.device.type, enabled=False):
            return self.of_view(encoded, images, mask)

    def of_images(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Return `each` in full precision, whatever the precision of the networks."""
        with torch.autocast(anchor.device.type, enabled=False):
            return self.each(anchor, other)

    def of_predicted(self, target: Tensor, predicted: Tensor) -> Tensor:
        """Return `each_way` in full precision, whatever the precision of the networks."""
        with torch.autocast(target.device.type, enabled=False):
            return self.each_way(predicted, target)

    def everyone(self, z: Tensor) -> Tensor:
        """Return embeddings of all processes, `[B, D]` → `[R·B, D]`, with gradient."""
        return z if self.gather is None else self.gather(z).flatten(0, 1)


OBJECTIVES: Registry[type[Objective]] = Registry("objective", "objective")
