"""Folders of raw arrays, made once and memory-mapped.

A folder is made under a temporary name and renamed when all of it is on the disk, so it is there
whole or not at all, whatever is killed or loses power. Who makes it holds a lock; others wait.
`meta.json` keeps a checksum of every block that was written.

A folder is checked against them when it is opened, once for each start of the machine: a disk that
lied when it said that all is written shows so after the power is back, and reading costs less than
decoding. That it was checked is noted beside the arrays with the times of the files, so the next
process looks at those alone.

Nothing is ever deleted from the cache but what was left half-made or is damaged; it may be deleted
by hand at any time.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from seamask.base.devices import free_cores
from seamask.base.errors import UserError
from seamask.base.files import (
    OURS,
    TEMPORARY,
    atomic,
    lock_of,
    make_folder,
    sync,
    sync_folder,
)
from seamask.base.locks import Held, IfHeld, give_up, locked
from seamask.base.output import print_prose
from seamask.base.progress import Progress
from seamask.base.threads import in_threads

META = "meta.json"
CHECKED = "checked.json"
STARTS = 64  # of machines that are remembered: a cache may be shared
BLOCK = 2**24  # bytes that have a checksum, at most
PIECE = 2**20  # bytes read at once: larger ones do not stay in the processor's cache

T = TypeVar("T")


class Damaged(Exception):
    """A folder does not hold what was written to it."""


class Writer:
    """Writes the arrays of a folder that is being made.

    Args:
        folder: new and empty.
        label: whose arrays they are.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self.folder, self.label = folder, label
        self._reserved = 0  # bytes
        self._blocks: dict[str, list[tuple[int, int]]] = defaultdict(list)  # bytes, checksum

    def reserve(self, sizes: Mapping[str, int]) -> None:
        """Take all room first, in bytes: a full disk fails at once.

        Raises:
            UserError: there is less.
        """
        self._reserved = sum(sizes.values())
        with self._storing():
            for name, size in sizes.items():
                with open(self.folder / name, "xb") as file:
                    if hasattr(os, "posix_fallocate") and size:
                        os.posix_fallocate(file.fileno(), 0, size)

    @contextmanager
    def appending(self, name: str) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
        """Yield what appends values to an array; at the end it is on the disk.

        Raises:
            UserError: it cannot be written.
        """
        file = open(self.folder / name, "r+b", buffering=0)  # noqa: SIM115 (closed below)

        def append(values: npt.NDArray[Any]) -> None:
            data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
            with self._storing():
                for start in range(0, len(data), BLOCK):
                    block = data[start : start + BLOCK]
                    written = 0
                    while written < len(block):
                        written += file.write(block[written:])
                    self._blocks[name].append((len(block), zlib.crc32(block)))

        with file:
            yield append
            with self._storing():
                file.truncate()  # room that was not needed
                sync(file.fileno())

    def finish(self, about: Mapping[str, Any]) -> None:
        """Write what the arrays mean, and their checksums.

        Raises:
            UserError: that cannot be written.
        """
        with self._storing():
            with open(self.folder / META, "x") as file:
                json.dump({**about, "blocks": self._blocks}, file)
                file.flush()
                sync(file.fileno())
            note_checked(self.folder)
            sync_folder(self.folder)

    def _storing(self) -> AbstractContextManager[None]:
        return storing(self.label, self.folder.parent, self._reserved)


def open_or_make(
    folder: Path,
    read: Callable[[Path, dict[str, Any]], T],
    make: Callable[[Writer], Mapping[str, Any]],
    label: str,
    show: bool,
    if_held: IfHeld | None = None,
) -> T:
    """Open a folder of arrays, making it first where there is none, or none that is whole.

    Any number of processes may do this at once: one makes it, the others wait.

    Args:
        folder: where it is or will be; its parent is the cache.
        read: opens the arrays, given the folder and what `make` returned of them; any
            `ValueError`, `KeyError` or `TypeError` says that they are to be made anew.
        make: writes the arrays and returns what they mean, fit for JSON.
        label: whose they are, for the progress and for errors.
        show: show progress.
        if_held: what to do where another makes it; None: say so and wait.

    Raises:
        UserError: they cannot be written (disk full, no permission); and whatever `make` and
            `if_held` raise.
    """
    found = open_made(folder, read, label, show)
    if found is not None:
        return found
    cache = folder.parent

    def say(holder: str) -> None:
        if show:
            print_prose(f"{label}: waiting for {holder}, which prepares it", sys.stderr)

    with ExitStack() as stack:
        with storing(label, cache):
            make_folder(cache)
            is_ours_alone = stack.enter_context(locked(lock_of(folder), if_held or say))
        found = open_made(folder, read, label, show, tell=show)  # made while we waited?
        if found is not None:
            return found
        if is_ours_alone:
            _remove_leftovers(folder)
        temporary, aside = _beside(folder), _beside(folder)
        try:
            with storing(label, cache):
                temporary.mkdir()
            writer = Writer(temporary, label)
            writer.finish(make(writer))
            with storing(label, cache):
                if os.path.lexists(folder):  # a broken one; who has it open keeps it
                    os.rename(folder, aside)
                os.rename(temporary, folder)
                sync_folder(cache)
        finally:
            for left in (temporary, aside):
                _remove(left)
    return read(folder, json.loads((folder / META).read_text()))


