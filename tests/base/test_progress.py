"""Progress is whole on a narrow terminal, and rare in a long log."""

import io
import re

import pytest
from rich.console import Console

from seamask.base import progress
from seamask.base.progress import BELOW_A_CELL, RAREST, Progress, _Bar, _Lines
from terminals import on_terminal

NOTE = "epoch 3/16, loss 3.364, masks 20 16 13 %, 97 % or more from the image"


def test_a_narrow_terminal_shows_bar_and_status_whole():
    console = Console(file=io.StringIO(), force_terminal=True, width=40, highlight=False)
    bar = _Bar("pretraining", 100, console)
    counted = Progress("pretraining", 100, "images")
    counted.advance(25, NOTE)
    bar.show(25, counted.status(counted.start + 1))
    bar.close()
    with console.capture() as capture:
        console.print(bar.bar.get_renderable())
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capture.get())
    lines = [line.rstrip() for line in plain.splitlines()]
    assert lines[0].startswith("pretraining ")
    assert " 25%" in lines[0]
    assert all(len(line) <= 40 for line in lines)
    assert f"25/100 images, 25/s, 3 s left, {NOTE}" == " ".join(" ".join(lines[1:]).split())


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), (BELOW_A_CELL, "1")])
def test_a_terminal_that_takes_no_line_back_is_a_log(name, value, monkeypatch):
    def kind():
        shown = progress._view("pretraining", 100)
        shown.close()
        kinds.append(type(shown))

    kinds = []
    monkeypatch.delenv(BELOW_A_CELL, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    on_terminal(80, kind)
    monkeypatch.setenv(name, value)
    on_terminal(80, kind)
    assert kinds == [_Bar, _Lines]


def test_lines_of_a_log_become_rarer(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = _Lines("pretraining")
    times = []
    while now < 86400:
        now += 5
        lines.show(0, "")
        if capsys.readouterr().err:
            times.append(now)
    assert times[0] == 10
    assert times[-1] - times[-2] == RAREST
    assert len(times) < 400  # a day
