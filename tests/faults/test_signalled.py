"""Signals at any moment: the exit code says which, a line what is kept, and all goes on from there.

pytest tests/faults/test_signalled.py -m slow -s --points all
"""

import signal

import pytest
from kills import Running
from rows import TABLE, Trials

NAMES = [command.name for command in TABLE]


def check(trials: Trials, trial: str, code: int, number: int) -> None:
    """What a command leaves that heeds a signal; it may also have been too late."""
    said = trials.said.read_text()
    if code not in (0, 128 + number) or "Traceback" in said or "Exception ignored" in said:
        trials.fail(trial, f"exit code {code}: {said[-2000:]}")
    stopped = [line for line in said.splitlines() if line.startswith("seamask: stopped")]
    if code and len(stopped) != 1:
        trials.fail(trial, f"says {stopped} of {said[-500:]}")
    if left := [path.name for path in trials.root.rglob(".seamask-*")]:
        trials.fail(trial, f"left {left}")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_signal_at_any_moment(name, trials_of, points):
    trials = trials_of(name)
    for k in points(trials.operations):
        words = trials.begin()
        number = (signal.SIGTERM, signal.SIGINT)[k % 2]
        code, _ = Running(trials.root, words, {k: number}, said=trials.said).wait()
        trial = f"{number.name} before operation {k} of {trials.operations}"
        check(trials, trial, code, number)
        trials.go_on(trial)
    trials.end()
