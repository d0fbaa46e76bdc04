"""Means and paired differences against numpy and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from seamask.base.statistics import paired, spread


def test_spread_is_numpys():
    values = [55.2, 54.9, 55.6]
    found = spread(values)
    assert (found.mean, found.n) == (pytest.approx(np.mean(values)), 3)
    assert found.std == pytest.approx(np.std(values, ddof=1))


def test_spread_of_one_value_and_of_none():
    assert spread([]) is None
    assert spread([3.0]).std is None


def test_differences_are_paired_by_seed():
    ours, theirs = {0: 60.0, 1: 61.0, 2: 63.0}, {2: 60.0, 0: 59.0, 1: 59.0}  # +1, +2, +3
    found = paired(ours, theirs)
    assert found.mean == pytest.approx(2.0)
    assert found.half == pytest.approx(
        4.302652729911275 / math.sqrt(3)
    )  # t(0.975, 2) · s/√n, s = 1
    interval = stats.ttest_rel([60, 61, 63], [59, 59, 60]).confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx(tuple(interval))


def test_only_common_seeds_count_and_one_pair_has_no_interval():
    found = paired({0: 5.0, 1: 9.0}, {1: 8.0, 7: 1.0})
    assert (found.mean, found.half, found.n) == (1.0, None, 1)
    assert paired({0: 5.0}, {1: 4.0}) is None
