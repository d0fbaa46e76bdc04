"""Objectives: what an encoder learns from an anchor and another view; they know no masks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from seamask.config import ObjectiveConfig
from seamask.errors import unknown
from seamask.objectives.simclr import SimCLR, nt_xent

OBJECTIVES = {"simclr": SimCLR}


def build_objective(
    config: ObjectiveConfig, gather: Callable[[Tensor], Tensor] | None = None, rank: int = 0
) -> SimCLR:
    """Build the objective that `config` names; see `SimCLR` for the arguments.

    Raises:
        UserError: an unknown objective.
    """
    if config.name not in OBJECTIVES:
        raise unknown("objective", config.name, OBJECTIVES)
    return OBJECTIVES[config.name](config, gather, rank)


__all__ = ["OBJECTIVES", "SimCLR", "build_objective", "nt_xent"]
