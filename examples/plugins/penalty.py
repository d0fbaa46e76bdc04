"""A penalty: masks pay for pixels that are neither kept nor removed. Its setting is its weight.

seamask pretrain --plugin examples/plugins/penalty.py --penalties.binary 0.1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from seamask.base.settings import Within
from seamask.masks import PENALTIES, Penalty


@dataclass(frozen=True)
class BinarySettings:
    """What masks that are not binary cost."""

    binary: Annotated[float, Within(0)] = 0.0
    """`mean(4 m (1 − m))`: 0 of binary masks, 1 of masks that are one half everywhere; in units of
    what the loss can fall by."""


def binary_penalty(masks: Tensor) -> Tensor:
    """Return `mean(4 m (1 − m))` of masks `[B, N, H, W]` in [0, 1]."""
    return (4 * masks * (1 - masks)).mean()


PENALTIES.register("binary", BinarySettings)(
    Penalty(lambda masks, budget: binary_penalty(masks), of_range=True)
)
