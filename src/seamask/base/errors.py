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
    """Build the error for a name that does not exist, with the nearest one that does."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name.lower(), choices, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean {near[0]!r}?"
    elif len(choices) <= SHOWN:
        hint = f"choose from: {', '.join(choices)}"
    else:
        hint = f"there are {len(choices)}, e.g. {', '.join(choices[:: len(choices) // 5][:5])}"
    return UserError(f"unknown {kind} {name!r}: {hint}")