@contextmanager
def storing(label: str, cache: Path, need: int = 0) -> Iterator[None]:
    """Say in one line what could not be stored; `need`: bytes, where that is known."""
    try:
        yield
    except OSError as error:
        size = f"it takes {need / 1e9:.2f} GB: " if need else ""
        raise UserError(
            f"cannot store what is made of {label} in {cache}: {error.strerror or error}; {size}"
            "free some space or choose another place with --data.cache"
        ) from error


def memory_map(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> Tensor:
    """Return a raw file as a read-only tensor; ValueError where it is cut short."""
    array = np.memmap(path, kind, "r")
    with warnings.catch_warnings():  # "not writable": so it is, and nothing here writes
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array.reshape(shape))


def open_made(
    folder: Path,
    read: Callable[[Path, dict[str, Any]], T],
    label: str,
    show: bool,
    tell: bool = False,
) -> T | None:
    """Return what `read` does, or None where there is nothing whole; `tell` what is not."""
    if not folder.exists():
        return None
    try:
        meta = json.loads((folder / META).read_text())
        found = read(folder, meta)
        if not _is_checked(folder):
            _check(folder, meta["blocks"], label, show)
            with suppress(OSError, UserError):  # a cache that others have filled
                note_checked(folder)
    except UserError:  # is a ValueError
        raise
    except OSError as error:
        if not isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            # Too many open files, a file server that is away: no fault of the store.
            raise UserError(
                f"{label}: cannot read {folder}: {error.strerror}; if that stays, remove it"
            ) from error
        why = ""
    except (ValueError, KeyError, TypeError, AttributeError, Damaged) as error:
        why = f" ({error})" if isinstance(error, Damaged) else ""
    else:
        return found
    if tell:
        print_prose(f"{label}: {folder} is not whole{why}: made anew", sys.stderr)
    return None


# Checksums ----------------------------------------------------------------------------------


def _check(folder: Path, blocks: Mapping[str, list[list[int]]], label: str, show: bool) -> None:
    """Compare every block with its checksum.

    Raises:
        Damaged: one differs.
        OSError: the disk cannot be read.
    """
    todo = [(name, *block) for name, part in blocks.items() for block in _placed(part)]

    def is_whole(block: tuple[str, int, int, int]) -> bool:
        name, start, left, checksum = block
        found = 0
        with open(folder / name, "rb", buffering=0) as file:
            file.seek(start)
            while left and (piece := file.read(min(left, PIECE))):
                found = zlib.crc32(piece, found)
                left -= len(piece)
        return not left and found == checksum

    cores = free_cores()
    with (
        Progress(f"checking {label}", len(todo), "blocks", enabled=show) as bar,
        closing(in_threads(is_whole, todo, cores, ahead=cores)) as results,
    ):
        for (name, start, _, _), whole in zip(todo, results, strict=True):
            if not whole:
                raise Damaged(f"{name} was changed or lost at byte {start:,}")
            bar.advance()


def _placed(blocks: list[list[int]]) -> Iterator[tuple[int, int, int]]:
    """Yield (start, bytes, checksum) of blocks that lie one after the other."""
    start = 0
    for size, checksum in blocks:
        yield start, size, checksum
        start += size


def _is_checked(folder: Path) -> bool:
    """Say whether these very files were checked since this machine was started."""
    return _checked(folder).get(_start_of_machine()) == _stamps(folder)


def _checked(folder: Path) -> dict[str, Any]:
    try:
        noted = json.loads((folder / CHECKED).read_text())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def note_checked(folder: Path) -> None:
    """Note that these very files are what was written."""
    starts = [*_checked(folder).items(), (_start_of_machine(), _stamps(folder))]
    with atomic(folder / CHECKED) as temporary:
        temporary.write_text(json.dumps(dict(starts[-STARTS:])))


def _stamps(folder: Path) -> dict[str, list[int]]:
    """Return what changes with every file of a folder."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != CHECKED and not path.name.startswith(OURS):
            info = path.stat()
            found[path.name] = [info.st_dev, info.st_ino, info.st_size]
            found[path.name] += [info.st_mtime_ns, info.st_ctime_ns]
    return found


def _start_of_machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux: a time, which moves by a little when the clock is set
        return str(round(psutil.boot_time(), -2))


# Who makes it -------------------------------------------------------------------------------


def _beside(folder: Path, token: str = "") -> Path:
    """Return a temporary name that cannot be guessed."""
    return folder.with_name(f"{OURS}{folder.name}-{token or secrets.token_hex(8)}{TEMPORARY}")


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-made: of a folder whose lock nobody else holds.

    Args:
        folder: whose lock we hold.
    """
    token = "[0-9a-f]" * 16
    for path in folder.parent.glob(_beside(folder.with_name("*"), token).name):
        whose = folder.with_name(path.name.removeprefix(OURS).rpartition("-")[0])
        if whose == folder:
            _remove(path)
            continue
        with suppress(Held, OSError), locked(lock_of(whose), give_up):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
