"""The mask policies that are compared, each as settings that any data set's recipe adds."""

from __future__ import annotations

from typing import Any

from seamask.masks.budget import Budget
from seamask.recipes.sourced import Sourced

# [Seq] tables 3 and 4: all methods alike but for the masks. The paper's other numbers "follow
# ADIOS", and are the defaults in seamask.config.
SIMCLR: dict[str, Any] = {"masks.masker": "none"}

# As many masked passes and pixels removed as sequential masks have: only the policy differs.
RANDOM_BLOCK: dict[str, Any] = {
    "masks.masker": "random-block",
    "masks.n_masks": 5,
    "masks.ratio": 0.25,
}

ADIOS: dict[str, Any] = {
    "masks.masker": "simultaneous",
    "masks.n_masks": Sourced(4, "[Seq] table 4"),
    "masks.reduction": Sourced("sum", "[ADIOS] code; [Seq] averages"),
    "penalties.budget": 0.0,
    "penalties.overlap": 0.0,
    "penalties.consistency": 0.0,
    "penalties.sparsity": Sourced(0.93, "[Seq] table 4"),
    "penalties.entropy": Sourced(0.71, "[Seq] table 4; summed over the batch, as in [ADIOS] code"),
}

SEQUENTIAL: dict[str, Any] = {
    "masks.masker": "sequential",
    "masks.n_masks": Sourced(5, "[Seq] table 4"),
    "masks.budget": Sourced(Budget(0.25), "[Seq] table 4"),
    "penalties.overlap": Sourced(1e-4, "[Seq] table 4"),
    "penalties.consistency": Sourced(1e-4, "[Seq] table 4"),
    # Not published. Ours, of the loss's range: with much less most masks end at all or nothing.
    "penalties.budget": 5.0,
}

# One masked pass, both players at once, a mask network at a quarter of the resolution: about 1.2
# times SimCLR's cost, where the exact step takes 4 to 5 times.
LIGHT: dict[str, Any] = {
    "masks.single": Sourced(True, "[ADIOS] ADIOS-s"),
    "updates": "simultaneous",
    "masks.downscale": 4,
}

# Past the papers; see docs/results/game-choices.md for what each number was chosen by.
SEAMASK: dict[str, Any] = {
    **SEQUENTIAL,
    **LIGHT,
    "masks.n_masks": 4,
    "penalties.equipartition": Sourced(5.0, "masks come from the image, not from the place"),
    "penalties.overlap": Sourced(
        1e-3, "10 × [Seq]: with its own weight masks come in pairs of copies"
    ),
}

POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "simclr": ("no masks", SIMCLR),
    "random-block": ("random blocks, as many and as large as those of -sequential", RANDOM_BLOCK),
    "adios": ("simultaneous learned masks (Shi et al. 2022)", ADIOS),
    "sequential": ("sequential learned masks under a budget (Sam et al. 2022)", SEQUENTIAL),
    "seamask": ("ours: light sequential masks that follow the image, not the place", SEAMASK),
}


def over_policies(
    data: str, about: str, base: dict[str, Any]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the recipes of a data set, `<data>-<policy>`."""
    return {
        f"{data}-{policy}": (f"{about}: {line}", {**base, **masks})
        for policy, (line, masks) in POLICIES.items()
    }
