"""Kills before every file operation of a command, or at any time; what is there then goes on.

All points: pytest tests/faults/test_kills.py -m slow -s --points all
"""

import random
import signal
import time

import pytest
from kills import Running
from rows import TABLE, Trials

ROWS = {command.name: command for command in TABLE}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_kill_before_a_file_operation_costs_nothing(name, tmp_path, points):
    trials = Trials(tmp_path, ROWS[name])
    for k in points(trials.operations):
        Running(trials.root, trials.begin(), {k: signal.SIGKILL}).wait()
        trials.go_on(f"killed before operation {k} of {trials.operations}")
    trials.end()


def test_kills_here_and_there_cost_nothing(tmp_path):
    trials = Trials(tmp_path, ROWS["pretrain"])
    assert trials.operations > 50
    for k in range(20, trials.operations + 1, 35):
        Running(trials.root, trials.begin(), {k: signal.SIGKILL}).wait()
        trials.go_on(f"killed before operation {k} of {trials.operations}")
    trials.end()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("pretrain", 1), ("study", 2)])
def test_kills_at_any_time_cost_nothing(name, workers, tmp_path, points):
    trials = Trials(tmp_path, ROWS[name])
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
