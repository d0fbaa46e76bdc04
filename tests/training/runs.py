"""Looking at runs, waiting for them, and interrupting them."""

import json
import os
import signal
import time

import torch
from safetensors.torch import load_file

from seamask.base import settings
from seamask.recipes import recipe_config
from seamask.training.run import Run


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights_of(run):
    return {
        f"{part}.{name}": tensor
        for part in ("encoder", "masker")
        for name, tensor in load_file(run / f"{part}.safetensors").items()
    }


def assert_same_weights(a, b):
    ours, theirs = weights_of(a), weights_of(b)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def wait_for(found, process):
    """Wait until something is found that a process leaves; fail with what it said if it ends."""
    deadline = time.monotonic() + 600
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def after_each_step(monkeypatch, do):
    """Have `do(run, images, maps)` called after each step of a run."""
    take_step = Run.take_step

    def take_step_and_do(run, images, maps):
        step = take_step(run, images, maps)
        do(run, images, maps)
        return step

    monkeypatch.setattr(Run, "take_step", take_step_and_do)


def signal_after(monkeypatch, step, number=signal.SIGTERM):
    """Send a signal when a run has taken that many steps."""

    def signal_then(run, images, maps):
        if run.step == step:
            os.kill(os.getpid(), number)

    after_each_step(monkeypatch, signal_then)


def config_of(tiny, out, **changed):
    return settings.override(recipe_config("shapes-seamask"), {**tiny, "out": str(out), **changed})
