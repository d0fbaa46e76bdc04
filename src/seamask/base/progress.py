"""Progress with rate and time left: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

LOG_SECONDS = 10.0  # between lines when the output is not a terminal
DAY, YEAR = 86_400, 365 * 86_400  # seconds


class Progress:
    """Count `total` units of work; use as a context manager and call `advance`.

    Args:
        label: what is being done, shown first.
        total: how many units there are.
        unit: name of one unit in the plural, e.g. "images".
        enabled: False shows nothing (ranks other than 0).
    """

    def __init__(self, label: str, total: int, unit: str, enabled: bool = True) -> None:
        self.label, self.total, self.unit, self.enabled = label, total, unit, enabled
        self.done = self.skipped = 0
        self.note = ""
        self.start = self.last_line = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        self.start = self.last_line = time.monotonic()
        if self.enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[status]}"),
                TimeElapsedColumn(),
            )
            self._bar = RichProgress(
                *columns, console=Console(stderr=True), refresh_per_second=2, transient=True
            )
            self._task = self._bar.add_task(self.label, total=self.total, status="")
            try:
                self._bar.start()
            except BaseException:  # a signal, say, when the cursor is hidden already
                with suppress(IndexError):  # rich had not come to what it takes back
                    self._bar.stop()
                self._bar.console.show_cursor()
                raise
        return self

    def skip(self, n: int) -> None:
        """Count `n` units as done before this process began; they do not enter the rate."""
        self.done += n
        self.skipped += n

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """Report `n` more units done; `note` (e.g. the loss) is shown from then on."""
        self.done += n
        self.note = self.note if note is None else note
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, status=self.status(now))
        elif self.enabled and now - self.last_line >= LOG_SECONDS:
            self.last_line = now
            print(f"{self.label}: {self.status(now)}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        elif self.enabled:
            print(text, file=sys.stderr, flush=True)

    def status(self, now: float) -> str:
        """Return the line after the label: count, rate, time left, note."""
        rate = (self.done - self.skipped) / max(now - self.start, 1e-9)
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        parts = [
            f"{self.done:,}/{self.total:,} {self.unit}",
            f"{few(rate)}/s",
            f"{duration(left)} left",
        ]
        return ", ".join(parts + ([self.note] if self.note else []))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def duration(seconds: float) -> str:
    """Write a duration as people say it: `42 s`, `3 min 05 s`, `2 h 10 min`, `14 days`."""
    if seconds == float("inf"):
        return "unknown time"
    whole = round(seconds)
    if whole < 1:
        return f"{few(seconds)} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 2 * DAY:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{few(whole / DAY)} days" if whole < 2 * YEAR else f"{few(whole / YEAR)} years"


def few(number: float) -> str:
    """Write a number with two digits that count, or whole: `0.34`, `5.2`, `1,230`."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def amount(n: int, unit: str, units: str = "") -> str:
    """Write how many of something there are: `1 image`, `2,000 images`.

    Args:
        n: of them.
        unit: one of them.
        units: its plural, if that has not just an s.
    """
    return f"{n:,} {unit if n == 1 else units or f'{unit}s'}"
