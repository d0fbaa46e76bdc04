"""The command in this process: as good as a new one, and 5 s faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

# All parts of seamask are there before a plugin's come.
import seamask.data.sources
import seamask.evaluate
import seamask.masks.build
import seamask.objectives.build  # noqa: F401
from seamask import plugins
from seamask.base import registry
from seamask.cli import main


@contextmanager
def parts_of_seamask() -> Iterator[None]:
    """Within, parts may be added; after it they are gone."""
    before = [(r, dict(r._parts), dict(r._settings)) for r in registry._registries]
    loaded = list(plugins._loaded)
    try:
        yield
    finally:
        plugins._loaded[:] = loaded
        for r, parts, settings in before:
            r._parts, r._settings = parts, settings


def call(*arguments: object) -> int:
    """Run the command and return its exit code. Plugins that it loads are gone after it."""
    with parts_of_seamask(), pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return cast(int, stop.value.code)
