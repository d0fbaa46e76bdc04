"""A penalty: masks pay for pixels that are neither kept nor removed. Its setting is its weight.

seamask pretrain --plugin examples/plugins/penalty.py --penalties.soft 0.1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from seamask.base.settings import Within
from seamask.masks import PENALTIES, Penalty


@dataclass(frozen=True)
class SoftSettings:
    """What soft masks cost."""

    soft: Annotated[float, Within(0)] = 0.0
    """`mean(4 m (1 − m))`: 0 of binary masks, 1 of masks that are one half everywhere; in units of
    what the loss can fall by."""


def softness_penalty(masks: Tensor) -> Tensor:
    """Return `mean(4 m (1 − m))` of masks `[B, N, H, W]` in [0, 1]."""
    return (4 * masks * (1 - masks)).mean()


PENALTIES.register("soft", SoftSettings)(
    Penalty(lambda masks, budget: softness_penalty(masks), of_range=True)
)
