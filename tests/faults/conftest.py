"""How many of the points where a command can be struck are tried."""

import random
from collections.abc import Callable, Sequence

import pytest
from kills import Command
from rows import EXPORTS, TABLE, Alone, Trials

ROWS = {command.name: command for command in (*TABLE, *EXPORTS)}


@pytest.fixture
def points(request: pytest.FixtureRequest) -> Callable[[int], Sequence[int]]:
    """Return a function that chooses the points that are tried of 1 … n."""

    def choose(n: int) -> Sequence[int]:
        asked = request.config.getoption("--points")
        everything = range(1, n + 1)
        if asked == "all" or int(asked) >= n:
            return everything
        return sorted(random.Random(request.node.name).sample(everything, int(asked)))

    return choose


@pytest.fixture(scope="session")
def trials_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | Command], Trials]:
    """Return a function that begins trials of a command; it runs alone but once for all tests."""
    alone: dict[Command, Alone] = {}

    def begin(what: str | Command) -> Trials:
        command = ROWS[what] if isinstance(what, str) else what
        if command not in alone:
            alone[command] = Alone(tmp_path_factory.mktemp(command.name), command)
        return Trials(alone[command])

    return begin
