"""A setting of a recipe with its source beside it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Sourced(NamedTuple):
    """A value, and where it comes from: `Sourced(0.11, "[Seq] table 3")`."""

    value: Any
    source: str


def value_of(given: Any) -> Any:
    """Return a setting's value, whether its source is said or not."""
    return given.value if isinstance(given, Sourced) else given


def source_of(given: Any) -> str:
    """Return where a setting's value comes from; empty: that is not said."""
    return given.source if isinstance(given, Sourced) else ""
