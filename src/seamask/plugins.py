"""Files of a user's own that add parts: penalties, maskers, objectives, data sets, evaluations.

They are loaded only when the command line names them, never because a run's settings do: a run
from elsewhere must run no code.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from seamask.base.errors import UserError
from seamask.base.options import take
from seamask.base.paths import absolute

_loaded: list[Path] = []


def load_plugin(file: str | Path) -> None:
    """Run a Python file, once.

    It adds to `seamask.masks.PENALTIES` or `MASKERS`, `seamask.objectives.OBJECTIVES`,
    `seamask.data.SOURCES` or `seamask.evaluate.TASKS`.

    Raises:
        UserError: there is no such file, or it raises an error.
    """
    path = absolute(file, "--plugin")
    if path in _loaded:
        return
    if not path.is_file():
        raise UserError(f"--plugin {file}: no such file")
    name = f"seamask_plugin_{len(_loaded)}_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise UserError(f"--plugin {file}: not a Python file (.py)")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # where the types of its settings are looked up
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's code raises
        del sys.modules[name]
        raise UserError(f"--plugin {file}: {type(error).__name__}: {error}") from error
    _loaded.append(path)


def loaded_plugins() -> tuple[Path, ...]:
    """Return the files loaded so far, in order."""
    return tuple(_loaded)


def is_ours(part: object) -> bool:
    """Say whether a class or a function is of this package, not of a plugin or a user's program."""
    return str(getattr(part, "__module__", "")).startswith("seamask.")


def command(*words: str | Path) -> str:
    """Return a command of seamask to paste into a shell, with the plugins of this process.

    Args:
        words: after `seamask`; a path may have any name.
    """
    safe = [f"./{w}" if isinstance(w, Path) and str(w).startswith("-") else str(w) for w in words]
    return shlex.join(["seamask", *safe, *flags(_loaded)])


def flags(files: Iterable[str | Path]) -> list[str]:
    """Return the words that name plugins on the command line."""
    return [word for file in files for word in ("--plugin", str(file))]


def take_plugins(arguments: list[str]) -> list[str]:
    """Load what `--plugin FILE` names; return the arguments without it.

    Raises:
        UserError: see `load_plugin`; or the name is missing.
    """
    files, rest = take("--plugin", arguments)
    for file in files:
        load_plugin(file)
    return rest
