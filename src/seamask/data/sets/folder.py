"""A folder of images: which files there are, which classes, and what is held out."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seamask.base.errors import UserError
from seamask.data.files.decode import EXTENSIONS, printable
from seamask.data.files.identity import Entry, identity
from seamask.data.store.chunks import ObjectsOf, file_chunks
from seamask.data.store.plan import Plan, Split

HELD_OUT = ("val", "validation", "test")  # the first of these that has classes is taken


@dataclass(frozen=True)
class Part:
    """The files of one split.

    Attributes:
        paths: [n], relative to the root, sorted.
        labels: [n], positions in `Layout.classes`.
    """

    paths: list[str]
    labels: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
        files: {path: (bytes, time of change in ns)}, −1 bytes of a broken link.
    """

    root: Path
    train: Part
    held_out: Part | None
    classes: tuple[str, ...]
    files: dict[str, tuple[int, int]]

    @property
    def names(self) -> dict[str, str]:
        """{path: what a label image of it is called} of the images to train on."""
        return {path: os.path.splitext(path)[0] for path in self.train.paths}

    def fingerprint(self, cache: Path) -> str:
        """Return sha256 hex of the splits and of what every file is; see `identity`."""
        root = os.path.abspath(self.root)

        def listing() -> Iterator[Entry | bytes]:
            for part in (self.train, self.held_out):
                for path in part.paths if part else ():
                    yield Entry(os.fsencode(path), os.path.join(root, path), *self.files[path])
                yield b""

        return identity(listing(), cache)

    def plan(self, size: int, stop: bool, objects_of: ObjectsOf | None = None) -> Plan:
        """Say how its store is made (see `chunks.file_chunks`); `objects_of` those of `train`."""
        parts = {"train": (self.train, objects_of), "test": (self.held_out, None)}
        splits = {
            name: Split(
                len(part.paths),
                partial(file_chunks, self.root, part.paths, part.labels, size, stop, objects),
                labelled=part.labels is not None,
                segmented=objects is not None,
            )
            for name, (part, objects) in parts.items()
            if part is not None
        }
        return Plan(splits, self.classes)


def read_layout(root: Path, holdout: float, seed: int) -> Layout:
    """List a folder's images and find its labels.

    - `train/` beside `val/`, `validation/` or `test/`: only `train/` is trained on; where both hold
      the same class folders, the other one is held out.
    - Otherwise all images are trained on. They have labels where each lies in a folder, at any
      depth below the first level, there are at least two first-level folders and each of them holds
      at least two images; a share of every class is then held out.
    - Otherwise there are no labels.

    Hidden files and folders and files of other types are ignored; links are followed.

    Args:
        root: the folder.
        holdout: share of each class that is held out where no folder is; at least one image, and
            at least one is left; 0 holds out none.
        seed: of the choice of what is held out.

    Raises:
        UserError: no such folder, not a folder, unreadable, without images, or `train/` and the
            held-out folder have different classes.
    """
    files, others = _scan(root)
    if not files:
        raise _no_images(root, others)
    paths = sorted(files, key=os.fsencode)
    tops = {path.split("/", 1)[0] for path in paths if "/" in path}
    test: list[str] = []
    if "train" in tops and tops & set(HELD_OUT):
        train = [path for path in paths if path.startswith("train/")]
        names = _class_names(train, level=1, least=2)
        for folder in HELD_OUT if names else ():
            candidates = [path for path in paths if path.startswith(f"{folder}/")]
            test_names = _class_names(candidates, level=1, least=1)
            if names and test_names:
                _same_classes(root, folder, set(names), set(test_names))
                test = candidates
                names += test_names
                break
    else:
        train = paths
        names = _class_names(train, level=0, least=2)
    classes = tuple(sorted(set(names or ()), key=os.fsencode))
    numbers = {name: i for i, name in enumerate(classes)}
    labels = np.array([numbers[name] for name in names], np.int64) if names else None

    parts: tuple[Part, Part | None]
    if labels is None:
        parts = Part(train, None), None
    elif test:
        parts = Part(train, labels[: len(train)]), Part(test, labels[len(train) :])
    else:
        out = _stratified(labels, holdout, seed)
        parts = _select(train, labels, ~out), _select(train, labels, out) if out.any() else None
    return Layout(root, *parts, tuple(map(printable, classes)), files)


def _scan(root: Path) -> tuple[dict[str, tuple[int, int]], Counter[str]]:
    """Return {relative path: (bytes, time of change in ns)} of images, and other types' counts."""
    files: dict[str, tuple[int, int]] = {}
    others: Counter[str] = Counter()
    todo: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while todo:
        folder, parents = todo.pop()
        try:
            here = os.stat(root / folder)
            entries = list(os.scandir(root / folder))
        except OSError as error:
            raise UserError(
                f"cannot read the folder {printable(root / folder)}: {error.strerror}; "
                "change its permissions or move it elsewhere"
            ) from error
        if (here.st_dev, here.st_ino) in parents:  # a link to a folder that it lies in
            continue
        parents |= {(here.st_dev, here.st_ino)}
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            suffix = os.path.splitext(entry.name)[1].lower()
            try:
                info = entry.stat()
            except OSError:  # a broken link: skipped later, with its reason, if it names an image
                info = None
            if info is not None and stat.S_ISDIR(info.st_mode):
                todo.append((path, parents))
            elif suffix not in EXTENSIONS:
                others[suffix or "no extension"] += 1
            elif info is None:
                files[path] = (-1, 0)
            elif stat.S_ISREG(info.st_mode):
                files[path] = (info.st_size, info.st_mtime_ns)
    return files, others


def _class_names(paths: list[str], level: int, least: int) -> list[str] | None:
    """Return each path's folder at this level, if those are classes of at least `least` images."""
    parts = [path.split("/") for path in paths]
    if any(len(part) < level + 2 for part in parts):
        return None
    names = [part[level] for part in parts]
    counts = Counter(names)
    return names if len(counts) >= 2 and min(counts.values()) >= least else None


def _same_classes(root: Path, folder: str, train: set[str], test: set[str]) -> None:
    if train == test:
        return
    only = [
        f"only in {where}/: {printable(', '.join(sorted(names)[:5]))}{', …' * (len(names) > 5)}"
        for where, names in (("train", train - test), (folder, test - train))
        if names
    ]
    raise UserError(
        f"{printable(root)}: train/ and {folder}/ hold different classes ({'; '.join(only)}); "
        f"make them the same, or rename {folder}/ to train without it"
    )


def _stratified(labels: npt.NDArray[np.int64], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose a share of every class: at least one image, leaving at least one."""
    out = np.zeros(len(labels), np.bool_)
    if share > 0:
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            count = min(max(round(share * len(rows)), 1), len(rows) - 1)
            out[np.random.default_rng([seed, label]).permutation(rows)[:count]] = True
    return out


def _select(paths: list[str], labels: npt.NDArray[np.int64], rows: npt.NDArray[np.bool_]) -> Part:
    return Part([path for path, row in zip(paths, rows, strict=True) if row], labels[rows])


def _no_images(root: Path, others: Counter[str]) -> UserError:
    known = ", ".join(sorted(EXTENSIONS))
    if not others:
        return UserError(f"--data {printable(root)}: the folder is empty; it must hold images")
    kinds = ", ".join(f"{count} {printable(kind)}" for kind, count in others.most_common(5))
    return UserError(
        f"--data {printable(root)}: found {others.total()} files but no images ({kinds}); "
        f"known are {known}"
    )
