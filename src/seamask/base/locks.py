"""Locks on what two commands may write. A lock falls with the process that holds it.

They are `flock`s: the kernel's, not a file's existence, and the same for all containers of a
machine. On a file system that has none, nothing is locked, and a line says so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seamask.base.output import print_prose

_HELD = (errno.EWOULDBLOCK, errno.EACCES)  # some file systems say the latter
# The last: NFS, of a file of someone else that may only be read.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF)

_without: set[Path] = set()  # folders of which this process has said that they have no locks

IfHeld = Callable[[str], object]
"""Called with who holds a lock (`process 17 on host since …`); the lock is waited for, unless this
raises."""


class Held(Exception):
    """Another holds the lock; the message says who."""


def wait(holder: str) -> None:
    """Wait for a lock, without a word."""


def give_up(holder: str) -> None:
    """Raise `Held`."""
    raise Held(holder)


@contextmanager
def locked(path: Path, if_held: IfHeld = wait, shared: bool = False) -> Iterator[bool]:
    """Hold the lock on a file for the length of the block. The file is made for it, and goes.

    Yields whether it is held: False where the file system has no locks.

    Args:
        path: in a folder that is there.
        if_held: what to do where another holds it.
        shared: let other processes of ours `join`.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor, is_held = _acquire(path, if_held, shared)
    try:
        yield is_held
    finally:
        with suppress(OSError):
            # Only while nobody else of ours holds it; who waits sees that, and makes another.
            if not (shared and is_held) or take(descriptor):
                path.unlink()
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Say whether anyone holds the lock on a file; whoever wants it meanwhile gets it all the same.

    False too where the file may not be opened, or the file system has no locks.
    """
    try:
        descriptor = _open(path, 0)
    except OSError:
        return False
    try:
        return not take(descriptor)  # a shared lock would be had beside those who joined
    except OSError:
        return False
    finally:
        os.close(descriptor)


def join(path: Path) -> None:
    """Hold a lock that a process of ours holds, until this process ends, even beyond that one.

    Raises:
        Held: that process is gone, and another has taken the lock.
        OSError: the file cannot be opened.
    """
    descriptor = _open(path)  # never closed
    try:
        if not _take_soon(descriptor, fcntl.LOCK_SH):
            raise Held(_holder(descriptor))
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def take(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file if nobody else holds it; return whether it is ours now.

    Raises:
        OSError: it cannot be locked.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


def _take_soon(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Do what `take` does, but let those who only look (`is_held`) let go first."""
    for _ in range(5):
        if take(descriptor, kind):
            return True
        time.sleep(0.01)
    return take(descriptor, kind)


def _acquire(path: Path, if_held: IfHeld, shared: bool) -> tuple[int, bool]:
    """Return the open file, and whether it is locked."""
    while True:
        descriptor = _open(path)
        try:
            if not _take_soon(descriptor):
                if_held(_holder(descriptor))
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Who held it may have removed the file since we opened it: then there is another.
            if _is(path, descriptor) and (not shared or take(descriptor, fcntl.LOCK_SH)):
                _sign(descriptor)
                return descriptor, True
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in _NO_LOCKS:
                _say_that_there_are_none(path.parent)
                return descriptor, False
            os.close(descriptor)
            raise
        os.close(descriptor)


def _say_that_there_are_none(folder: Path) -> None:
    if folder not in _without:
        _without.add(folder)
        print_prose(
            f"warning: {folder} is on a file system without locks: see to it yourself that no "
            "other command writes there at the same time",
            sys.stderr,
        )


def _open(path: Path, create: int = os.O_CREAT) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_RDWR | create, 0o666)
    except PermissionError:
        with suppress(OSError):  # another user's
            return os.open(path, flags | os.O_RDONLY)
        raise


def _is(path: Path, descriptor: int) -> bool:
    """Say whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    text = f"process {os.getpid()} on {socket.gethostname()} since {since}\n"
    with suppress(OSError):  # a full disk: it is locked all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder(descriptor: int) -> str:
    lines = os.pread(descriptor, 200, 0).decode("utf-8", "replace").splitlines()
    return lines[0] if lines and lines[0].isprintable() else "another process"
