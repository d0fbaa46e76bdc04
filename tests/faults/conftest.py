"""How many of the points where a command can be struck are tried."""

import random
from collections.abc import Callable, Sequence

import pytest


@pytest.fixture
def points(request: pytest.FixtureRequest) -> Callable[[int], Sequence[int]]:
    """Return a function that chooses the points that are tried of 1 … n."""

    def choose(n: int) -> Sequence[int]:
        asked = request.config.getoption("--points")
        everything = range(1, n + 1)
        if asked == "all" or int(asked) >= n:
            return everything
        return sorted(random.Random(n).sample(everything, int(asked)))

    return choose
