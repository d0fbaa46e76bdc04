"""The one place where a text that a user wrote becomes a path, or part of a file's name."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from seamask.base.errors import UserError, printable

PathLike = str | os.PathLike[str]


def local(text: PathLike, name: str = "") -> Path:
    """Return the path that a text names, `~` expanded. What it names need not exist.

    Args:
        text: as it was written.
        name: of the setting it was given to, for errors: `--out`.

    Raises:
        UserError: no file can be there, or be seen: an unknown home, a name that is too long, a
            folder that may not be entered, a current folder that is gone.
    """
    said = f"{name} {printable(text)}".strip()
    if not os.fspath(text):
        raise UserError(f"{name or 'a path'} is empty: name a file or a folder")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        home = Path(text).parts[0]
        raise UserError(
            f"{said}: there is no home folder {home}; write the path in full"
        ) from error
    try:
        if not path.is_absolute():
            os.getcwd()
    except OSError as error:
        raise UserError(f"{said}: the current folder is gone; change to one that exists") from error
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UserError(f"{said}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in it, or half a character
        raise UserError(f"{said}: not the name of a file") from error
    return path


def absolute(text: PathLike, name: str = "") -> Path:
    """Return `local` as an absolute path without links.

    Raises:
        UserError: see `local`.
    """
    path = local(text, name)
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # links that go in a circle
        raise UserError(f"{name} {printable(text)}: {error}".strip()) from error


def check_writable(path: Path, name: str = "", file: bool = False) -> None:
    """Refuse a place where no file can be made, before time is spent on what belongs there.

    Args:
        path: of a folder, or of a file, which need not exist, nor its parents.
        name: of the setting that names it.
        file: it is to be a file.

    Raises:
        UserError: it is a folder where a file is wanted, or the other way round; or what is there
            of its path is no folder, or may not be written to.
    """
    said = f"{name} {printable(path)}".strip()
    if file and path.is_dir():
        raise UserError(f"{said}: is a folder; name a file")
    nearest = next((p for p in (path, *path.parents) if p.exists()), Path())
    if not nearest.is_dir() and (nearest != path or not file):
        raise UserError(f"{said}: {printable(nearest)} is a file, not a folder")
    if not os.access(nearest, os.W_OK | (os.X_OK if nearest.is_dir() else 0)):
        raise UserError(
            f"cannot write {said}: no permission in {printable(nearest)}; choose another place"
        )


def slug(name: str) -> str:
    """Return a name in lower-case letters, digits and hyphens: `+ ADIOS` → `adios`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def names_apart(paths: Sequence[PathLike], most: int | None = None) -> list[str]:
    """Return a name of each path: its last part, or one above by which all differ.

    Args:
        paths: of files or folders.
        most: characters of a name that are shown, by which it must differ; None: all.

    Returns:
        Of a study's `ours/seed0` and `theirs/seed0`, `ours` and `theirs`. Where no part tells all
        apart the last ones, numbered where they are the same.
    """
    parts = [local(path).resolve().parts[::-1] for path in paths]
    for names in zip(*parts, strict=False):
        if len({name[:most] for name in names}) == len(paths):
            return list(names)
    return numbered([path[0][: most and most - len(f" ({len(paths)})")] for path in parts])


def numbered(names: Sequence[str]) -> list[str]:
    """Return the names, those numbered that are there more than once: `a (1)`, `a (2)`."""
    found: list[str] = []
    for name in names:
        free = (f"{name} ({k})" for k in itertools.count(1))
        taken = {*found, *names}
        found.append(next(n for n in free if n not in taken) if names.count(name) > 1 else name)
    return found
