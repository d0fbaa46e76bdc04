"""Signals end a run well, also when they come twice or early."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from seamask.base.signals import Interrupt, handled
from seamask.training.signals import StopSignal


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stop = StopSignal()
    with handled(stop.note):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)  # the same wish, passed on by a parent
    assert stop.number == signal.SIGTERM
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


STUBBORN = """
import sys, time
from seamask.base.signals import Interrupt, handled
with handled(Interrupt()):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:  # what it unwinds takes long
        print("unwinding", flush=True)
        time.sleep(60)
"""


def test_a_later_signal_ends_what_still_unwinds():
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "unwinding\n"
    process.send_signal(signal.SIGINT)  # the same wish, passed on by a parent
    time.sleep(0.6)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert said == "\nseamask: stopped at once by SIGINT\n"


def test_a_signal_when_all_is_done_changes_nothing():
    interrupt = Interrupt()
    interrupt.waited_for = False
    with handled(interrupt):
        os.kill(os.getpid(), signal.SIGTERM)


def test_other_threads_handle_no_signals():
    done = []

    def work():
        with handled(StopSignal().note):
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


@pytest.mark.slow
@pytest.mark.ddp
def test_ctrl_c_of_a_terminal_reaches_every_process_and_still_saves(tiny, tmp_path):
    # A terminal signals the whole group, and the parent passes its own on: twice for each worker.
    out = tmp_path / "run"
    changed = {**tiny, "epochs": 500, "devices": 2, "objective.hidden": 16}
    flags = [word for k, v in changed.items() for word in (f"--{k}", str(v))]
    process = subprocess.Popen(
        [sys.executable, "-m", "seamask", "pretrain", "--out", str(out), *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 600
    while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGINT, said
    assert f"seamask resume {out}" in said
    assert "Traceback" not in said
    assert list((out / "checkpoints").glob("step-*.pt"))
