"""Image files by name, wherever their bytes are: in a folder, or in archives that read as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from seamask.data.files.decode import Opens
from seamask.data.files.identity import Entry

JUNK = frozenset({"__MACOSX", "@eaDir"})  # what a Mac and a NAS put beside images, images among it


def is_hidden(name: str) -> bool:
    """Say whether a file or folder of this name is none of the user's own."""
    return name.startswith(".") or name in JUNK


@dataclass(frozen=True)
class Files:
    """Image files, as a folder lists them.

    Attributes:
        root: what the user named.
        names: of the images, paths below the root, in the order in which they are best read.
        opens: their bytes.
        entry: what an image is, for the identity of all.
        held_by: the files whose members they are; none of a folder.
        others: {type: how many} of files that are no images.
        notes: on what is left out, a line each.
    """

    root: Path
    names: list[str]
    opens: Opens
    entry: Callable[[str], Entry | bytes]
    held_by: tuple[Entry, ...] = ()
    others: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()
