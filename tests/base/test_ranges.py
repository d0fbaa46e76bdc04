"""Ranges of a step that have names: read at both ends, or seen by PyTorch's profiler."""

from itertools import count

import pytest
import torch

from seamask.base.ranges import named, readings


def nested():
    with named("outer"):
        for _ in range(2):
            with named("inner"):
                torch.ones(1)


def test_a_meter_is_read_at_both_ends_of_every_range():
    found = readings(nested, count().__next__)
    assert found == [("inner", 1, 2), ("inner", 3, 4), ("outer", 0, 5)]


def test_the_profiler_sees_ranges_that_nobody_reads():
    def fails():
        with named("lost"):
            raise KeyError

    with pytest.raises(KeyError):
        readings(fails, count().__next__)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        nested()
    seen = {event.key: event.count for event in profiler.key_averages()}
    assert (seen["outer"], seen["inner"]) == (1, 2)
