"""Processes that train, started from anywhere: a script without a main guard, a notebook, stdin."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from seamask.base.errors import UserError
from seamask.base.memory import REMEDY
from seamask.base.registry import registered_by
from seamask.base.signals import handled
from seamask.training.cluster import Place
from seamask.training.signals import StopSignal
from seamask.training.watch import of_others

MAIN = "__main__"
UNGUARDED = 78  # exit code of a process that was about to start the whole script again
ORPHAN_SECONDS = 20.0  # that a process whose parent died has to save in
PATIENCE = 10.0  # seconds that one which lost another leaves the word to it

Work = Callable[[Place], Any]


class Killed(UserError):
    """A process was ended from outside, by a signal."""


def spawn(work: Work, n: int, stop: StopSignal) -> Any:
    """Run a function in processes of this machine; return what it returns in the first.

    What ends one ends all. Signals are passed on to them.

    Args:
        work: given each process's place; a module's function, or a `partial` of one.
        n: how many processes.
        stop: takes note of signals.

    Raises:
        UserError: that one of them raised, or how it ended without a word.
        Stopped: the second signal came.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("spawn")
    processes: list[multiprocessing.process.BaseProcess] = []
    pipes: list[Connection] = []
    outcomes: dict[int, Any] = {}  # by rank

    def pass_on(number: int, frame: types.FrameType | None) -> None:
        for process in processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, number)  # they save and stop
        stop.note(number)

    try:
        with handled(pass_on):
            for rank in range(n):
                place = Place("--devices", rank, n, rank, n, port=store.port)
                pipe, its = context.Pipe(duplex=False)
                started = context.Process(target=_child, args=(work, place, its))
                with nullcontext() if registered_by(MAIN) else _without_main():
                    started.start()
                its.close()
                processes.append(started)
                pipes.append(pipe)
            running = dict(enumerate(pipes))
            while running:
                wait([*running.values()])
                for rank, pipe in [*running.items()]:
                    if pipe.poll():
                        outcomes[rank] = _received(pipe, processes[rank])
                        del running[rank]
            return outcomes[0]
    finally:
        for process in processes:
            process.kill()
            process.join(timeout=5)  # it holds the run's folder until it is gone


def _received(pipe: Connection, process: multiprocessing.process.BaseProcess) -> Any:
    """Return what a process sends at its end.

    Raises:
        UserError: that it raised, or how it ended without sending anything.
    """
    try:
        outcome = pipe.recv()
    except EOFError:
        process.join()
        assert process.exitcode is not None
        raise silent_end(process.exitcode) from None
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def silent_end(code: int) -> UserError:
    """Build the line for a process that ended without a word of Python's.

    Args:
        code: its exit code; below 0, the signal that killed it.
    """
    if code == UNGUARDED:
        return UserError(
            "devices > 1 starts Python anew, and this script adds parts of its own there: put what "
            'starts the run below `if __name__ == "__main__":`, or the parts into a plugin\'s file'
        )
    if code >= 0:
        return UserError(f"a training process ended with exit code {code}; what it said is above")
    return Killed(
        f"a training process was killed by {signal.Signals(-code).name} (out of memory? then "
        f"{REMEDY})"
    )


def _child(work: Work, place: Place, sender: Connection) -> None:
    """Run in a process that `spawn` has started."""
    _leave_with_parent()
    try:
        outcome = work(place)
    except UserError as error:
        outcome = error
    except Exception as error:
        if of_others(error):
            time.sleep(PATIENCE)  # until the parent, which knows who ended and why, ends this one
        traceback.print_exc()
        sys.exit(1)
    with suppress(BrokenPipeError):
        sender.send(outcome)


def _leave_with_parent() -> None:
    """Have this process save and end soon after its parent died, which nobody else would tell."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="seamask-parent", daemon=True).start()


def leave_if_unguarded() -> None:
    """End a process that is starting, where its script would start a run from the top again."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(UNGUARDED)


@contextmanager
def _without_main() -> Iterator[None]:
    """Within, processes that start do not import the script: nothing of it is needed there."""
    main = sys.modules[MAIN]
    sys.modules[MAIN] = types.ModuleType(MAIN)
    try:
        yield
    finally:
        sys.modules[MAIN] = main
