"""What the adversary pays: pure functions of masks `[B, N, H, W]` in [0, 1], 1 = removed.

Each returns a scalar in at least float32, averaged over the batch, to be *added* to what the mask
network minimises, and refuses (`UserError`) what are no masks of this shape. `mean(m)` is the share
of pixels that a mask removes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seamask.base.errors import UserError, check_share
from seamask.base.precision import at_least_float32
from seamask.base.registry import Registry
from seamask.masks.resample import box_filtered
from seamask.masks.settings import PenaltiesConfig

PUBLISHED_PIXELS = 96 * 96  # the image size that the weights of [Seq] table 4 belong to
Target = float | Tensor  # b, a number or what broadcasts to `[B, N]`
EDGE = 1e-4  # sparsity takes areas this far inside (0, 1): a pixel of 96×96
Average = Callable[[Tensor], Tensor]  # over processes, with gradient


def alone(tensor: Tensor) -> Tensor:
    """Return a tensor as it is: its average over one process."""
    return tensor


def budget_penalty(masks: Tensor, budget: Target) -> Tensor:
    """Return `(mean(m) − b)²`, averaged over masks and batch (Sam et al. 2022, R_b).

    Args:
        masks: `[B, N, H, W]` in [0, 1].
        budget: b in (0, 1), a number or anything that broadcasts to `[B, N]`.

    Raises:
        UserError: a number that is no share, or no masks `[B, N, H, W]`.
    """
    if not isinstance(budget, Tensor):
        check_share("budget", budget)
    return (_area(masks) - budget).square().mean()


def overlap_penalty(masks: Tensor) -> Tensor:
    """Return `m^i · Σ_{j<i} m^j`, summed over pixels, averaged over masks i and batch.

    From Sam et al. 2022. It grows with the number of pixels: the published weight 1e-4 belongs to
    96×96; at another size multiply it by 9216 / (H·W).
    """
    masks = _checked(masks)
    if masks.device.type != "cpu":  # where a product would be rounded under TF32
        return (masks * (masks.cumsum(dim=1) - masks)).sum((2, 3)).mean()
    rows = masks.flatten(2)  # [B, N, H · W]
    with torch.autocast(masks.device.type, enabled=False):
        products = torch.bmm(rows, rows.mT)  # [B, N, N]: m^i · m^j
    return products.tril(-1).sum((1, 2)).mean() / masks.shape[1]


def consistency_penalty(masks: Tensor, kernel_size: int = 3) -> Tensor:
    """Return `‖m − avgpool(m)‖²`, summed over pixels, averaged over masks and batch.

    From Sam et al. 2022, appendix C. At the border the average is over the pixels that exist. It
    grows with the number of pixels, as `overlap_penalty` does.

    Args:
        masks: `[B, N, H, W]` in [0, 1].
        kernel_size: side of the pooling window in pixels, odd.
    """
    masks = _checked(masks)
    if kernel_size % 2 == 0:
        raise UserError(f"kernel_size {kernel_size}: the pooling window has an odd side")
    return (masks - box_filtered(masks, kernel_size)).square().sum((2, 3)).mean()


def sparsity_penalty(masks: Tensor) -> Tensor:
    """Return `1 / sin(π mean(m))`, summed over masks, averaged over the batch (ADIOS).

    Areas are taken into [1e-4, 1 − 1e-4], within about a pixel: at exactly 1 the formula would be a
    huge reward, and its slope grows without end. The gradient of an area outside is that at the
    edge, so that an empty mask is called back.
    """
    area = _area(masks)
    area = area + (area.clamp(EDGE, 1 - EDGE) - area).detach()
    return torch.sin(math.pi * area).reciprocal().sum(1).mean()


def entropy_penalty(masks: Tensor) -> Tensor:
    """Return `−Σ_n p log p`, `p = softmax over masks of mean(m)`, averaged over the batch.

    Paying for it drives the areas of the masks apart. ADIOS's code sums over the batch, so its
    weight has to be multiplied by the batch size, as `weights_at` does; and where both views are
    masked its softmax is over the 2N areas of both.
    """
    log_p = _area(masks).log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()


def equipartition_penalty(masks: Tensor) -> Tensor:
    """Return, per mask, the variance over places of its mean over the batch; averaged over masks.

    `mean_ij (mean_B m_ij − mean m)²`: 0 where every pixel is removed equally often, so that *which*
    pixels are removed has to come from the image. Ours; the idea is the equal partition of SwAV
    (Caron et al. 2020) and the mean entropy of MSN (Assran et al. 2022), for places instead of
    clusters. Without it a mask network soon learns one fixed pattern of places.

    The mean is over the images at hand: masks that are even over all images still pay their
    variance over images divided by B, at most `b (1 − b) / B` for binary masks. With several
    processes the step averages over all of them; with `--accumulate` over each part alone.

    Args:
        masks: `[B, N, H, W]` in [0, 1].
    """
    return _unevenness(_checked(masks).mean(0))


def _unevenness(mean: Tensor) -> Tensor:
    """Return the variance over places of mean masks `[N, H, W]`, averaged over masks."""
    return (mean - mean.mean((1, 2), keepdim=True)).square().mean()


@dataclass(frozen=True)
class Penalty:
    """A term that the masker may pay.

    Attributes:
        cost: masks `[B, N, H, W]` in [0, 1] and the budget b → a scalar, averaged over the batch.
        per_pixel: it sums over pixels: its weight belongs to 96×96 and is scaled by 9216 / (H·W).
        per_image: its source sums over the batch: its weight is multiplied by the batch size.
        of_range: its weight is in units of what the objective's loss can fall by, which it has to
            hold against (`Objective.range`).
        of_mean: `cost` is given the mean mask over the batch, of all processes, `[N, H, W]`.
        of_both: where both views are masked, `cost` is given the masks of both as one set,
            `[B, 2N, H, W]`; others are computed of each view.
    """

    cost: Callable[[Tensor, Target], Tensor]
    per_pixel: bool = False
    per_image: bool = False
    of_range: bool = False
    of_mean: bool = False
    of_both: bool = False

    def of_views(
        self,
        views: Sequence[tuple[Tensor, Target]],
        reduction: Literal["mean", "sum"] = "mean",
        average: Average = alone,
    ) -> Tensor:
        """Return the cost of the masks of one or two views.

        Args:
            views: masks `[B, N, H, W]` and budget of each view that is masked.
            reduction: over the views; [ADIOS]'s code sums.
            average: over processes, with gradient.
        """
        if self.of_both:
            return self.cost(torch.cat([masks for masks, _ in views], dim=1), views[0][1])
        if self.of_mean:
            views = [(average(at_least_float32(masks).mean(0)), budget) for masks, budget in views]
        costs = torch.stack([self.cost(masks, budget) for masks, budget in views])
        return costs.sum(0) if reduction == "sum" else costs.mean(0)


# By the names of their weights, which are settings of the group `penalties`.
PENALTIES: Registry[Penalty] = Registry("penalty", "penalties")
PENALTIES.register("budget")(Penalty(budget_penalty, of_range=True))
PENALTIES.register("equipartition")(
    Penalty(lambda mean, _: _unevenness(mean), of_range=True, of_mean=True)
)
PENALTIES.register("overlap")(Penalty(lambda masks, _: overlap_penalty(masks), per_pixel=True))
PENALTIES.register("consistency")(
    Penalty(lambda masks, _: consistency_penalty(masks), per_pixel=True)
)
PENALTIES.register("sparsity")(Penalty(lambda masks, _: sparsity_penalty(masks)))
PENALTIES.register("entropy")(
    Penalty(lambda masks, _: entropy_penalty(masks), per_image=True, of_both=True)
)


def all_penalties(
    views: Sequence[tuple[Tensor, Target]],
    reduction: Literal["mean", "sum"] = "mean",
    average: Average = alone,
) -> dict[str, Tensor]:
    """Return every penalty, unweighted, by its name in `PENALTIES`; see `Penalty.of_views`.

    Raises:
        UserError: one, of a plugin, is no scalar.
    """
    found = {name: p.of_views(views, reduction, average) for name, p in PENALTIES.items()}
    for name, cost in found.items():
        if cost.ndim:
            raise UserError(
                f"penalty {name} gives a tensor {[*cost.shape]}: expected a scalar, the mean over "
                "the batch"
            )
    return found


def weights_at(
    config: PenaltiesConfig, height: int, width: int, batch_size: int = 1, loss_range: float = 1.0
) -> dict[str, float]:
    """Return the weights to use in one run, without those that are 0.

    Sums over pixels (overlap, consistency) are scaled by 9216 / (H·W), to keep the strength that
    they have at 96×96, where their weights come from; sums over the batch (entropy) by the batch;
    what has to hold against the loss (budget, equipartition) by the loss's range.

    Args:
        config: weights as they are given.
        height: of the images in pixels.
        width: of the images in pixels.
        batch_size: images per step, over all processes and parts.
        loss_range: see `Objective.range`; times N where losses are summed over masks.

    Raises:
        UserError: `config.more` names no penalty, or gives no weight.
    """
    weights = {name: value for name, value in vars(config).items() if name != "more"}
    for text in config.more:
        name, _, weight = text.partition("=")
        PENALTIES[name]  # refuses what there is not
        try:
            weights[name] = float(weight)
        except ValueError:
            raise UserError(f"--penalties.more {text}: expected NAME=WEIGHT") from None

    def scale(penalty: Penalty) -> float:
        pixels = PUBLISHED_PIXELS / (height * width) if penalty.per_pixel else 1.0
        images = batch_size if penalty.per_image else 1
        return pixels * images * (loss_range if penalty.of_range else 1.0)

    return {name: weight * scale(PENALTIES[name]) for name, weight in weights.items() if weight}


def _area(masks: Tensor) -> Tensor:
    """Return the share of pixels removed, `[B, N]`."""
    return _checked(masks).mean((2, 3))


def _checked(masks: Tensor) -> Tensor:
    """Return masks in at least float32.

    Raises:
        UserError: no masks `[B, N, H, W]`.
    """
    if masks.ndim != 4:
        raise UserError(f"masks have the shape {list(masks.shape)}: expected [B, N, H, W]")
    return at_least_float32(masks)
