"""Who reads the output may go: what is done is done all the same, and exit code 0 says so."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seamask import cli
from seamask.base import progress
from seamask.base.output import Lasting, lasting_output
from seamask.base.progress import Progress

BASE = (
    "pretrain shapes-sequential --image-size 16 --epochs 1 --n-masks 2 --data.shapes-train 32 "
    "--data.shapes-test 16 --batch-size 8 --threads 1 --masks.width 2 --objective.hidden 32 "
    "--data.cache cache --out out"
)
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")


def shell(line: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("seamask", f"{sys.executable} -m seamask")
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], cwd=folder, env={**os.environ, **more},
        capture_output=True, text=True, errors="replace",
    )  # fmt: skip


def finished(folder: Path) -> bool:
    return json.loads((folder / "out/manifest.json").read_text())["epochs_done"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        f"seamask {BASE} 2>&1 | head -1",
        pytest.param(f"seamask {BASE} > /dev/full 2>&1", marks=needs_full),
        f"seamask {BASE} >&- 2>&-",
    ],
)
def test_a_training_goes_on_when_nobody_reads(line, tmp_path):
    done = shell(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert finished(tmp_path)
    assert "Exception ignored" not in done.stderr


@pytest.mark.slow
def test_signs_that_an_encoding_lacks(tmp_path):
    done = shell(f"seamask {BASE}", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    done = shell("seamask pretrain --help", tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--batch-size" in done.stdout


@needs_full
def test_what_is_there_to_be_printed_and_is_not_is_no_success(tmp_path):
    done = shell("seamask recipes > /dev/full", tmp_path)
    said = "seamask: error: cannot print: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)
    done = shell("seamask recipes | true", tmp_path)  # who closes a pipe has read enough
    assert (done.returncode, done.stderr) == (0, "")


def test_no_room_that_a_library_found_is_one_line(capsys):
    assert cli._explain(OSError(errno.ENOSPC, "No space left on device")) == 2
    said = "seamask: error: cannot write: No space left on device; free some space\n"
    assert capsys.readouterr().err == said


class Gone(io.StringIO):
    """A reader that goes after some characters."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def write(self, text: str) -> int:
        if len(text) > self.left:
            raise BrokenPipeError(32, "Broken pipe")
        self.left -= len(text)
        return super().write(text)


def test_progress_whose_reader_goes(monkeypatch):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    gone = Gone(60)
    monkeypatch.setattr(sys, "stderr", gone)
    with lasting_output(), Progress("counting", 5, "things") as bar:
        for _ in range(5):
            bar.advance()
        bar.say("the end")
    assert bar.done == 5
    assert gone.getvalue().startswith("counting: 1/5 things")
    assert "the end" not in gone.getvalue()
    assert sys.stderr is gone


def test_a_lasting_stream():
    written = io.TextIOWrapper(io.BytesIO(), "ascii")
    stream = Lasting(written)
    assert stream.write("4 × 4") == 5
    stream.flush()
    assert written.buffer.getvalue() == b"4 ? 4"
    assert stream.encoding == "ascii"
    written.close()
    stream.write("more")
    assert isinstance(stream.failed, ValueError)
    silent = Lasting(None)
    silent.write("x")
    assert silent.failed is None
    silent.stream.close()
