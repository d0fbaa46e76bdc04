"""A terminal of any width, and what is right on all of them."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout


def on_terminal(columns: int, show: Callable[[], object]) -> str:
    """Return what something prints on a terminal of so many columns, without escape codes."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, 0, 0))
    read: list[bytes] = []

    def listen() -> None:
        try:
            while chunk := os.read(ours, 65536):
                read.append(chunk)
        except OSError:  # EIO: the other end is closed
            pass

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        stream = os.fdopen(theirs, "w", encoding="utf-8")
        with stream, redirect_stdout(stream), redirect_stderr(stream):
            show()
    finally:
        listener.join()
        os.close(ours)
    text = b"".join(read).decode().replace("\r\n", "\n")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def fits(show: Callable[[], object], said: str, columns: int) -> None:
    """Check that something fits a terminal whole.

    Args:
        show: prints it.
        said: what it prints in a log: every word of it is to be there, in one piece.
        columns: of the terminal.
    """
    shown = on_terminal(columns, show)
    for line in shown.splitlines():
        assert len(line) <= columns or len(line.split()) == 1, line
    assert {word for word in said.split() if "█" not in word} <= set(shown.split())
