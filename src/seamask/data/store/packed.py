"""The packed store: images decoded and resized once, then memory-mapped.

A store is a folder with, per split, `<split>.pixels` (raw uint8 [n, S, S, 3]), where there are any
`<split>.labels` (raw int64 [n]) and `<split>.objects` (raw uint8 [n, S, S]), and `meta.json`. It is
written under a temporary name and renamed, so it is there whole or not at all. Nothing is ever
deleted from the cache but what was left half-written; it may be deleted by hand at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seamask.base.errors import UserError
from seamask.base.progress import Progress
from seamask.data.store.plan import Plan, Split

FORMAT = 1  # of the store; another one is rebuilt


@dataclass(frozen=True, eq=False)
class Images:
    """One split. The tensors may be memory-mapped and read-only: never write to them.

    Attributes:
        pixels: uint8 [n, S, S, 3], RGB, height before width.
        labels: int64 [n], positions in `Data.classes`; None without labels.
        objects: uint8 [n, S, S]: 0 background, k = object k (of `shapes`, 1 is the main one), 255
            undecided; None without object masks.
    """

    pixels: Tensor
    labels: Tensor | None = None
    objects: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: Tensor) -> Images:
        """Return these rows (int64 [k]) as a copy in memory."""
        labels = None if self.labels is None else self.labels[rows]
        objects = None if self.objects is None else self.objects[rows]
        return Images(self.pixels[rows], labels, objects)


@dataclass(frozen=True)
class Store:
    """An open store.

    Attributes:
        splits: only those that hold an image.
    """

    splits: dict[str, Images]
    classes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def open_or_build(
    folder: Path, size: int, plan: Callable[[], Plan], label: str, show: bool
) -> Store:
    """Open the store in `folder`, building it first where there is none.

    Any number of processes may do this at once.

    Args:
        folder: where the store is or will be; its parent is the cache.
        size: side S of the images in pixels.
        plan: called only where the store has to be built.
        label: what is decoded, for the progress and for errors.
        show: show progress.

    Raises:
        UserError: the store cannot be written (disk full, no permission), or not one image of a
            split could be read; and whatever `plan` and its chunks raise.
    """
    store = _open(folder, size)
    if store is not None:
        return store
    _remove_stale(folder.parent)
    made = plan()
    temporary = folder.parent / f"{_prefix()}{os.getpid()}-{folder.name}"
    try:
        _write(temporary, size, made, label, show)
        try:
            os.rename(temporary, folder)
        except OSError:
            if _open(folder, size) is None:  # there is a broken one: not another process's
                shutil.rmtree(folder, ignore_errors=True)
                os.rename(temporary, folder)
    except OSError as error:
        raise _cannot_store(folder.parent, size, made, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    store = _open(folder, size)
    assert store is not None
    return store


def _open(folder: Path, size: int) -> Store | None:
    """Return the store, or None where there is no whole one in this format."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if meta["format"] != FORMAT or meta["size"] != size:
            return None
        splits = {}
        for name, has in meta["splits"].items():
            n = has["n"]
            splits[name] = Images(
                memory_map(folder / f"{name}.pixels", np.uint8, (n, size, size, 3)),
                memory_map(folder / f"{name}.labels", np.int64, (n,)) if has["labels"] else None,
                memory_map(folder / f"{name}.objects", np.uint8, (n, size, size))
                if has["objects"]
                else None,
            )
        skipped = tuple((path, reason) for path, reason in meta["skipped"])
        return Store(splits, tuple(meta["classes"]), skipped)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def memory_map(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> Tensor:
    """Return a raw file as a read-only tensor; ValueError where it is cut short."""
    array = np.memmap(path, kind, "r")
    with warnings.catch_warnings():  # "not writable": so it is, and nothing here writes
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array.reshape(shape))


def _write(folder: Path, size: int, plan: Plan, label: str, show: bool) -> None:
    folder.mkdir(parents=True)
    for name, split in plan.splits.items():  # all room is taken first: a full disk fails at once
        for part, item in _parts(split, size).items():
            with open(folder / f"{name}.{part}", "wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, split.total * item)
    meta: dict[str, Any] = {"format": FORMAT, "size": size, "classes": plan.classes}
    meta |= {"splits": {}, "skipped": []}
    total = sum(split.total for split in plan.splits.values())
    with Progress(f"preparing {label}", total, "images", enabled=show) as bar:
        for name, split in plan.splits.items():
            n, skipped = _write_split(folder, name, split, size, bar)
            if n == 0 and name == "train":
                path, reason = skipped[0]
                raise UserError(
                    f"{label}: none of its {split.total} images can be read, e.g. {path}: {reason}"
                )
            if n:  # a held-out split without images is left out
                has = {"labels": split.labelled, "objects": split.segmented}
                meta["splits"][name] = {"n": n, **has}
            meta["skipped"] += skipped
    (folder / "meta.json").write_text(json.dumps(meta))


def _write_split(
    folder: Path, name: str, split: Split, size: int, bar: Progress
) -> tuple[int, list[tuple[str, str]]]:
    """Write one split; return how many images it holds and which were skipped."""
    skipped: list[tuple[str, str]] = []
    n = 0
    with contextlib.ExitStack() as stack:
        files = {
            part: stack.enter_context(open(folder / f"{name}.{part}", "r+b"))
            for part in _parts(split, size)
        }
        for chunk in split.chunks():
            for part, file in files.items():
                file.write(np.ascontiguousarray(getattr(chunk, part)).data)
            n += len(chunk.pixels)
            skipped += chunk.skipped
            bar.advance(len(chunk.pixels) + len(chunk.skipped))
        for file in files.values():
            file.truncate()  # the room taken for images that were skipped
    return n, skipped


def _parts(split: Split, size: int) -> dict[str, int]:
    """Return {part: bytes per image} of the files of a split."""
    parts = {"pixels": size * size * 3}
    if split.labelled:
        parts["labels"] = 8
    if split.segmented:
        parts["objects"] = size * size
    return parts


def _prefix() -> str:
    """Temporary folders carry host and process: a cache may be shared between machines."""
    host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())
    return f".tmp-{host}-"


def _remove_stale(cache: Path) -> None:
    """Remove what killed processes of this machine left half-written."""
    for folder in cache.glob(f"{_prefix()}*"):
        pid = folder.name.removeprefix(_prefix()).partition("-")[0]
        if pid.isdigit() and (int(pid) == os.getpid() or not _alive(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is another user's
    return True


def _cannot_store(cache: Path, size: int, plan: Plan, error: OSError) -> UserError:
    need = sum(s.total * sum(_parts(s, size).values()) for s in plan.splits.values())
    return UserError(
        f"cannot store the decoded images in {cache}: {error.strerror or error}; they take "
        f"{need / 1e9:.2f} GB: free some space or choose another place with --data.cache"
    )
