"""Progress with rate and time left: a bar on a terminal or in a notebook, lines in a log."""

from __future__ import annotations

import html
import os
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol

LOG_SECONDS = 10.0  # between lines when the output is neither a terminal nor a notebook, at first
RARER, RAREST = 1.05, 300.0  # so much longer each time; seconds at most: logs of days stay short
CELL_SECONDS = 0.5  # between two states of a bar in a notebook
# Set for what `!seamask …` starts in a notebook: a terminal, but one that takes no line back.
BELOW_A_CELL = "JPY_PARENT_PID"
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
        self.start = time.monotonic()
        self._view: _View | None = None

    def __enter__(self) -> Progress:
        self.start = time.monotonic()
        if self.enabled:
            self._view = _view(self.label, self.total)
        return self

    def skip(self, n: int) -> None:
        """Count `n` units as done before this process began; they do not enter the rate."""
        self.done += n
        self.skipped += n

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """Report `n` more units done; `note` (e.g. the loss) is shown from then on."""
        self.done += n
        self.note = self.note if note is None else note
        if self._view is not None:
            self._view.show(self.done, self.status(time.monotonic()))

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._view is not None:
            self._view.say(text)

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
        if self._view is not None:
            self._view.close()


class _View(Protocol):
    """What progress is seen in."""

    def show(self, done: int, status: str) -> None:
        """Show how far it is."""

    def say(self, text: str) -> None:
        """Print a line that stays."""

    def close(self) -> None:
        """Take away what was only there while it went on."""


def _view(label: str, total: int) -> _View:
    if _in_notebook():
        return _Cell(label, total)
    if sys.stderr.isatty() and BELOW_A_CELL not in os.environ:
        from rich.console import Console

        console = Console(stderr=True, highlight=False, markup=False)
        if not console.is_dumb_terminal:  # which no line can be taken back from
            return _Bar(label, total, console)
    return _Lines(label)


class _Lines:
    """A line every few seconds, then every few minutes, for a log."""

    def __init__(self, label: str) -> None:
        self.label, self.last, self.pause = label, time.monotonic(), LOG_SECONDS

    def show(self, done: int, status: str) -> None:
        now = time.monotonic()
        if now - self.last >= self.pause:
            self.last, self.pause = now, min(RARER * self.pause, RAREST)
            self.say(f"{self.label}: {status}")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class _Bar:
    """A bar at the bottom of a terminal, and below it, in as many lines as it needs, the rest."""

    def __init__(self, label: str, total: int, console: Any) -> None:
        from rich.console import Group
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        class Bar(RichProgress):
            """The bar with the status of its task below."""

            def get_renderable(self) -> Any:
                texts = [Text(task.fields["status"]) for task in self.tasks]
                return Group(self.make_tasks_table(self.tasks), *texts)

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        self.console = console
        self.bar = Bar(*columns, console=console, refresh_per_second=2, transient=True, expand=True)
        self.task = self.bar.add_task(label, total=total, status="")
        try:
            self.bar.start()
        except BaseException:  # a signal, say, when the cursor is hidden already
            with suppress(IndexError):  # rich had not come to what it takes back
                self.bar.stop()
            console.show_cursor()
            raise

    def show(self, done: int, status: str) -> None:
        self.bar.update(self.task, completed=done, status=status)

    def say(self, text: str) -> None:
        self.console.print(text)

    def close(self) -> None:
        self.bar.stop()


class _Cell:
    """A bar in the output of a notebook's cell."""

    def __init__(self, label: str, total: int) -> None:
        from IPython.display import HTML, display

        self.label, self.total, self.html, self.last = label, total, HTML, time.monotonic()
        self.handle = display(self._drawn(0, ""), display_id=True)

    def _drawn(self, done: int, status: str) -> Any:
        bar = f'<progress value="{done}" max="{max(self.total, 1)}"></progress>'
        return self.html(f"{html.escape(self.label)} {bar} {html.escape(status)}")

    def show(self, done: int, status: str) -> None:
        now = time.monotonic()
        if now - self.last >= CELL_SECONDS or done >= self.total:
            self.last = now
            self.handle.update(self._drawn(done, status))

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


def _in_notebook() -> bool:
    """Say whether a notebook's cell shows what is displayed."""
    ipython, kernel = sys.modules.get("IPython"), "ipykernel" in sys.modules
    return bool(kernel and ipython is not None and ipython.get_ipython() is not None)


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
