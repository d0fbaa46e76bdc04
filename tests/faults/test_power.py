"""The power fails: what goes on from there ends as if it had not.

pytest tests/faults/test_power.py -m slow -s --points all
"""

import signal

import pytest
from kills import Running
from rows import TABLE

from disks import powered_disk

NAMES = [command.name for command in TABLE]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_power_cut_before_a_file_operation_costs_nothing(name, trials_of, points):
    trials = trials_of(name)
    with powered_disk(trials.root) as disk:
        for k in points(trials.operations):
            words = trials.begin()
            disk.sync()
            Running(trials.root, words, {k: signal.SIGKILL}).wait()
            disk.cut()
            trials.go_on(f"power cut before operation {k} of {trials.operations}")
        trials.end()
