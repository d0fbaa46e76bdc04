"""Output that outlives its reader: a line that cannot be printed ends no work."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Lasting:
    """A stream that goes on when what reads it has gone, or its disk is full.

    What its encoding has no sign for is written as `?`.

    Args:
        stream: to write to; None, where a process has none, is silence.

    Attributes:
        failed: why nothing more is written; None: all was.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115
        self.failed: Exception | None = None

    def write(self, text: str) -> int:
        """Write as far as that is possible; return the length of the text."""
        if self.failed is None:
            try:
                self.stream.write(text)
            except UnicodeEncodeError as error:
                self.write(text.encode(error.encoding, "replace").decode(error.encoding))
            except (OSError, ValueError) as error:  # ValueError: the stream is closed
                self.failed = error
        return len(text)

    def flush(self) -> None:
        """Write what waits, as far as that is possible."""
        if self.failed is None:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self.failed = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def print_prose(text: str) -> None:
    """Print lines of words; on a terminal none is broken within a word."""
    for line in text.splitlines():
        if sys.stdout is not None and sys.stdout.isatty():
            width = max(20, shutil.get_terminal_size().columns)
            line = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        print(line, flush=True)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Within, `sys.stdout` and `sys.stderr` are `Lasting`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        stream if isinstance(stream, Lasting) else Lasting(stream) for stream in before
    )
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def close_failed(stream: Lasting) -> None:
    """Let what a stream could not write go, in a process that ends: else Python tries once more."""
    if stream.failed is not None:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
