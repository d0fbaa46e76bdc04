"""Kills before every file operation of a command, or at any time; what is there then goes on.

All points: pytest tests/faults/test_kills.py -m slow -s --points all
"""

import random
import signal
import time

import pytest
from kills import Running
from rows import EXPORTS, TABLE

NAMES = [command.name for command in (*TABLE, *EXPORTS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_kill_before_a_file_operation_costs_nothing(name, trials_of, points):
    trials = trials_of(name)
    for k in points(trials.operations):
        Running(trials.root, trials.begin(), {k: signal.SIGKILL}).wait()
        trials.go_on(f"killed before operation {k} of {trials.operations}")
    trials.end()


def test_kills_here_and_there_cost_nothing(trials_of):
    trials = trials_of("pretrain")
    assert trials.operations > 90
    for k in (20, 90):  # while the store is built, and in training
        Running(trials.root, trials.begin(), {k: signal.SIGKILL}).wait()
        trials.go_on(f"killed before operation {k} of {trials.operations}")
    trials.end()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("pretrain", 1), ("study", 2)])
def test_kills_at_any_time_cost_nothing(name, workers, trials_of, points):
    trials = trials_of(name)
    draws = random.Random(0)
    before = time.monotonic()
    Running(trials.root, trials.begin()).wait()
    seconds = time.monotonic() - before
    for _ in points(100):
        words = trials.begin()
        running = [Running(trials.root, words) for _ in range(workers)]
        times = sorted(draws.uniform(0, seconds) for _ in running)
        for one, after, earlier in zip(running, times, [0.0, *times], strict=False):
            one.kill_after(after - earlier)
        for one in running:
            one.wait()
        trials.go_on(f"killed after {times} of {seconds:.2f} s")
    trials.end()
