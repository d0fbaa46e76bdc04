"""Disks that are full: one line, nothing lost that was whole, and all goes on when there is room.

pytest tests/faults/test_full_disk.py -m slow -s --points all
"""

import pytest
from kills import Running, left_by, run
from rows import Trials

from disks import ROOM, small_disk

PAGE = 4096


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrain", "resume", "evaluate", "study", "folder"])
def test_a_full_disk_is_one_line_and_costs_nothing(name, trials_of, points):
    trials = trials_of(name)
    with small_disk(trials.root) as disk:
        words = trials.begin()
        least = disk.used()
        assert run(disk.place, words)[0] == 0
        most = disk.used()
        pages = (most - least) // PAGE
        for k in points(pages):
            words = trials.begin()
            before = left_by(disk.place)
            disk.resize(least + k * PAGE)
            code, _ = Running(disk.place, words, said=trials.said).wait()
            trial = f"{k} pages of {pages}"
            check(trials, trial, code)
            disk.resize(ROOM)
            now = left_by(disk.place)
            if lost := [path for path in before if path not in now]:
                trials.fail(trial, f"lost {lost}")
            trials.go_on(trial)
        trials.end()


def check(trials: Trials, trial: str, code: int) -> None:
    """What a command says and leaves that finds no room, if it needed it."""
    said = trials.said.read_text()
    errors = [line for line in said.splitlines() if line.startswith("seamask: error: ")]
    if code not in (0, 2) or len(errors) != (code == 2) or "Traceback" in said:
        trials.fail(trial, f"exit code {code}: {said[-2000:]}")
    elif code == 2 and "No space left on device" not in said and "disk full" not in said:
        trials.fail(trial, f"says {errors}")
    if left := [path.name for path in trials.root.rglob(".seamask-*")]:
        trials.fail(trial, f"left {left}")
