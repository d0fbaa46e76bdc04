"""What a user can cause, said in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 12  # choices listed in an error at most


class UserError(Exception):
    """A mistake or circumstance that the user can mend: one clear line, exit code 2, no traceback.

    The message names the thing, the value, and what to do.
    """


def unknown(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """Build the error for a name that does not exist, with the nearest one that does.

    Of dotted names the last parts must be alike: to begin with the same group makes none near.
    """
    choices = sorted(choices)
    low, last = name.lower(), _last(name.lower())
    near = difflib.get_close_matches(low, [c for c in choices if _last(c) == last], 1, cutoff=0)
    near += [
        choice
        for choice in difflib.get_close_matches(low, choices, n=5)
        if difflib.get_close_matches(last, [_last(choice)])
    ]
    group = name.removesuffix(_last(name))
    choices = [c for c in choices if group.strip("-") and c.startswith(group)] or choices
    if near:
        hint = f"did you mean {near[0]!r}?"
    elif len(choices) <= SHOWN:
        hint = f"choose from: {', '.join(choices)}"
    else:
        hint = f"there are {len(choices)}, e.g. {', '.join(choices[:: len(choices) // 5][:5])}"
    return UserError(f"unknown {kind} {name!r}: {hint}")


def _last(name: str) -> str:
    """Return the last part of a dotted name, without the dashes of an option."""
    return name.lstrip("-").rpartition(".")[2]
