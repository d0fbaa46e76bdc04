"""A store that several processes, on one machine or more, build together, and go on with.

Beside the store that is to be lies a folder of pieces, each a folder of raw arrays (`arrays.py`)
with its own lock: who finds one that is not there and not held makes it. When all are there, one
process joins them, removing each when it is on the disk as part of the whole, and gives the whole
its name. So whatever is killed, no more than a piece is done again, and at no time does it take
much more room than the store.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from seamask.base.errors import UserError
from seamask.base.files import OURS, atomic, lock_of, make_folder, sync, sync_folder
from seamask.base.locks import Held, give_up, locked
from seamask.base.progress import Progress
from seamask.data.store.arrays import META, note_checked, open_or_make, storing
from seamask.data.store.levels import Levels, added
from seamask.data.store.packed import about_split, meta_of, none_readable, sizes_of, write_split
from seamask.data.store.plan import Plan, Split

IMAGES = 4096  # of a piece
STATE = "joined.json"


@dataclass
class Joined:
    """What is part of the whole already.

    Attributes:
        pieces: names.
        blocks: {array: [[bytes, checksum]]}, as in `meta.json`.
        counts: {split: images}.
        skipped: [[path, reason]].
        levels: of the training images.
    """

    pieces: list[str] = field(default_factory=list)
    blocks: dict[str, list[list[int]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    skipped: list[list[str]] = field(default_factory=list)
    levels: Levels = field(default_factory=list)


def build_together(
    folder: Path, size: int, plan: Plan, about: Mapping[str, Any], label: str, key: str, show: bool
) -> None:
    """Build a store, with whoever else does.

    Args:
        folder: where it will be; nothing is there yet.
        size: side of the images in pixels.
        plan: the same in every process.
        about: is kept in its `meta.json`.
        label: whose images they are, for the progress and for errors.
        key: other images or settings have another: 16 characters.
        show: show progress.

    Raises:
        UserError: it cannot be written, or no image of it can be read.
    """
    parts = parts_of(folder, key)
    with storing(label, folder.parent):
        make_folder(parts)
    pieces = {
        f"{name}-{start // IMAGES:06d}": (name, _between(split, start))
        for name, split in plan.splits.items()
        for start in range(0, split.total, IMAGES if split.between else max(split.total, 1))
    }
    total = sum(split.total for _, split in pieces.values())
    with Progress(f"packing {label}", total, "images", enabled=show) as bar:
        counted: set[str] = set()
        while not folder.exists():
            done = {name for name in pieces if (parts / name / META).exists()}
            done |= set(_read_state(parts).pieces)
            bar.skip(sum(pieces[name][1].total for name in done - counted))
            counted |= done
            if len(done) == len(pieces):
                break
            made = [
                name
                for name in pieces
                if name not in done
                and (folder.exists() or _make(parts / name, *pieces[name], size, label, bar))
            ]
            counted |= set(made)
            if not made:
                time.sleep(0.5)  # others are at the last ones
    with storing(label, folder.parent), locked(lock_of(folder)):
        if folder.exists():
            shutil.rmtree(parts, ignore_errors=True)
            return
        joined = _join(parts, pieces, label)
        splits = {
            name: about_split(split, joined.counts[name])
            for name, split in plan.splits.items()
            if joined.counts.get(name)
        }
        if "train" not in splits:
            raise none_readable(label, plan.splits["train"].total, *joined.skipped[0])
        found = {
            "splits": splits,
            "skipped": joined.skipped,
            "levels": joined.levels,
        }
        meta = {**meta_of(plan, size), **found, **about}
        whole = parts / "whole"
        for name in joined.blocks:  # of a split that holds no image
            if name.partition(".")[0] not in splits:
                (whole / name).unlink(missing_ok=True)
        blocks = {n: b for n, b in joined.blocks.items() if n.partition(".")[0] in splits}
        with atomic(whole / META) as temporary:
            temporary.write_text(json.dumps({**meta, "blocks": blocks}))
        note_checked(whole)
        sync_folder(whole)
        os.rename(whole, folder)
        sync_folder(folder.parent)
        shutil.rmtree(parts, ignore_errors=True)


def parts_of(folder: Path, key: str) -> Path:
    """Return where the pieces of a store are while it is built; see `build_together`."""
    return folder.with_name(f"{OURS}{folder.name}-{key}.parts")


def _between(split: Split, start: int) -> Split:
    """Return the part of a split that a piece is."""
    if split.between is None:
        return split
    stop = min(start + IMAGES, split.total)
    return replace(split, total=stop - start, chunks=partial(split.between, start, stop))


def _make(place: Path, name: str, split: Split, size: int, label: str, bar: Progress) -> bool:
    """Make a piece unless another is at it; return whether it is made."""

    def make(writer: Any) -> dict[str, Any]:
        writer.reserve(sizes_of(name, split, size))
        n, skipped, levels = write_split(writer, name, split, size, bar)
        return {"n": n, "skipped": skipped, "levels": levels}

    if (place / META).exists() or place.name in _read_state(place.parent).pieces:
        return True  # another was faster
    try:
        open_or_make(place, lambda *_: True, make, label, False, give_up)
    except Held:
        return False
    except FileNotFoundError:
        if place.parent.exists():
            raise
        return True  # another has joined them all and removed their folder
    return True


def _join(parts: Path, pieces: Mapping[str, tuple[str, Split]], label: str) -> Joined:
    """Append the pieces that are not part of the whole yet to its arrays, in order."""
    joined = _read_state(parts)
    whole = parts / "whole"
    whole.mkdir(exist_ok=True)
    for name in list(pieces)[len(joined.pieces) :]:
        meta = json.loads((parts / name / META).read_text())
        for array, blocks in meta["blocks"].items():
            start = sum(length for length, _ in joined.blocks.get(array, []))
            if not _append(parts / name / array, whole / array, start, blocks):
                shutil.rmtree(parts / name)
                raise UserError(
                    f"{label}: a part of the store, {name}, was changed or lost on the disk and is "
                    "removed; start the command again to make it anew"
                )
            joined.blocks.setdefault(array, []).extend(blocks)
        split = pieces[name][0]
        joined.counts[split] = joined.counts.get(split, 0) + meta["n"]
        joined.skipped += meta["skipped"]
        if split == "train" and meta["levels"]:
            joined.levels = added(joined.levels, meta["levels"])
        joined.pieces.append(name)
        with atomic(parts / STATE) as temporary:
            temporary.write_text(json.dumps(vars(joined)))
        shutil.rmtree(parts / name)
    return joined


def _append(source: Path, target: Path, start: int, blocks: list[list[int]]) -> bool:
    """Copy an array behind `start` bytes of another; return whether it is what was written."""
    with open(source, "rb") as read, open(target, "ab") as write:
        write.truncate(start)  # a killed one may have gone further than it noted
        write.seek(start)
        for length, checksum in blocks:
            data = read.read(length)
            if zlib.crc32(data) != checksum:
                return False
            write.write(data)
        write.flush()
        sync(write.fileno())
    return True


def _read_state(parts: Path) -> Joined:
    with suppress(OSError, ValueError, TypeError):
        return Joined(**json.loads((parts / STATE).read_text()))
    return Joined()
