"""Masks: who removes what from an image, and what it costs. The heart of the house.

A masker is a module with one interface: images `[B, 3, H, W]`, a generator for what is drawn, and
label maps `[B, H, W]` where there are any → masks `[B, N, H, W]` in [0, 1], 1 = removed. Its
attribute `learned` says whether it is a player with weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from seamask.base.errors import unknown
from seamask.config import MasksConfig
from seamask.masks.budget import parse_budget
from seamask.masks.exact import exact_sigmoid
from seamask.masks.given import GivenMasker
from seamask.masks.learned import SequentialMasker, SimultaneousMasker
from seamask.masks.penalties import (
    PENALTIES,
    Penalty,
    all_penalties,
    budget_penalty,
    consistency_penalty,
    entropy_penalty,
    equipartition_penalty,
    overlap_penalty,
    sparsity_penalty,
    weights_at,
)
from seamask.masks.random import (
    NoMasker,
    RandomBlockMasker,
    RandomPatchMasker,
    check_patch,
    random_blocks,
)
from seamask.masks.superpixels import VERSION as VERSION_OF_CLUSTERS
from seamask.masks.superpixels import areas, clusters, superpixel_colours

MASKERS: dict[str, Callable[[MasksConfig, int], nn.Module]] = {
    "none": lambda c, size: NoMasker(),
    "random-patch": lambda c, size: RandomPatchMasker(c.n_masks, c.ratio, c.patch),
    "random-block": lambda c, size: RandomBlockMasker(c.n_masks, c.ratio),
    "given": lambda c, size: GivenMasker(c.n_masks, c.morph, c.morph_radius),
    "simultaneous": lambda c, size: SimultaneousMasker(
        c.n_masks, size, c.width, c.norm, c.downscale, c.blocks, c.bottleneck
    ),
    "sequential": lambda c, size: SequentialMasker(
        c.n_masks,
        size,
        c.width,
        c.norm,
        c.downscale,
        c.detach,
        c.disjoint,
        _exact(c),
        c.superpixels,
        c.blocks,
        c.bottleneck,
    ),
}


def _exact(config: MasksConfig) -> float | Literal["superpixel"] | None:
    """Return the share that masks of a trained network remove exactly, if they do."""
    budget = parse_budget(config.budget)
    if not budget.exact:
        return None
    return "superpixel" if budget.superpixel else budget.end


def build_masker(config: MasksConfig, image_size: int) -> nn.Module:
    """Build the masker that `config` names, for images of `image_size` pixels.

    Raises:
        UserError: an unknown masker, or settings that it cannot work with.
    """
    if config.masker not in MASKERS:
        raise unknown("masker", config.masker, MASKERS)
    if config.masker == "random-patch":
        check_patch(config.patch, image_size, image_size)
    return MASKERS[config.masker](config, image_size)


def draw_one(batch: int, n_masks: int, generator: Generator | None) -> Tensor:
    """Draw which one of its N masks each image is trained on (ADIOS-s): index `[B, 1, 1, 1]`.

    Args:
        batch: B.
        n_masks: N.
        generator: a CPU generator, so that the choice does not depend on the device.
    """
    return torch.randint(n_masks, (batch, 1, 1, 1), generator=generator)


def take_one(masks: Tensor, index: Tensor) -> Tensor:
    """Take mask `index[b]` of each image: `[B, N, H, W]`, `[B, 1, 1, 1]` → `[B, 1, H, W]`."""
    return torch.take_along_dim(masks, index.to(masks.device), dim=1)


__all__ = [
    "MASKERS",
    "PENALTIES",
    "VERSION_OF_CLUSTERS",
    "GivenMasker",
    "NoMasker",
    "Penalty",
    "RandomBlockMasker",
    "RandomPatchMasker",
    "SequentialMasker",
    "SimultaneousMasker",
    "all_penalties",
    "areas",
    "budget_penalty",
    "build_masker",
    "clusters",
    "consistency_penalty",
    "draw_one",
    "entropy_penalty",
    "equipartition_penalty",
    "exact_sigmoid",
    "overlap_penalty",
    "random_blocks",
    "sparsity_penalty",
    "superpixel_colours",
    "take_one",
    "weights_at",
]
