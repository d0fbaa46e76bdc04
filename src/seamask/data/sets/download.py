"""Data sets that torchvision downloads and checks: one clear line where that is impossible."""

from __future__ import annotations

import re
import sys
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError

from seamask.base.errors import UserError, printable
from seamask.base.files import lock_of, make_folder
from seamask.base.locks import locked
from seamask.base.output import print_prose

T = TypeVar("T")


@dataclass(frozen=True)
class Archive:
    """A file that its authors publish.

    Attributes:
        filename: as torchvision expects it in the root.
    """

    filename: str
    url: str


def read_or_download(name: str, root: Path, archive: Archive, read: Callable[[bool], T]) -> T:
    """Read a data set, downloading it first where it is not there, or not whole.

    Args:
        name: the data set.
        root: the folder that holds it.
        archive: what is downloaded to `root`.
        read: reads it; given True, it lets torchvision download and unpack before, which checks
            the archive's checksum and takes one that is there already.

    Raises:
        UserError: neither is possible; the message says which file to place where.
    """
    try:
        return read(False)
    except (RuntimeError, OSError, UserError) as error:  # not there, or not whole
        found = _reason(error)
    path = root / archive.filename
    there = path.exists()
    try:
        make_folder(root)
        with locked(lock_of(path), partial(_say, name)):
            if path.exists() and not there:  # someone else has downloaded it while we waited
                with suppress(RuntimeError, OSError, UserError):
                    return read(False)
            there = path.exists()
            return read(True)
    except (RuntimeError, OSError, EOFError, HTTPException, tarfile.TarError, UserError) as error:
        # torchvision downloads what is there already only if its checksum is wrong
        if there and isinstance(error, (RuntimeError, URLError, HTTPException)):
            found = f"the checksum of {archive.filename} is wrong"
        raise UserError(
            f"--data {name}: no whole copy in {printable(root)} ({found}) and no download "
            f"({_reason(error)}); put {archive.url} there as {archive.filename}, or name another "
            "folder that holds it with --data.root"
        ) from error


def _say(name: str, holder: str) -> None:
    print_prose(f"{name}: waiting for {holder}, which downloads it", sys.stderr)


def _reason(error: Exception) -> str:
    """Return the first line of an error without its advice, which is torchvision's or ours."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.split(r"\.? You can use|; ", line)[0]
