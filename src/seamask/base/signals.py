"""Signals that ask a process to end, and what a process does when one comes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = tuple(
    signal.Signals[name]
    # Of a terminal; of a scheduler; of a terminal that closes; of a scheduler ahead of its limit,
    # as it is asked to; of a limit on processor time.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if name in signal.Signals.__members__  # not all of them everywhere
)

REPEATS = 0.5  # seconds within which one wish may come twice: from a terminal and from a parent

Handler = Callable[[int, FrameType | None], None]


def install(handler: Handler) -> dict[signal.Signals, object]:
    """Handle signals with `handler` from now on; return what handled them before.

    Those that are ignored stay so: `nohup` means it.
    """
    ours = [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    return {number: signal.signal(number, handler) for number in ours}


@contextmanager
def handled(handler: Handler | None) -> Iterator[None]:
    """Handle signals with `handler` inside the block; only the main thread can."""
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = install(handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)  # type: ignore[arg-type]


class Stopped(Exception):
    """The run was asked to stop by a signal; the message says what it has kept."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(signal_number, message)  # both, so that it travels between processes
        self.signal_number, self.message = signal_number, message


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class Interrupt:
    """Ends what a process does: a handler.

    The first signal raises `Interrupted` wherever the process is, so that temporary files go and
    the cursor comes back; a later one ends the process at once.

    Attributes:
        waited_for: whether the first signal has still to come; False: it is of no use any more.
    """

    def __init__(self) -> None:
        self.waited_for = True
        self.since = time.monotonic()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Heed a signal.

        Raises:
            Interrupted: it is the first.
        """
        now = time.monotonic()
        if self.waited_for:
            self.waited_for, self.since = False, now
            raise Interrupted(number)
        if now - self.since > REPEATS:
            tell(f"stopped at once by {signal.Signals(number).name}")
            os._exit(128 + number)


def tell(text: str) -> None:
    """Print a line from a handler, which may have interrupted a `print`."""
    with suppress(OSError):
        os.write(2, f"\nseamask: {text}\n".encode())
