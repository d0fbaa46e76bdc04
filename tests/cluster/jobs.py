"""Small runs of the command, as those who use a cluster start it."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Steps that take a while, so that something can happen in the middle.
SLOWLY = """
import time
from seamask.training.run import Run
take = Run.take_step
def slowly(run, images, maps):
    time.sleep(SECONDS)
    return take(run, images, maps)
Run.take_step = slowly
"""


def pretrain(out: Path, cache: Path, **changed: object) -> list[str]:
    """Return the words that start a run of 24 steps, or go on with it."""
    given = {
        "image-size": 16, "data.shapes-train": 48, "data.shapes-test": 16, "batch-size": 16,
        "epochs": 8, "masks.width": 2, "n-masks": 2, "objective.hidden": 16,
        "objective.out-dim": 8, "optim.warmup-epochs": 1, "log.every": 1, "log.masks-every": 0,
        "log.checkpoint-every": 0, "device": "cpu", "threads": 1, "data.cache": cache, "out": out,
        "resume": "auto", **changed,
    }  # fmt: skip
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return ["pretrain", "shapes-sequential", *words]


def slowly(seconds: float) -> str:
    """Return code after which each step takes so many seconds longer."""
    return SLOWLY.replace("SECONDS", str(seconds))


def plugin(folder: Path, seconds: float = 0.3) -> list[str]:
    """Return the words with which steps take a while."""
    file = folder / "slowly.py"
    file.write_text(slowly(seconds))
    return ["--plugin", str(file)]


def shell(*words: str | Path) -> str:
    """Return a command of seamask as a shell takes it."""
    return shlex.join([sys.executable, "-m", "seamask", *map(str, words)])


def steps(out: Path) -> int:
    """Return how many steps a run has logged."""
    log = out / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def wait_for(found: Callable[[], object], said: Callable[[], object], seconds: float = 600) -> None:
    """Wait until something is so; fail with what was said."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, said()
        time.sleep(0.1)
