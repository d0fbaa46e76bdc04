"""Files appear whole or not at all, and stay when the power fails.

What is written has a temporary name until it is whole: one that cannot be guessed, made by us alone
and locked. So what killed processes have left is known by a lock that nobody holds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seamask.base.errors import UserError
from seamask.base.locks import take

OURS = ".seamask-"  # so begin names of locks and of what is not whole yet: no user's file
TEMPORARY = ".tmp"

_looked_through: set[Path] = set()  # folders, by this process


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; it is renamed to `path` on success.

    The file is there already, empty, with the mode that the umask gives: open it, do not replace
    it. When the block ends it is on the disk under its name, before the old file goes. On any
    failure it is removed and what was at `path` stays as it was. What killed processes have left
    in the folder is removed first.

    Raises:
        UserError: the file cannot be written (full disk, no permission, ...).
    """
    path = Path(path)
    try:
        make_folder(path.parent)
        with _temporary(path.parent) as (temporary, descriptor):
            yield temporary
            assert os.path.samestat(os.stat(temporary), os.fstat(descriptor))
            sync(descriptor)
            os.replace(temporary, path)
            sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield a new file and its descriptor, which is locked; the file is removed if still there."""
    if folder not in _looked_through:
        _looked_through.add(folder)
        remove_leftovers(folder)
    while True:
        path = folder / f"{OURS}{secrets.token_hex(8)}{TEMPORARY}"
        # Anew and nothing else: a link that someone put there is not followed.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with suppress(OSError):  # there are no locks here: it may be left, but is not removed
                if not take(descriptor) or not os.fstat(descriptor).st_nlink:
                    continue  # someone who looks for leftovers was faster
            try:
                yield path, descriptor
            finally:
                with suppress(OSError):  # the first error is the one to tell
                    path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def lock_of(path: Path) -> Path:
    """Return the file whose lock (`base/locks.py`) is that of a path: beside it, no user's."""
    return path.with_name(f"{OURS}{path.name}.lock")


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left in a folder: temporary files that nobody locks."""
    for path in folder.glob(f"{OURS}*{TEMPORARY}"):
        with suppress(OSError):  # a folder, a link, another user's, or it went in the meantime
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if take(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those it lies in, to stay when the power fails.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
    if not missing and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def sync_file(path: Path) -> None:
    """Have what a library has written to a file written to the disk.

    Raises:
        OSError: it could not be.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Have an open file written to the disk; a Mac's `fsync` leaves it in the disk's own memory.

    Raises:
        OSError: it could not be.
    """
    whole = getattr(fcntl, "F_FULLFSYNC", None)
    if whole is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, whole)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk.

    Raises:
        OSError: it could not be.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # it may be written, but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems have no need of it.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def is_empty(folder: Path) -> bool:
    """Say whether a folder holds nothing but locks and leftovers.

    Raises:
        OSError: it cannot be read.
    """
    return all(path.name.startswith(OURS) for path in folder.iterdir())


def cannot_write(path: Path, error: OSError) -> UserError:
    """Build the one-line error for a file that could not be written."""
    reason = error.strerror or str(error)
    return UserError(
        f"cannot write {path}: {reason}; free some space or choose another place; "
        "files already complete are kept"
    )
