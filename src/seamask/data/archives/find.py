"""What is meant by `--data X`: a folder, an archive, several, or a list of files."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from seamask.base.errors import UserError, printable
from seamask.base.paths import local
from seamask.data.archives.lists import read_list
from seamask.data.archives.members import Archive, as_folder
from seamask.data.archives.tables import Table
from seamask.data.archives.tars import Tar
from seamask.data.archives.zips import Zip
from seamask.data.files.listing import Files, is_hidden
from seamask.data.registry import SOURCES
from seamask.data.sets.folder import list_folder
from seamask.data.sets.names import split_in

TARS = (
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst",
    ".tar.lz4",
)  # fmt: skip
OTHERS = (".rar", ".7z", ".tar.z", ".tar.lz", ".tar.lzma", ".tar.br", ".cab", ".iso", ".dmg")
TABLES = (".parquet", ".arrow")
LISTS = (".txt", ".lst", ".csv", ".tsv")
KNOWN = ".zip, .tar, .tar.gz, .parquet, .csv, .txt"
MOST = 1_000_000  # files that braces may stand for
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
OWN = re.compile(r"cache-.*|.*indices.*")  # what the library `datasets` keeps beside its data


def find_files(source: str, cache: Path) -> Files:
    """Return the images that `--data` names.

    Args:
        source: a folder of images, or of tars, zips, parquet or Arrow files where it holds no
            image; one of these; several as `shards-{000..099}.tar` or `{a,b}.zip`; or a list.
        cache: see `as_folder`.

    Raises:
        UserError: there is no such thing, it is of an unknown kind or cannot be read.
    """
    root = existing(source)
    if root.is_dir():
        files = list_folder(root)
        paths = [] if files.names else _archives_in(root)
        if not paths:
            return files
    elif root.exists():
        if root.name.lower().endswith(LISTS):
            return read_list(root)
        paths = [root]
    else:
        paths = [Path(os.path.abspath(path)) for path in _expanded(source)]
    above = root if root.is_dir() else Path(os.path.commonpath([p.parent for p in paths]))
    splits = [_split(path, above) for path in paths]
    return as_folder(root, [_archive(path, cache) for path in paths], splits, cache)


def existing(source: str) -> Path:
    """Return the absolute path of what `--data` names, with its braces, if it has any.

    Raises:
        UserError: there is none, with the named data set that may have been meant, or one of those
            that braces stand for is missing; or it is a file of no known kind.
    """
    path = local(source, "--data")
    if not path.exists() and BRACES.search(source):
        missing = [name for name in _expanded(source) if not os.path.exists(name)]
        if missing:
            raise UserError(
                f"--data {printable(source)}: {printable(missing[0])} is missing, and "
                f"{len(missing) - 1:,} more; bring them, or name those that are there"
            )
    elif not path.exists():
        names = sorted(SOURCES)
        near = difflib.get_close_matches(path.name.lower(), names, n=1, cutoff=0.6)
        hint = (
            f"did you mean {near[0]!r}?"
            if near
            else f"give a folder or an archive of images, or one of {', '.join(names)}"
        )
        raise UserError(f"--data {printable(source)}: no such folder or file; {hint}")
    if path.is_file() and path.name.lower().endswith(OTHERS):
        raise UserError(
            f"--data {printable(source)}: archives of this kind are not read; unpack it and give "
            "the folder, or pack the images anew as .zip or .tar"
        )
    if not path.is_dir() and not path.name.lower().endswith((".zip", *TARS, *TABLES, *LISTS)):
        raise UserError(
            f"--data {printable(source)}: this is a file of no kind that holds images; give a "
            f"folder of images, or one of {KNOWN}"
        )
    return Path(os.path.abspath(path))


def source_name(root: Path) -> str:
    """Return the name of what `existing` found in letters, digits, - and _, as a data set's is."""
    name = root.name
    if not root.is_dir():
        name = BRACES.sub("", name).partition(".")[0].strip("-_")
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in printable(name))[:40]
    return name or "images"


def _expanded(source: str) -> Iterator[str]:
    """Yield the names that braces stand for, in order; digits stay as many as the first has."""
    text = os.fspath(local(source, "--data"))
    match = BRACES.search(text)
    if match is None:
        yield text
        return
    first, last, words = match.groups()
    if words is not None:
        choices: Iterator[str] = iter(words.split(","))
    else:
        choices = (f"{i:0{len(first)}d}" for i in range(int(first), int(last) + 1))
        if not 0 <= int(last) - int(first) < MOST:
            raise UserError(
                f"--data {printable(source)}: {match[0]} stands for no or too many files; write "
                "the smaller number first"
            )
    for choice in choices:
        yield from _expanded(f"{text[: match.start()]}{choice}{text[match.end() :]}")


def _archives_in(folder: Path) -> list[Path]:
    """Return the archives below a folder; not those that hide or that `datasets` keeps."""
    found = []
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder).parts
        if any(map(is_hidden, below)) or not path.is_file():
            continue
        if path.suffix == ".arrow" and OWN.fullmatch(path.name):
            continue
        if path.name.lower().endswith((".zip", *TARS, *TABLES)):
            found.append(path)
    return found


def _archive(path: Path, cache: Path) -> Archive:
    name = path.name.lower()
    if name.endswith(".zip"):
        return Zip(path)
    return Table(path) if name.endswith(TABLES) else Tar(path, cache)


def _split(path: Path, above: Path) -> str:
    """Return the split that the name of an archive or of a folder it lies in says, or nothing."""
    return next(filter(None, map(split_in, reversed(path.relative_to(above).parts))), "")
