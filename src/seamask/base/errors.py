"""What a user can cause, said in one line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from contextlib import suppress

SHOWN = 12  # choices listed in an error at most
LONGEST = 100  # characters of a value that is shown in an error


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


def shown(value: object) -> str:
    """Return a value as an error shows it: one line, the middle left out where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]}…{text[-half:]}"


def printable(text: str | os.PathLike[str]) -> str:
    """Write a text or a path so that it can be printed in one line, whatever bytes it holds."""
    found = os.fspath(text)
    with suppress(UnicodeEncodeError):  # half a character, which is no byte of a file's name
        found = os.fsencode(found).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in found)


def _last(name: str) -> str:
    """Return the last part of a dotted name, without the dashes of an option."""
    return name.lstrip("-").rpartition(".")[2]
