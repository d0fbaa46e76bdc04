"""What a user can cause, said in one line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from contextlib import suppress
from numbers import Integral, Real

SHOWN = 12  # choices listed in an error at most
LONGEST = 100  # characters of a value that is shown in an error


class UserError(ValueError):
    """A mistake or circumstance that the user can mend: one clear line, exit code 2, no traceback.

    The message names the thing, the value, and what to do. Public as `seamask.UserError`.
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


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse an argument of a function that is no whole number in its range.

    Raises:
        UserError: with its name, its value and the range.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        limits = f"at least {least}" if most is None else f"between {least} and {most}"
        raise UserError(f"{name} is {shown(value)}: it must be a whole number, {limits}")


def first_line(error: Exception) -> str:
    """Return the first line of what an error of a library says, or else its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_share(name: str, value: object, ends: bool = False) -> None:
    """Refuse an argument of a function that is no share in (0, 1), or with `ends` in [0, 1].

    Raises:
        UserError: with its name, its value and the range.
    """
    fits = isinstance(value, Real) and not isinstance(value, bool)
    if not fits or not (0 <= value <= 1 if ends else 0 < value < 1):  # type: ignore[operator]
        limits = "between 0 and 1" if ends else "above 0 and below 1"
        raise UserError(f"{name} is {shown(value)}: it must be a share {limits}")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Refuse an argument of a function that is none of its choices.

    Raises:
        UserError: with its name, its value and the choices.
    """
    if value not in (all_of := tuple(choices)):
        raise UserError(f"{name} is {shown(value)}: choose from {', '.join(map(repr, all_of))}")


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
