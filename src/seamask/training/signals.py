"""Signals end a run after its current step; the second ends it at once."""

from __future__ import annotations

import signal
import time
from types import FrameType

from seamask.base.signals import REPEATS, tell
from seamask.base.signals import Stopped as Stopped  # others have it from here
from seamask.runs import RunFolder


class StopSignal:
    """Remembers that the run was asked to stop.

    Args:
        folder: of the run. A line says what happens, and a second, later signal raises `Stopped`
            wherever the run is. None: neither, in a process whose parent does both.

    Attributes:
        number: of the signal; 0: none came.
    """

    def __init__(self, folder: RunFolder | None = None) -> None:
        self.folder = folder
        self.number = 0
        self.since = 0.0

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Take note of a signal: a handler.

        Raises:
            Stopped: it is the second one.
        """
        now = time.monotonic()
        if not self.number:
            self.number, self.since = number, now
            if self.folder is not None:
                tell(
                    f"{signal.Signals(number).name}: saving a checkpoint after this step, then "
                    "stopping; once more stops at once"
                )
        elif self.folder is not None and now - self.since > REPEATS:
            raise Stopped(number, f"stopped at once; {self.folder.kept()}")
