"""Settings from the command line: parsed by tyro, what is wrong said in one line."""

from __future__ import annotations

import contextlib
import io
import re
import typing
from typing import Any, Literal, TypeVar

import tyro
import yaml

from seamask.base.errors import UserError, unknown
from seamask.base.settings import flag, leaves, required, short_names

T = TypeVar("T")


def parse(start: T, arguments: list[str], prog: str, description: str) -> T | None:
    """Return settings changed by `--NAME VALUE` arguments, or None after printing the help.

    Args:
        start: a dataclass of settings; its values are the defaults.
        arguments: of the command line.
        prog: the command, for the help and for errors.
        description: of the command, for the help.

    Raises:
        UserError: an unknown name or a value that does not fit, in one line.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return tyro.cli(
                type(start), args=arguments, default=start, prog=prog, description=description
            )
    except SystemExit as stop:
        if not stop.code:
            print(said.getvalue(), end="")
            return None
        see = f"see `{prog.partition(' [')[0]} --help`"
        raise _usage_error(said.getvalue(), arguments, type(start), see) from None


def free_settings(arguments: list[str]) -> dict[str, Any]:
    """Return `--NAME VALUE ...` arguments as {name: value}, typed as in YAML.

    Raises:
        UserError: a value without a name.
    """
    found: dict[str, Any] = {}
    name = None
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            name = name.replace("-", "_")
            found[name] = [_typed(value)] if equals else []
        elif name is None:
            raise UserError(f"unexpected {argument!r}: settings are given as --NAME VALUE")
        else:
            found[name].append(_typed(argument))
    # A name alone switches something on; several values make a list.
    return {n: v[0] if len(v) == 1 else v or True for n, v in found.items()}


def _typed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _usage_error(said: str, arguments: list[str], kind: type, see: str) -> UserError:
    """Say in one line what `arguments` got wrong; tyro's own words, `said`, are the last resort."""
    hints = {path: hint for path, hint in leaves(kind) if path != "recipe"}  # not an option
    paths = {path: path for path in hints} | short_names(kind)
    paths = {f"--{name}".replace("_", "-"): path for name, path in paths.items()}
    paths |= {
        re.sub(r"[^.-][^.]*$", r"no-\g<0>", o): p for o, p in paths.items() if hints[p] is bool
    }
    given: list[tuple[str, list[str]]] = []  # each option and the values after it
    for argument in arguments:
        if argument.startswith("--"):
            option, equals, value = argument.partition("=")
            option = option.replace("_", "-")
            if option not in paths:
                return unknown("setting", option, {flag(path, kind) for path in hints} | set(paths))
            given.append((option, [value] if equals else []))
        elif given:
            given[-1][1].append(argument)
        else:
            return UserError(f"unexpected {argument!r}: settings are given as --NAME VALUE; {see}")
    for option, values in given:
        expected, choices = _expected(hints[paths[option]], values)
        if not expected:
            continue
        if choices and len(values) == 1:
            return unknown(f"value for {option}:", values[0], choices)
        found = f"is {' '.join(values)!r}" if values else "has no value"
        return UserError(f"{option} {found}: expected {expected}; {see}")
    text = " ".join(re.sub(r"[^\w\s.,:;'\"()\[\]/-]|-{3,}", " ", said).split())
    return UserError(f"{text.split(' For full helptext')[0]}; {see}")


def _expected(hint: Any, values: list[str]) -> tuple[str, tuple[str, ...]]:
    """Return what a setting expects, and its choices; nothing if `values` are just that."""
    hint, optional = required(hint)
    if optional and values == ["None"]:
        return "", ()
    inner = typing.get_args(hint)
    if hint is bool:
        return ("no value" if values else ""), ()
    if typing.get_origin(hint) is Literal:
        fits = len(values) == 1 and values[0] in inner
        return ("" if fits else f"one of {', '.join(inner)}"), inner
    kinds, expected = [hint], hint.__name__.upper()
    if typing.get_origin(hint) is tuple:
        kinds = [inner[0]] * len(values) if inner[-1] is Ellipsis else list(inner)
        if typing.get_origin(inner[0]) is Literal:
            choices = typing.get_args(inner[0])
            wrong = [value for value in values if value not in choices]
            return (f"some of {', '.join(choices)}" if wrong or not values else ""), ()
        expected = " ".join("..." if k is Ellipsis else k.__name__.upper() for k in inner)
    try:
        fits = len([kind(value) for kind, value in zip(kinds, values, strict=True)]) == len(kinds)
    except ValueError:  # a value of another type, or too many or too few of them
        fits = False
    return ("" if fits else expected), ()
