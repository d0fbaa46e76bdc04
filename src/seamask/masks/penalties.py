"""What the adversary pays: pure functions of masks `[B, N, H, W]` in [0, 1], 1 = removed.

Each returns a scalar in at least float32, averaged over the batch, to be *added* to what the mask
network minimises. `mean(m)` is the share of pixels that a mask removes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seamask.config import PenaltiesConfig
from seamask.errors import UserError, unknown

PUBLISHED_PIXELS = 96 * 96  # the image size that the weights of [Seq] table 4 belong to
Budget = float | Tensor  # b, a number or `[B, N]`
EDGE = 1e-6  # areas are kept this far inside (0, 1), where 1 / sin(π area) is finite


def budget_penalty(masks: Tensor, budget: Budget) -> Tensor:
    """Return `(mean(m) − b)²`, averaged over masks and batch (Sam et al. 2022, R_b).

    Args:
        masks: `[B, N, H, W]` in [0, 1].
        budget: b in (0, 1), a number or anything that broadcasts to `[B, N]`.
    """
    return (_area(masks) - budget).square().mean()


def overlap_penalty(masks: Tensor) -> Tensor:
    """Return `m^i · Σ_{j<i} m^j`, summed over pixels, averaged over masks i and batch.

    From Sam et al. 2022. It grows with the number of pixels: the published weight 1e-4 belongs to
    96×96; at another size multiply it by 9216 / (H·W).
    """
    masks = _precise(masks)
    earlier = masks.cumsum(dim=1) - masks  # [B, N, H, W]: Σ_{j<i} m^j
    return (masks * earlier).sum((2, 3)).mean()


def consistency_penalty(masks: Tensor, kernel_size: int = 3) -> Tensor:
    """Return `‖m − avgpool(m)‖²`, summed over pixels, averaged over masks and batch.

    From Sam et al. 2022, appendix C. At the border the average is over the pixels that exist. It
    grows with the number of pixels, as `overlap_penalty` does.

    Args:
        masks: `[B, N, H, W]` in [0, 1].
        kernel_size: side of the pooling window in pixels, odd.
    """
    masks = _precise(masks)
    smooth = F.avg_pool2d(
        masks, kernel_size, stride=1, padding=kernel_size // 2, count_include_pad=False
    )
    return (masks - smooth).square().sum((2, 3)).mean()


def sparsity_penalty(masks: Tensor) -> Tensor:
    """Return `1 / sin(π mean(m))`, summed over masks, averaged over the batch (ADIOS).

    Areas are clamped into [1e-6, 1 − 1e-6]: at exactly 1 the formula would be a huge reward.
    """
    area = _area(masks).clamp(EDGE, 1 - EDGE)
    return torch.sin(math.pi * area).reciprocal().sum(1).mean()


def entropy_penalty(masks: Tensor) -> Tensor:
    """Return `−Σ_n p log p`, `p = softmax over masks of mean(m)`, averaged over the batch.

    Paying for it drives the areas of the masks apart. ADIOS's code sums over the batch, so its
    weight has to be multiplied by its batch size.
    """
    log_p = _area(masks).log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()


@dataclass(frozen=True)
class Penalty:
    """A term that the masker may pay.

    Attributes:
        cost: masks `[B, N, H, W]` in [0, 1] and the budget b → a scalar, averaged over the batch.
        per_pixel: it sums over pixels: its weight belongs to 96×96 and is scaled by 9216 / (H·W).
    """

    cost: Callable[[Tensor, Budget], Tensor]
    per_pixel: bool = False


# By the names of their weights; add one's own here (`seamask pretrain --plugin FILE`).
PENALTIES: dict[str, Penalty] = {
    "budget": Penalty(budget_penalty),
    "overlap": Penalty(lambda masks, _: overlap_penalty(masks), per_pixel=True),
    "consistency": Penalty(lambda masks, _: consistency_penalty(masks), per_pixel=True),
    "sparsity": Penalty(lambda masks, _: sparsity_penalty(masks)),
    "entropy": Penalty(lambda masks, _: entropy_penalty(masks)),
}


def all_penalties(masks: Tensor, budget: Budget) -> dict[str, Tensor]:
    """Return every penalty, unweighted, by its name in `PENALTIES`."""
    return {name: penalty.cost(masks, budget) for name, penalty in PENALTIES.items()}


def weights_at(config: PenaltiesConfig, height: int, width: int) -> dict[str, float]:
    """Return the weights to use at an image size in pixels, without those that are 0.

    Sums over pixels (overlap, consistency) are scaled by 9216 / (H·W), to keep the strength that
    they have at 96×96, where their weights come from.

    Raises:
        UserError: `config.more` names no penalty, or gives no weight.
    """
    weights = {name: value for name, value in vars(config).items() if name != "more"}
    for text in config.more:
        name, _, weight = text.partition("=")
        if name not in PENALTIES:
            raise unknown("penalty", name, PENALTIES)
        try:
            weights[name] = float(weight)
        except ValueError:
            raise UserError(f"--penalties.more {text}: expected NAME=WEIGHT") from None
    per_pixel = PUBLISHED_PIXELS / (height * width)
    return {
        name: weight * per_pixel if PENALTIES[name].per_pixel else weight
        for name, weight in weights.items()
        if weight
    }


def _precise(masks: Tensor) -> Tensor:
    return masks.to(torch.promote_types(masks.dtype, torch.float32))


def _area(masks: Tensor) -> Tensor:
    """Return the share of pixels removed, `[B, N]`."""
    return _precise(masks).mean((2, 3))
