"""How many of the points where a command can be struck are tried."""

from collections.abc import Callable, Sequence

import pytest


@pytest.fixture
def points(request: pytest.FixtureRequest) -> Callable[[int], Sequence[int]]:
    """Return a function that spreads the points that are tried over 1 … n."""

    def spread(n: int) -> Sequence[int]:
        asked = request.config.getoption("--points")
        every = 1 if asked == "all" else max(1, n // int(asked))
        return range(1, n + 1, every)

    return spread
