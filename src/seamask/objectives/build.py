"""Objectives by name. Each is registered in its own file."""

from __future__ import annotations

from seamask.objectives import (  # noqa: F401  # they register theirs
    moco,
    msn,
    reconstruct,
    siamese,
    simclr,
    vicreg,
)
from seamask.objectives.base import OBJECTIVES, Gather, Objective
from seamask.objectives.settings import ObjectiveSettings

__all__ = ["OBJECTIVES", "build_objective"]


def build_objective(
    settings: ObjectiveSettings, gather: Gather | None = None, rank: int = 0
) -> Objective:
    """Build the objective that settings name; see `Objective` for the arguments.

    Raises:
        UserError: an unknown objective.
    """
    return OBJECTIVES[settings.name](settings, gather, rank)
