"""YAML and JSON from outside, as plain values: what is wrong is said with the file and the line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from seamask.base.errors import UserError, shown

LARGEST = 1 << 26  # bytes of a file that is read whole
MOST = 100_000  # values that a YAML file stands for, those behind an alias counted each time
DEEPEST = 50  # lists and mappings inside each other


def read_yaml(path: Path, what: str) -> Any:
    """Return what a YAML file says, as plain values.

    Numbers are decimal and dates are text: `1_0`, `1:30`, `010` and `2024-01-02` stay as they are
    written, for the setting to refuse, or to take as the name of a folder.

    Args:
        path: of the file.
        what: it is, for errors: "the settings in".

    Raises:
        UserError: it cannot be read, with the line.
    """
    return parse_yaml(_text(path, what), f"{what} {path}")


def parse_yaml(text: str, what: str) -> Any:
    """Return what YAML says; see `read_yaml`.

    Raises:
        UserError: it is not YAML, holds an impossible value, or stands for too much.
    """
    try:
        _check_size(text)
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"cannot read {what}: {line}{error.problem or error.context}") from error
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as "\\UFFFFFFFF"
        raise UserError(f"cannot read {what}: {' '.join(str(error).split())}") from error


def read_json(path: Path, what: str = "") -> Any:
    """Return what a JSON file says.

    Args:
        path: of the file.
        what: it is, for errors.

    Raises:
        UserError: it cannot be read.
    """
    return parse_json(_text(path, what), f"{what} {path}".strip())


def parse_json(text: str, what: str) -> Any:
    """Return what JSON says.

    Raises:
        UserError: it is not JSON, or an impossible value.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"cannot read {what}: damaged: {_reason(error)}") from error
    except RecursionError as error:
        raise UserError(f"cannot read {what}: damaged: nested too deeply") from error


def _text(path: Path, what: str) -> str:
    what = f"{what} {path}".strip()
    try:
        with path.open("rb") as file:
            found = file.read(LARGEST + 1)
        if len(found) > LARGEST:
            raise UserError(f"cannot read {what}: larger than {LARGEST >> 20} MiB")
        return found.decode()
    except OSError as error:
        raise UserError(f"cannot read {what}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"cannot read {what}: line {line}: not UTF-8 text") from error


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}: {error.msg}"
    return str(error).partition(";")[0]  # a number of too many digits


class _Loader(yaml.SafeLoader):
    """YAML without what only seems to be a number or a date; errors know their line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # of a value that is none PyYAML raises nearly anything
            raise _at(node.start_mark, f"no value: {str(error).partition(';')[0]}") from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen and key.value != "<<":
                raise _at(key.start_mark, f"{shown(key.value)} is there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _at(mark: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


_LOOSE = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in _LOOSE]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in (
    ("int", r"[-+]?(?:0|[1-9][0-9]*)"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list("-+0123456789.")
    )


def _check_size(text: str) -> None:
    """Refuse YAML that is nested deeply, or that stands for a lot more than is written.

    Only events are looked at: nothing is built yet, and nothing calls itself.
    """
    sizes: list[int] = [0]  # of what is open, the innermost last
    anchors: list[str | None] = []
    known: dict[str, int] = {}
    for event in yaml.parse(text, yaml.SafeLoader):
        size = 0
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append(1)
            anchors.append(event.anchor)
            if len(sizes) > DEEPEST:
                raise _at(event.start_mark, "nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = sizes.pop(), anchors.pop()
            if anchor:
                known[anchor] = size
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            _check_text(event)
            if event.anchor:
                known[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in anchors:
                raise _at(event.start_mark, f"*{event.anchor} stands for itself")
            size = known.get(event.anchor or "", 1)
        sizes[-1] += size
        if sum(sizes) > MOST:
            raise _at(event.start_mark, f"it stands for more than {MOST:,} values")


def _check_text(event: yaml.ScalarEvent) -> None:
    try:
        os.fsencode(event.value)  # which bytes of a file's name, however odd, come through
    except UnicodeEncodeError:
        raise _at(event.start_mark, "a text that is half a character") from None
