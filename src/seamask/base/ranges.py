"""Named ranges of a step: PyTorch's profiler shows them, and `metered` measures them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, Self, TypeVar

from torch.profiler import record_function


class Amount(Protocol):
    """Such as seconds, or operations."""

    def __add__(self, other: Self, /) -> Self: ...
    def __sub__(self, other: Self, /) -> Self: ...


A = TypeVar("A", bound=Amount)

_watcher: Callable[[str], AbstractContextManager[object]] = record_function


def named(name: str) -> AbstractContextManager[object]:
    """Name what is done within. It costs what `record_function` does unless it is metered."""
    return _watcher(name)


def metered(thing: Callable[[], object], read: Callable[[], A]) -> dict[str, A]:
    """Run `thing`; return by how much `read` went up within its ranges, added up by name.

    Args:
        thing: in this thread; a profiler does not see its ranges meanwhile.
        read: reads a meter, such as a clock.
    """
    global _watcher
    found: dict[str, A] = {}

    @contextmanager
    def watcher(name: str) -> Iterator[None]:
        begin = read()
        yield
        spent = read() - begin
        found[name] = found[name] + spent if name in found else spent

    _watcher = watcher
    try:
        thing()
    finally:
        _watcher = record_function
    return found


@contextmanager
def heard(say: Callable[[str, float], None]) -> Iterator[None]:
    """Within, `say` is given the name of each range when it ends, and the seconds that it took.

    Args:
        say: of a range that is asked of a GPU it hears how long the asking took.
    """
    global _watcher
    before = _watcher

    @contextmanager
    def watcher(name: str) -> Iterator[None]:
        begin = time.perf_counter()
        with before(name):
            yield
        say(name, time.perf_counter() - begin)

    _watcher = watcher
    try:
        yield
    finally:
        _watcher = before
