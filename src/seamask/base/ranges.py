"""Named ranges of a step: PyTorch's profiler shows them; `readings` reads a meter at their ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from torch.profiler import record_function

T = TypeVar("T")

_watcher: Callable[[str], AbstractContextManager[object]] = record_function


def named(name: str) -> AbstractContextManager[object]:
    """Name what is done within. It costs what `record_function` does unless somebody reads."""
    return _watcher(name)


def readings(thing: Callable[[], object], read: Callable[[], T]) -> list[tuple[str, T, T]]:
    """Run `thing`; return the name of each range that it went through, and two readings.

    Args:
        thing: runs in this thread; a profiler does not see its ranges meanwhile.
        read: reads a meter: a clock, a counter.

    Returns:
        What `read` said at the beginning and at the end of each range, in the order of the ends.
    """
    global _watcher
    found = []

    @contextmanager
    def watcher(name: str) -> Iterator[None]:
        begin = read()
        yield
        found.append((name, begin, read()))

    _watcher = watcher
    try:
        thing()
    finally:
        _watcher = record_function
    return found
