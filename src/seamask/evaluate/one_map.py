"""Which one of an image's masks stands for its object, chosen without a look at the truth."""

from __future__ import annotations

import torch
from torch import Tensor

from seamask.base.errors import UserError
from seamask.data import VOID

AUTO, BORDER, UNION = "auto", "border", "union"
RULES = {
    BORDER: "the mask that touches the border least",
    UNION: "the union of all masks",
}


def check_rule(rule: str) -> None:
    """Refuse what is no rule.

    Raises:
        UserError: with those that there are.
    """
    if rule not in (AUTO, *RULES) and not (rule.isdecimal() and int(rule) > 0):
        raise UserError(f"--rule {rule}: choose {AUTO}, {', '.join(RULES)} or a mask's number")


def in_words(rule: str) -> str:
    """Return a rule as one says it."""
    return RULES.get(rule, f"mask {rule}")


def chosen(masks: Tensor, rule: str, threshold: float, empty: float) -> Tensor:
    """Return one map an image, `[n, H, W]`.

    Args:
        masks: `[n, N, H, W]` in [0, 1].
        rule: `border`: of masks that are not empty the one with the lowest mean over the outermost
            pixels; `union`: the strongest mask of each pixel; or the number of a mask, from 1 (the
            last, where there are fewer).
        threshold: of a removed pixel.
        empty: a mask that removes less than this share is empty.
    """
    if rule == UNION:
        return masks.amax(1)
    if rule != BORDER:
        return masks[:, min(int(rule), masks.shape[1]) - 1]
    edge = torch.ones(masks.shape[-2:], dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    touches = masks[..., edge].mean(-1)  # [n, N]
    touches += (masks >= threshold).float().mean((2, 3)) < empty  # after all that are not
    index = touches.argmin(1)
    return masks[torch.arange(len(masks)), index]


def fix_rule(masks: Tensor, objects: Tensor, threshold: float, empty: float) -> str:
    """Return the rule whose maps have the highest mean IoU with the objects of training images.

    Args:
        masks: `[n, N, H, W]` in [0, 1], of training images.
        objects: integer `[n, H, W]`: 0 background, 255 = void, else an object.
        threshold: of a removed pixel.
        empty: see `chosen`.
    """
    counted = objects != VOID
    truth = (objects > 0) & counted
    seen = truth.any(2).any(1)

    def score(rule: str) -> float:
        binary = (chosen(masks, rule, threshold, empty) >= threshold) & counted
        both, either = (binary & truth).sum((1, 2)), (binary | truth).sum((1, 2))
        return float((both / either.clamp(min=1))[seen].mean())

    return max((*RULES, *(str(k + 1) for k in range(masks.shape[1]))), key=score)
