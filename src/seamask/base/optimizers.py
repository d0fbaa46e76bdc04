"""What all optimisers here share: which parameters decay, and a warm-up before any schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, LRScheduler, SequentialLR


def weight_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Return two groups: weights, and parameters with one dimension (biases, norms).

    The second gets neither weight decay nor LARS.
    """
    parameters = list(parameters)
    return [
        {
            "params": [p for p in parameters if (p.ndim > 1) == big],
            "weight_decay": weight_decay if big else 0.0,
            "always_adapt": big,  # LARS
        }
        for big in (True, False)
    ]


def warmed_up(optimizer: Optimizer, schedule: LRScheduler, steps: int) -> LRScheduler:
    """Let learning rates rise linearly, from nearly 0, over so many steps before a schedule."""
    if not steps:
        return schedule
    rise = LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
    return SequentialLR(optimizer, [rise, schedule], milestones=[steps])
