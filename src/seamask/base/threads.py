"""Work done in threads, some way ahead of whoever uses its results; what they share."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

AHEAD = 512  # results, unless said otherwise

T = TypeVar("T")
R = TypeVar("R")


def in_threads(
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int | None = None,
    ahead: int = AHEAD,
    name: str = "seamask",
) -> Generator[R, None, None]:
    """Apply a function in threads and yield the results in order.

    The threads work on while results are used; a failure, or a caller who wants no more, ends it
    soon.

    Args:
        function: of one item.
        items: asked for only a little ahead.
        threads: None: one for each core.
        ahead: results that may wait to be used.
        name: of the threads.
    """
    pool = ThreadPoolExecutor(threads or os.cpu_count(), name)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class once(cached_property[T]):
    """A property that is computed by one thread, and kept; others wait for it.

    `cached_property` itself has no lock since Python 3.12. It is kept beside the value, so that
    objects do not wait for each other.
    """

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> T:  # type: ignore[override]
        """Return the value."""
        with vars(instance).setdefault("_once", threading.RLock()):  # that of one thread stays
            value: T = super().__get__(instance, owner)
            return value


class Allowance:
    """An amount that threads share: who wants more than is left waits.

    Args:
        total: for all threads together.
    """

    def __init__(self, total: int) -> None:
        self.total = self._left = total
        self._changed = threading.Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Have some of it for the length of the block; all of it, where more is wanted."""
        amount = min(amount, self.total)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()
