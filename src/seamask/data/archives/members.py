"""What an archive holds, and several archives as one folder.

A member's name is only a name: nothing is ever written under it, and no link is followed.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from seamask.base.errors import UserError, printable
from seamask.base.files import atomic, lock_of, make_folder
from seamask.base.locks import locked
from seamask.base.progress import amount
from seamask.base.threads import Allowance
from seamask.data.files.decode import EXTENSIONS, BadImage, reasons
from seamask.data.files.identity import Entry
from seamask.data.files.listing import Files, is_hidden

VERSION = 2  # of listings that are kept; 1: of a tar with a label of no image in it
LARGEST = 2**29  # bytes of a member: few images have so many, and a small archive can claim any
SAMPLED = 2**20  # bytes of an archive of which one block is looked at, to know it again
NAMED = 3  # members that a line names at most
_together = Allowance(2 * LARGEST)  # bytes of members that are in memory at once


class Member(NamedTuple):
    """An image in an archive.

    Attributes:
        name: its path there.
        place: where its bytes lie, in numbers that its archive understands.
        size: in bytes; −1 where that is not known yet.
        label: the name or the number of its class, empty if it has none; None where the archive
            does not say, so that its path may.
    """

    name: str
    place: tuple[int, ...]
    size: int
    label: str | None = None


@dataclass
class Listing:
    """What an archive holds.

    Attributes:
        members: images, in the order of their bytes.
        others: {type: how many} of files that are no images.
        outside: paths of members that lead out of the archive.
        odd: links, devices and the like.
        damage: what is wrong with the archive from some place on; empty: nothing.
    """

    members: list[Member] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    outside: list[str] = field(default_factory=list)
    odd: int = 0
    damage: str = ""

    def inside(self, path: str) -> str | None:
        """Return the path of a regular file in the archive if it is an image's that is taken."""
        name = posixpath.normpath(path.replace("\\", "/"))
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name):
            self.outside.append(path)
        elif not any(map(is_hidden, parts)):
            suffix = posixpath.splitext(name)[1].lower()
            if suffix in EXTENSIONS:
                return name
            self.others[suffix or "no extension"] += 1
        return None

    def notes(self, archive: str) -> list[str]:
        """Return what is left out, a line each; `archive`: what it is called."""
        found = []
        if self.outside:
            some = ", ".join(map(printable, self.outside[:NAMED]))
            found.append(
                f"left out of {archive}: {amount(len(self.outside), 'member')} whose path leads "
                f"out of it ({some}{', …' * (len(self.outside) > NAMED)})"
            )
        if self.odd:
            what = amount(self.odd, "member")
            found.append(f"left out of {archive}: {what} that are links, devices or the like")
        if self.damage:
            found.append(f"{archive} is damaged: {self.damage}; what follows is left out")
        return found


class Archive(Protocol):
    """A file that holds images."""

    path: Path

    def listing(self) -> Listing:
        """List it.

        Raises:
            UserError: it is no such archive.
        """

    def read(self, member: Member) -> bytes:
        """Return the bytes of an image, from any thread.

        Raises:
            BadImage, or whatever its library raises: it is damaged.
        """


def as_folder(root: Path, archives: Sequence[Archive], splits: Sequence[str], cache: Path) -> Files:
    """Return the images of archives as one folder lists them: `[split/][class/]name`.

    They come in the order of the archives and of the bytes in each. Of members of one name in one
    archive the last counts; in several, all do: the others' have their archive's name before their
    own, and where that is one, its number.

    Args:
        root: what the user named.
        archives: one or more.
        splits: `train`, `val` or `test` of each, or empty.
        cache: folder for listings, so that an archive is gone through once.

    Raises:
        UserError: one cannot be read.
    """
    listings = [_listing(archive, cache) for archive in archives]
    pad = _padding(member.label for listing in listings for member in listing.members)
    found: dict[str, tuple[int, Member]] = {}
    for number, (archive, split, listing) in enumerate(
        zip(archives, splits, listings, strict=True)
    ):
        for member in listing.members:
            name = member.name
            if member.label is not None:  # in that folder, or in none
                label = member.label.zfill(pad).replace("/", "|") if member.label else ""
                name = f"{label}/{name}" if label else name.replace("/", ":")
            name = posixpath.join(split, name)
            folder, base = posixpath.split(name)
            for prefix in (f"{archive.path.stem}:", f"{archive.path.stem} ({number}):"):
                if found.get(name, (number,))[0] != number:
                    name = posixpath.join(folder, f"{prefix}{base}")
            found[name] = (number, member)

    def opens(name: str) -> IO[bytes]:
        number, member = found[name]
        if member.size > LARGEST:
            raise BadImage(
                f"it has {member.size / 1e9:,.1f} GB by what the archive says, which no image has"
            )
        with reasons(), _together.take(max(member.size, 0)):
            return BytesIO(archives[number].read(member))

    def entry(name: str) -> bytes:
        member = found[name][1]
        return b"%s\0%d\0%s" % (os.fsencode(name), member.size, repr(member.place).encode())

    said = [
        line
        for archive, listing in zip(archives, listings, strict=True)
        for line in listing.notes(printable(archive.path.name))
    ]
    others: Counter[str] = sum((listing.others for listing in listings), Counter())
    held_by = tuple(
        Entry.of("", archive.path, max(3, archive.path.stat().st_size // SAMPLED))
        for archive in archives
    )
    return Files(root, list(found), opens, entry, held_by, others, tuple(said))


def cannot_read(path: Path, reason: object) -> UserError:
    """Build the error of an archive that cannot be read at all."""
    lines = str(reason).splitlines() or [type(reason).__name__]
    return UserError(f"cannot read {printable(path)}: {lines[0]}; replace it, or leave it out")


def pyarrow_for(path: Path) -> Any:
    """Return the module `pyarrow`, which reads a file of this kind.

    Raises:
        UserError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise UserError(
            f"{printable(path)} is read by pyarrow, which is not installed: "
            "pip install 'seamask[parquet]'"
        ) from error
    return pyarrow


def _padding(labels: Iterable[str | None]) -> int:
    """Return the digits of the largest class, so that names sort as numbers; 0: they are names."""
    known = set(filter(None, labels))
    return max(map(len, known)) if known and all(label.isdecimal() for label in known) else 0


def _listing(archive: Archive, cache: Path) -> Listing:
    """List an archive, or read what was noted of it while its place, size and time are the same.

    Of several processes one lists it, and the others wait for its note.
    """
    info = archive.path.stat()
    seen = (VERSION, os.path.abspath(archive.path), info.st_size, info.st_mtime_ns)
    note = cache / ".listings" / hashlib.sha256(repr(seen).encode()).hexdigest()[:32]
    if (noted := _noted(note)) is not None:
        return noted
    with ExitStack() as stack:
        with suppress(OSError):  # nothing can be noted there: each process lists it
            make_folder(note.parent)
            stack.enter_context(locked(lock_of(note)))
        if (noted := _noted(note)) is not None:
            return noted
        try:
            found = archive.listing()
        except OSError as error:
            raise cannot_read(archive.path, error.strerror or error) from error
        with suppress(UserError), atomic(note) as temporary:
            temporary.write_text(json.dumps(vars(found)))
    return found


def _noted(note: Path) -> Listing | None:
    """Return the listing that is noted in a file; None: none is."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(note.read_text())
        members = [
            Member(name, tuple(place), size, label) for name, place, size, label in kept["members"]
        ]
        return Listing(
            members, Counter(kept["others"]), kept["outside"], kept["odd"], kept["damage"]
        )
    return None
