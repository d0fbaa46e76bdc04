"""Disks that are full: one line, nothing lost that was whole, and all goes on when there is room.

pytest tests/faults/test_full_disk.py -m slow -s --points all
"""

import os
import subprocess
from pathlib import Path

import pytest
from kills import Running, left_by
from rows import TABLE, Trials

ROWS = {command.name: command for command in TABLE}
PAGE = 4096
ROOM = 2**30


def mount(folder: Path, size: int, *options: str) -> None:
    words = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={size}"]), "tmpfs", folder]
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path):
    """A folder that is a small disk of its own."""
    folder = tmp_path / "work"
    folder.mkdir()
    try:
        mount(folder, ROOM)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def used(folder: Path) -> int:
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrain", "resume", "evaluate", "study", "folder"])
def test_a_full_disk_is_one_line_and_costs_nothing(name, disk, tmp_path, points):
    trials = Trials(tmp_path, ROWS[name])
    most = used(disk)
    trials.begin()
    least = used(disk)
    trials.tried = 0
    pages = (most - least) // PAGE
    for k in points(pages):
        words = trials.begin()
        before = left_by(disk)
        mount(disk, least + k * PAGE, "remount")
        code, _ = Running(disk, words, said=trials.said).wait()
        trial = f"{k} pages of {pages}"
        said = trials.said.read_text()
        errors = [line for line in said.splitlines() if line.startswith("seamask: error: ")]
        if code not in (0, 2) or len(errors) != (code == 2) or "Traceback" in said:
            trials.fail(trial, f"exit code {code}: {said[-2000:]}")
        elif code == 2 and "No space left on device" not in said and "disk full" not in said:
            trials.fail(trial, f"says {errors}")
        if left := [path.name for path in disk.rglob(".seamask-*")]:
            trials.fail(trial, f"left {left}")
        mount(disk, ROOM, "remount")
        now = left_by(disk)
        if lost := [path for path in before if path not in now]:
            trials.fail(trial, f"lost {lost}")
        trials.go_on(trial)
    trials.end()
