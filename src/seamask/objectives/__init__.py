"""Objectives: what an encoder learns from an anchor and another view; they know no masks."""

from __future__ import annotations

from seamask.base.errors import unknown
from seamask.config import ObjectiveConfig
from seamask.objectives.base import Gather, Objective
from seamask.objectives.moco import MoCo
from seamask.objectives.siamese import BYOL, SimSiam
from seamask.objectives.simclr import SimCLR, nt_xent
from seamask.objectives.vicreg import VICReg, vicreg

OBJECTIVES: dict[str, type[Objective]] = {
    "simclr": SimCLR,
    "byol": BYOL,
    "simsiam": SimSiam,
    "vicreg": VICReg,
    "moco": MoCo,
}


def build_objective(
    config: ObjectiveConfig, gather: Gather | None = None, rank: int = 0
) -> Objective:
    """Build the objective that `config` names; see `Objective` for the arguments.

    Raises:
        UserError: an unknown objective.
    """
    if config.name not in OBJECTIVES:
        raise unknown("objective", config.name, OBJECTIVES)
    return OBJECTIVES[config.name](config, gather, rank)


__all__ = [
    "BYOL",
    "OBJECTIVES",
    "MoCo",
    "Objective",
    "SimCLR",
    "SimSiam",
    "VICReg",
    "build_objective",
    "nt_xent",
    "vicreg",
]
