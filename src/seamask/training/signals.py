"""SIGINT and SIGTERM end a run after its current step; what was there before is put back."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
REPEATS = 2.0  # seconds within which the same wish may come twice: from a terminal and a parent

Handler = Callable[[int, FrameType | None], None]


class Stopped(Exception):
    """The run was asked to stop (SIGINT, SIGTERM) and has saved a checkpoint."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(signal_number, message)  # both, so that it travels between processes
        self.signal_number, self.message = signal_number, message


class StopSignal:
    """Remembers that the run was asked to stop; a second, later signal ends it at once."""

    def __init__(self) -> None:
        self.number = 0
        self.since = 0.0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal: a handler."""
        now = time.monotonic()
        if not self.number:
            self.number, self.since = number, now
        elif now - self.since > REPEATS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def install(self) -> None:
        """Handle signals from now on, in a process that is ours alone."""
        for number in SIGNALS:
            signal.signal(number, self.note)


@contextmanager
def handled(handler: Handler | None) -> Iterator[None]:
    """Handle signals with `handler` inside the block; only the main thread can."""
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
