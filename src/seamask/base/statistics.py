"""Means over seeds, and differences paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes a second or more to import

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (None of a single value) and number of values."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences, half the width of its confidence interval (Student's t; None of
    a single pair), and number of pairs."""

    mean: float
    half: float | None
    n: int


def spread(values: Sequence[float]) -> Spread | None:
    """Summarise values; None if there are none."""
    if not values:
        return None
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), std, len(values))


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Compare values by seed, ours − theirs, over the seeds both have; None if there are none."""
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    found = spread(differences)
    if found is None or found.std is None:
        return None if found is None else Difference(found.mean, None, 1)
    half = stdtrit(found.n - 1, (1 + CONFIDENCE) / 2) * found.std / found.n**0.5
    return Difference(found.mean, float(half), found.n)
