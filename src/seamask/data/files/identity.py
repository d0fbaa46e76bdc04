"""What files are: names, sizes and samples of their bytes. Where they lie does not matter."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from seamask.base.errors import UserError
from seamask.base.files import atomic
from seamask.base.threads import in_threads

BLOCK = 16384  # bytes that are looked at together; of most files three of these


class Entry(NamedTuple):
    """A file as a folder lists it.

    Attributes:
        name: that is part of what it is, say its path below a root.
        path: where it lies now.
        size: in bytes; −1: it is not there.
        changed: when, in ns.
        samples: how many blocks of it are looked at, where that is less than all of it.
    """

    name: bytes
    path: str
    size: int
    changed: int
    samples: int = 3

    @classmethod
    def of(cls, name: str, path: Path, samples: int = 3) -> Entry:
        """Look at a file; a broken link is one that is not there."""
        try:
            info = path.stat()
        except OSError:
            return cls(os.fsencode(name), str(path), -1, 0)
        return cls(os.fsencode(name), str(path), info.st_size, info.st_mtime_ns, samples)


def identity(listing: Iterable[Entry | bytes], cache: Path) -> str:
    """Return sha256 hex of files by name, size and a sample of their bytes, in this order.

    The same files, copied or moved, are the same, whatever their times say. But while places, sizes
    and times are what they were, files are not opened again: what they were is noted in `cache`.

    Args:
        listing: files, and between them bytes that count as they are.
        cache: folder for the note; where it cannot be written, files are opened every time.
    """
    listing = list(listing)
    seen = hashlib.sha256()
    for part in listing:
        seen.update(part if isinstance(part, bytes) else repr(part).encode())
        seen.update(b"\0")
    note = cache / ".identities" / seen.hexdigest()[:32]
    with suppress(OSError, ValueError):
        known = note.read_text()
        if len(bytes.fromhex(known)) == seen.digest_size:
            return known
    found = hashlib.sha256()
    unread = False
    for part, sample in zip(listing, in_threads(_sample, listing), strict=True):
        if isinstance(part, bytes):
            found.update(part)
        else:
            found.update(b"%s\0%d\0" % (part.name, part.size))
            found.update(sample or b"")
            unread |= sample is None
        found.update(b"\0")
    if not unread:  # else they may be readable next time, and look the same
        with suppress(UserError), atomic(note) as temporary:
            temporary.write_text(found.hexdigest())
    return found.hexdigest()


def _sample(part: Entry | bytes) -> bytes | None:
    """Return a digest of some bytes of a file; None where it cannot be read."""
    if isinstance(part, bytes):
        return None
    try:
        with open(part.path, "rb") as file:
            if part.size <= part.samples * BLOCK:
                some = file.read()
            else:
                some = b""
                for i in range(part.samples):
                    file.seek(min(part.size * i // (part.samples - 1), part.size - BLOCK))
                    some += file.read(BLOCK)
    except OSError:
        return None
    return hashlib.blake2b(some, digest_size=16).digest()
