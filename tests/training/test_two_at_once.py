"""Two commands on one run: one has it, the others are told who; it is free when that one dies."""

import os
import subprocess
import sys

import pytest

import seamask
from command import call
from seamask.base.errors import UserError
from training.runs import lines_of, wait_for


def arguments(tiny, out, **changed):
    settings = {**tiny, "out": out, **changed}
    words = ["pretrain", "shapes-seamask"]
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}"]
        words += [str(v) for v in value] if isinstance(value, tuple) else [str(value)]
    return words


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "seamask", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def refusal(capsys, *words):
    capsys.readouterr()
    assert call(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def running(tiny, tmp_path):
    """A run that goes on for long, after its first epoch, and its process."""
    out = tmp_path / "run"
    process = start(*arguments(tiny, out, epochs=5000))
    wait_for(lambda: list(out.glob("checkpoints/step-*.pt")), process)
    yield out, process
    process.kill()
    process.wait()
    process.stderr.close()


def test_one_has_the_run_until_it_dies(running, tiny, capsys):
    out, process = running
    holder = f"seamask: error: {out}: process {process.pid} on {os.uname().nodename} since "
    for words in (
        ("resume", out),
        arguments(tiny, out),
        [*arguments(tiny, out), "--overwrite"],
    ):
        assert refusal(capsys, *words).startswith(holder)
        assert process.poll() is None
    process.kill()
    process.wait()
    assert "already holds a run" in refusal(capsys, *arguments(tiny, out))
    seamask.pretrain(recipe="shapes-seamask", out=out, overwrite=True, **tiny)
    assert {line["epoch"] for line in lines_of(out)} == {1, 2}
    assert not list(out.glob(".*"))


def test_a_start_that_fails_leaves_nothing(tiny, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UserError, match="fewer than one batch"):
        seamask.pretrain(recipe="shapes-seamask", out=out, **{**tiny, "batch_size": 64})
    assert not out.exists()


def test_a_folder_with_nothing_but_leftovers_can_be_used(tiny, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".seamask-lock").write_text("process 1 on host since long ago\n")
    (out / ".seamask-0123456789abcdef.tmp").write_text("half")
    seamask.pretrain(recipe="shapes-seamask", out=out, **tiny)
    assert not list(out.glob(".*"))
