"""Work done in threads, some way ahead of whoever uses its results."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
