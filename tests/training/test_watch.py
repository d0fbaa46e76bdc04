"""Processes that something else started: they meet, and what ends one ends all, with its reason."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from command import call

CHILD = """
import os, signal, sys, time
from seamask.base.errors import UserError
from seamask.training import watch
from seamask.training.cluster import started_by
watch.SILENCE = 8.0
time.sleep(float(sys.argv[3]))
try:
    with watch.Watch(started_by(os.environ), float(sys.argv[2])) as here:
        first = here.place.rank == 0
        if first:
            here.say("plan", [1, "two"])
        assert here.hear("plan") == [1, "two"]
        print("met", flush=True)
        exec(sys.argv[1])
except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
print("through")
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def environ(rank, port, size=2):
    return {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port)}  # fmt: skip


def start(rank, port, do, late=0):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, do, "60", str(late)], env=os.environ | environ(rank, port),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize(
    ("do", "codes", "says"),
    [
        ("time.sleep(0.5 * first)", [0, 0], ["", ""]),
        (
            "if not first: raise UserError('the disk is full')\ntime.sleep(99)",
            [2, 2],  # the first waits and hears of it: what is said on this machine is enough
            ["", "the disk is full"],
        ),
        (
            "if not first: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(99)",
            [2, -signal.SIGKILL],
            ["nothing was heard of process 1 on HOST for 8 s", ""],
        ),
        (
            "if not first: os.kill(os.getpid(), signal.SIGKILL)\n"
            "time.sleep(2); raise RuntimeError('[gloo/pair.cc] Connection closed by peer')",
            [2, -signal.SIGKILL],
            ["process 1 on HOST ended without a word", ""],
        ),
        (
            "if first: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(99)",
            [-signal.SIGKILL, 2],
            ["", "has lost the first process at 127.0.0.1:"],
        ),
    ],
    ids=["through", "fails", "killed", "killed and noticed", "first killed"],
)
def test_what_ends_one_ends_all(do, codes, says):
    port = free_port()
    late = 9 if codes == [0, 0] else 0  # the first comes after more than the silence of one
    both = [start(0, port, do, late), start(1, port, do)]
    before = time.monotonic()
    said = [process.communicate(timeout=90)[1] for process in both]
    assert [process.returncode for process in both] == codes, said
    assert time.monotonic() - before < 60
    for text, wanted in zip(said, says, strict=True):
        wanted = wanted.replace("HOST", socket.gethostname())
        assert wanted in text if wanted else "error" not in text, said


def test_an_address_that_does_not_answer_is_named(monkeypatch, capsys):
    port = free_port()
    for name, value in environ(1, port).items():
        monkeypatch.setenv(name, value)
    assert call("pretrain", "--timeout", 1) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"process 1 on {socket.gethostname()} has waited 1 s for the first at" in line
    assert f"127.0.0.1:{port}" in line
    assert "--timeout" in line


def test_those_who_do_not_come_are_named(monkeypatch, capsys):
    port = free_port()
    for name, value in environ(0, port, size=3).items():
        monkeypatch.setenv(name, value)
    assert call("pretrain", "--timeout", 1) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"waited 1 s at 127.0.0.1:{port} for 3 processes, and processes 1, 2 did not" in last


@pytest.mark.parametrize("rank", [0, 1])
def test_devices_that_contradict_what_was_started_are_one_line(rank, monkeypatch, capsys):
    for name, value in environ(rank, 1).items():
        monkeypatch.setenv(name, value)
    assert call("pretrain", "--devices", 4) == 2
    said = capsys.readouterr().err
    one = "seamask: error: --devices 4: torchrun has started 2 processes; leave it out, or have"
    assert said.startswith(one) if rank == 0 else not said
