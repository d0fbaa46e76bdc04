"""seamask: self-supervised visual pretraining with learned, sequential adversarial masks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seamask.export import load_encoder, load_masker
    from seamask.masks import (
        GivenMasker,
        RandomBlockMasker,
        RandomPatchMasker,
        SequentialMasker,
        SimultaneousMasker,
        budget_penalty,
        consistency_penalty,
        entropy_penalty,
        equipartition_penalty,
        exact_sigmoid,
        overlap_penalty,
        sparsity_penalty,
    )
    from seamask.objectives import nt_xent
    from seamask.training import pretrain

__version__ = "0.1.0"

# Imported when first used: `seamask --help` must not wait for torch.
_HOMES = {
    "GivenMasker": "seamask.masks",
    "RandomBlockMasker": "seamask.masks",
    "RandomPatchMasker": "seamask.masks",
    "SequentialMasker": "seamask.masks",
    "SimultaneousMasker": "seamask.masks",
    "budget_penalty": "seamask.masks",
    "consistency_penalty": "seamask.masks",
    "entropy_penalty": "seamask.masks",
    "equipartition_penalty": "seamask.masks",
    "exact_sigmoid": "seamask.masks",
    "load_encoder": "seamask.export",
    "load_masker": "seamask.export",
    "nt_xent": "seamask.objectives",
    "overlap_penalty": "seamask.masks",
    "pretrain": "seamask.training",
    "sparsity_penalty": "seamask.masks",
}

__all__ = [
    "GivenMasker",
    "RandomBlockMasker",
    "RandomPatchMasker",
    "SequentialMasker",
    "SimultaneousMasker",
    "budget_penalty",
    "consistency_penalty",
    "entropy_penalty",
    "equipartition_penalty",
    "exact_sigmoid",
    "load_encoder",
    "load_masker",
    "nt_xent",
    "overlap_penalty",
    "pretrain",
    "sparsity_penalty",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seamask' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
