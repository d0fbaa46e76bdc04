"""Output that outlives its reader: a line that cannot be printed ends no work."""

from __future__ import annotations

import functools
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

NARROWEST, USUAL = 20, 80  # columns of a terminal: fewer are not made use of; if it does not say
HANGING = 2  # spaces before what a line goes on with


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


def line_length(stream: Any = None) -> int | None:
    """Return how many characters a line of a stream's terminal holds; None: it has no terminal.

    Args:
        stream: that is asked; None: `sys.stdout`.
    """
    stream = sys.stdout if stream is None else stream
    try:
        if stream is None or not stream.isatty():
            return None
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # it is closed, or has no file
        return None
    return max(NARROWEST, columns or USUAL)  # a terminal that was never told its size says 0


def print_prose(text: str, stream: Any = None) -> None:
    """Print lines of words; on a terminal none is broken within a word.

    What has no spaces, such as a path, stays in one piece, so that it can be copied.

    Args:
        text: of any number of lines.
        stream: to print to; None: `sys.stdout`.
    """
    width = line_length(stream)
    for line in text.split("\n"):
        if width is not None and len(line) > width:
            indent = " " * (len(line) - len(line.lstrip()) + HANGING)
            line = textwrap.fill(
                line, width, subsequent_indent=indent, break_long_words=False,
                break_on_hyphens=False,
            )  # fmt: skip
        print(line, file=stream, flush=True)


def fitted(text: str, less: int = 0) -> str:
    """Return help as wide as the terminal: paragraphs flow, and so does what is beside a name.

    Paragraphs of indented lines are names, two spaces or more, and what is said of them; where
    little room is left beside the names, it stands below.

    Args:
        text: of paragraphs.
        less: so many characters than a line of the terminal holds.
    """
    width = (line_length() or USUAL) - less
    flow = functools.partial(textwrap.fill, break_long_words=False, break_on_hyphens=False)
    parts = []
    for paragraph in text.rstrip().split("\n\n"):
        if paragraph[:1] != " ":
            parts.append(flow(paragraph, width))
            continue
        rows: list[tuple[str, str]] = []
        for line in paragraph.splitlines():
            name, _, said = line.rstrip().rpartition("  ")
            if name.strip():
                rows.append((name.rstrip(), said))
            elif rows and line[: len(rows[-1][0])].isspace():  # more of what is said
                rows[-1] = (rows[-1][0], f"{rows[-1][1]} {said}")
            else:
                rows.append((line, ""))
        column = 2 + max(len(name) for name, _ in rows)
        indent = " " * (len(paragraph) - len(paragraph.lstrip()) + HANGING)
        for name, said in rows:
            beside = f"{name:<{column}}{said}".rstrip()
            if width - column >= NARROWEST or not said:
                parts.append(flow(beside, width, subsequent_indent=" " * column))
            else:
                below = flow(said, width, initial_indent=indent, subsequent_indent=indent)
                parts.append(f"{flow(name, width, subsequent_indent=indent)}\n{below}")
        parts[-len(rows) :] = ["\n".join(parts[-len(rows) :])]
    return "\n\n".join(parts)


def in_columns(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a table, its columns as wide as what is in them.

    Where it is wider than the terminal they stand closer; columns that do not fit all the same
    stand below, beside the first one again.

    Args:
        rows: of as many cells each, the head first.
        left: so many columns stand to the left, those after them to the right.
    """
    width = line_length() or sys.maxsize
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= width else 1
    parts = [[0]]
    for k in range(1, len(widths)):
        taken = sum(widths[j] + gap for j in parts[-1])
        if taken + widths[k] > width and parts[-1] != [0]:
            parts.append([0])
        parts[-1].append(k)
    lines = []
    for part in parts:
        cells = [[row[k] for k in part] for row in rows]
        lines += aligned([c for c in cells if part is parts[0] or any(c[1:])], left, gap)
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]], left: int = 1, gap: int = 2) -> list[str]:
    """Return the rows of a table, none broken; on a narrow terminal, long names stand above.

    Args:
        rows: see `in_columns`; a name comes first.
        left: see `in_columns`.
        gap: spaces between columns.
    """
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    room = (line_length() or sys.maxsize) - sum(gap + width for width in others)
    first = max(0, min(first, room))
    sides = "<" * (left - 1) + ">" * (len(others) - left + 1)
    lines = []
    for name, *cells in rows:
        above = len(name) > first
        texts = [" " * first if above else f"{name:<{first}}"]
        texts += [f"{c:{side}{width}}" for c, side, width in zip(cells, sides, others, strict=True)]
        lines.append(f"{name}\n" * above + (" " * gap).join(texts).rstrip())
    return lines


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
