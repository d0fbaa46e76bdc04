"""Files of a user's own that add to what there is: penalties, maskers, objectives,
evaluations.

They are loaded only when the command line names them, never because a run's settings do: a run
from elsewhere must run no code.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from seamask.base.errors import UserError

_loaded: list[Path] = []


def load_plugin(file: str | Path) -> None:
    """Run a Python file, once.

    It adds to `seamask.masks.PENALTIES`, `MASKERS`, `OBJECTIVES` or `seamask.evaluate.TASKS`.

    Raises:
        UserError: there is no such file, or it raises an error.
    """
    path = Path(file).expanduser().resolve()
    if path in _loaded:
        return
    if not path.is_file():
        raise UserError(f"--plugin {file}: no such file")
    specification = importlib.util.spec_from_file_location(f"seamask_plugin_{path.stem}", path)
    if specification is None or specification.loader is None:
        raise UserError(f"--plugin {file}: not a Python file (.py)")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # where its dataclasses are looked for
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever a user's code raises
        del sys.modules[specification.name]
        raise UserError(f"--plugin {file}: {type(error).__name__}: {error}") from error
    _loaded.append(path)


def loaded_plugins() -> tuple[Path, ...]:
    """Return the files loaded so far, in order."""
    return tuple(_loaded)


def take_plugins(arguments: list[str]) -> list[str]:
    """Load what `--plugin FILE` names; return the arguments without it.

    Raises:
        UserError: see `load_plugin`; or the name is missing.
    """
    rest = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name != "--plugin":
            rest.append(word)
            continue
        file = value if equals else next(words, "")
        if not file:
            raise UserError("--plugin needs the name of a Python file")
        load_plugin(file)
    return rest
