"""Ranges of a step that have names: metered, or seen by PyTorch's profiler."""

import pytest
import torch

from seamask.base.ranges import metered, named


def nested():
    with named("outer"):
        for _ in range(2):
            with named("inner"):
                torch.ones(1)


def test_a_meter_is_read_at_both_ends_of_every_range():
    meter = iter([0, 1, 3, 10, 50, 100])
    assert metered(nested, lambda: next(meter)) == {"outer": 100, "inner": (3 - 1) + (50 - 10)}


def test_the_profiler_sees_ranges_that_are_not_metered():
    def fails():
        with named("lost"):
            raise KeyError

    with pytest.raises(KeyError):
        metered(fails, lambda: 0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        nested()
    seen = {event.key: event.count for event in profiler.key_averages()}
    assert (seen["outer"], seen["inner"]) == (1, 2)
