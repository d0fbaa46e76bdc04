"""A folder of images: which files there are, which classes, and what is held out."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from seamask.base.errors import UserError, printable
from seamask.base.progress import amount
from seamask.data.files.decode import EXTENSIONS
from seamask.data.files.identity import Entry, identity
from seamask.data.files.listing import Files, is_hidden
from seamask.data.sets.names import MAP_OF, Kind, holds_images, holds_maps, split_of
from seamask.data.store.chunks import ObjectsOf, Reading, file_split
from seamask.data.store.plan import Plan

Chosen = Literal["auto", "val", "test"]
OF_EACH_CLASS = "% of each class"  # how a share that is drawn is named
NAMED = 5  # classes or files that a line names at most


@dataclass(frozen=True)
class Part:
    """The files of one split.

    Attributes:
        paths: [n], relative to the root; sorted, those without a label last.
        labels: [n], positions in `Layout.classes`; −1 of an image without.
    """

    paths: list[str]
    labels: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
        files: all images, those that are left out included.
        split: what is held out, in words: `valid/`, `10 % of each class`; empty: nothing.
        notes: what became of images and labels that one might miss, a line each.
    """

    root: Path
    train: Part
    held_out: Part | None
    classes: tuple[str, ...]
    files: Files
    split: str = ""
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """{path: what a label image of it is called} of the images to train on."""
        return {path: os.path.splitext(path)[0] for path in self.train.paths}

    def fingerprint(self, cache: Path) -> str:
        """Return sha256 hex of the splits and of what every file is; see `identity`."""

        def listing() -> Iterator[Entry | bytes]:
            yield from self.files.held_by
            for part in (self.train, self.held_out):
                for path in part.paths if part else ():
                    yield self.files.entry(path)
                yield b""

        return identity(listing(), cache)

    def plan(self, size: int, reading: Reading, objects_of: ObjectsOf | None = None) -> Plan:
        """Say how its store is made (see `chunks.file_split`); `objects_of` those of `train`."""
        parts = {"train": (self.train, objects_of), "test": (self.held_out, None)}
        paths = [path for part, _ in parts.values() if part for path in part.paths]
        opens = self.files.opens
        reading = reading.of(paths, opens)
        splits = {
            name: file_split(opens, part.paths, part.labels, size, reading, objects)
            for name, (part, objects) in parts.items()
            if part is not None
        }
        return Plan(splits, self.classes, reading.ranges, reading.remarks)


def read_layout(root: Path, holdout: float, seed: int, split: Chosen = "auto") -> Layout:
    """List a folder's images and find its labels: `layout_of` what `list_folder` finds."""
    return layout_of(list_folder(root), holdout, seed, split)


def layout_of(files: Files, holdout: float, seed: int, split: Chosen = "auto") -> Layout:
    """Find the labels of images, and what is held out, by their paths.

    - Folders of label images (`masks/` beside `images/`) are left out; of a folder that holds one
      folder and no other, that one is looked at.
    - `train/` beside `val/` or `test/`, by any of their usual names and in any case (`names.py`),
      or with class folders in it beside others that have none or some of the same: only `train/` is
      trained on. Of the others, `val/` first, one that holds class folders of `train/` is held out;
      all else is left out. Where there is no `train/`, one folder of another name beside them is
      it, if that only says `images`, or if it has classes that they have.
    - Otherwise all images are trained on, and a share of every class of two images and more is
      held out.
    - Classes are the folders at the first level, where two and more hold at least two images.
      Images that lie in none have no label.

    Args:
        files: of a folder, or what reads as one.
        holdout: share of each class that is held out where no folder is; at least one image, and
            at least one is left; 0 holds out none.
        seed: of the choice of what is held out.
        split: the folder that is held out; `auto`: `val/` where it can be, else `test/`.

    Raises:
        UserError: there are no images; held-out folders alone, or beside classes that they hold,
            too; `train/` that may be a class; or no `split` of that name, or none with a class of
            `train/`.
    """
    root, others = files.root, files.others
    if not files.names:
        raise _no_images(files)
    found = Found(root, *_without_maps(files.names), split=split)
    found.notes.extend(files.notes)
    if others:
        some = ", ".join(f"{n} {printable(kind)}" for kind, n in others.most_common(NAMED))
        found.notes.append(f"left out: {amount(others.total(), 'file')} of other types ({some})")
    base = _inside(found.paths, "")
    tops = _tops(found.paths, base)
    kinds = found.splits(base, tops)
    train, test = found.of_splits(base, kinds) if kinds else (found.of_classes(base), {})
    if split != "auto" and not test:
        raise UserError(
            f"--data.split {split}: {printable(root)} has no {split}/ with class folders beside a "
            "train/; leave it out, or name another folder"
        )
    return found.layout(train, test, files, holdout, seed)


Labels = dict[str, str | None]
"""{path: the name of its class} of some images, sorted; None: it lies in no class folder."""


@dataclass
class Found:
    """What is found out about a folder.

    Attributes:
        paths: of images, sorted.
        notes: see `Layout`.
        held_out: the folder that is, if one is.
    """

    root: Path
    paths: list[str]
    notes: list[str]
    split: Chosen
    held_out: str = ""

    def splits(self, base: str, tops: list[str]) -> dict[str, Kind]:
        """Return which split the folders below `base` are, by their names and what is in them.

        Returns:
            Nothing: they are classes. Those that are missing are neither.

        Raises:
            UserError: held-out folders alone, or beside classes that they hold, too; or `train/`
                that may be a class: with folders in it, beside others with folders of other names.
        """
        kinds: dict[str, Kind] = {top: kind for top in tops if (kind := split_of(top))}
        known, others = set(kinds.values()), [top for top in tops if top not in kinds]
        if len(known) > 1 and "train" in known:
            return kinds
        if len(tops) > 1 and not others and "train" not in known:
            named = " and ".join(f"{printable(top)}/" for top in tops)
            raise UserError(
                f"--data {printable(self.root)} holds {named} and no train/: name the one to train "
                f"on, {printable(self.root / base / tops[0])}, or rename it"
            )
        if not kinds:
            return {}
        classes = self._classes_in(base, tops)
        named_so = set().union(*(classes[top] for top in kinds))
        if "train" in known:
            if len(named_so) > 1:  # others without classes, or with the same: data left over
                if odd := [o for o in others if classes[o] and not classes[o] & named_so]:
                    raise UserError(
                        f"--data {printable(self.root)} holds train/ and, beside it, folders with "
                        f"others in them ({_some(odd)}): name the one to train on, "
                        f"{printable(self.root / base / next(iter(kinds)))}, or rename it if it is "
                        "a class"
                    )
                return kinds
        elif len(others) == 1 and (holds_images(others[0]) or classes[others[0]] & named_so):
            return {**kinds, others[0]: "train"}
        for top in kinds:
            if "train" not in known and (shared := sorted(classes[top] & set(others))):
                raise UserError(
                    f"--data {printable(self.root)} holds {printable(top)}/ and, beside it, "
                    f"folders of the same classes ({_some(shared)}): move those into train/"
                )
            if others:
                self.notes.append(
                    f"{printable(top)}/ is taken for a class, as what is beside it "
                    f"({_some(others)}): if it is a split, put the others into one, too"
                )
        return {}

    def _classes_in(self, base: str, tops: list[str]) -> dict[str, set[str]]:
        """Return the class folders in each folder below `base`."""
        inside: dict[str, list[str]] = {top: [] for top in tops}
        for path in self.paths:
            top, below, _ = path.removeprefix(base).partition("/")
            if below and top in inside:
                inside[top].append(path)
        known = set(tops)
        labels = {top: _labels(paths, f"{base}{top}/", known) for top, paths in inside.items()}
        return {top: set(found.values()) - {None} for top, found in labels.items()}  # type: ignore[misc]

    def of_splits(self, base: str, kinds: dict[str, Kind]) -> tuple[Labels, Labels]:
        """Return the images to train on and those held out, of folders that are splits."""
        train: Labels = {}
        trained = [top for top, kind in kinds.items() if kind == "train"]
        for top in trained:
            train |= self._labels(f"{base}{top}/")
        classes = set(_classes(train, least=1))
        if not classes:
            train = dict.fromkeys(train)
        test: Labels = {}
        for kind in ("val", "test"):
            for top in (top for top, other in kinds.items() if other == kind):
                labels = self._labels(f"{base}{top}/", classes)
                shared: Labels = {p: name for p, name in labels.items() if name in classes}
                said = f"{printable(top)}/ is left out: {amount(len(labels), 'image')}"
                if test:
                    other = split_of(self.held_out.rstrip("/")) != kind
                    how = f"--data.split {kind} measures it" if other else "rename it to measure it"
                    self.notes.append(f"{said}; {how}")
                elif self.split not in ("auto", kind):
                    self.notes.append(f"{said}; --data.split is {self.split}")
                elif not shared:
                    self.notes.append(f"{said} in no class folder of {printable(trained[0])}/")
                else:
                    test, self.held_out = shared, f"{printable(top)}/"
                    self._note_unknown(top, {p: n for p, n in labels.items() if p not in shared})
        if not test and not _classes(train, least=2):
            train = dict.fromkeys(train)  # nothing could be held out
        beside = [path for path in self.paths if path.removeprefix(base).split("/")[0] not in kinds]
        if beside:
            self.notes.append(
                f"left out: {amount(len(beside), 'image')} beside the folders of splits "
                f"({_some(path.removeprefix(base).split('/')[0] for path in beside)})"
            )
        return train, test

    def _note_unknown(self, top: str, unknown: Labels) -> None:
        names = sorted({name for name in unknown.values() if name is not None})
        why = [f"of classes that train/ has not ({_some(names)})"] * bool(names)
        why += ["in no class folder"] * (None in unknown.values())
        if unknown:
            count = amount(len(unknown), "image")
            self.notes.append(f"left out of {printable(top)}/: {count} {' or '.join(why)}")

    def of_classes(self, base: str) -> Labels:
        """Return the images to train on, all of them."""
        labels = {path: _folder_below(path, base) for path in self.paths}
        if _classes(labels, least=2):
            return labels
        if len(set(labels.values()) - {None}) > 1:
            self.notes.append("no labels: fewer than two of its folders hold two images or more")
        return dict.fromkeys(labels)

    def _labels(self, folder: str, known: Container[str] = ()) -> Labels:
        return _labels([path for path in self.paths if path.startswith(folder)], folder, known)

    def layout(
        self,
        train: Labels,
        test: Labels,
        files: Files,
        holdout: float,
        seed: int,
    ) -> Layout:
        """Number the classes; hold images out where no folder is."""
        names = {name for name in train.values() if name is not None}
        classes = sorted(names, key=os.fsencode)
        told = tuple(map(printable, classes))
        if not classes:
            return Layout(self.root, Part(list(train), None), None, (), files, "", self._told())
        numbers: dict[str | None, int] = {name: i for i, name in enumerate(classes)} | {None: -1}
        paths = sorted(train, key=lambda path: train[path] is None)  # stable
        labels = np.array([numbers[train[path]] for path in paths], np.int64)
        if strays := [path for path in paths if train[path] is None]:
            self.notes.append(
                f"{amount(len(strays), 'image')} in no class folder ({_some(strays)}): trained on, "
                "without a label"
            )
        if test:
            held_out = Part(list(test), np.array([numbers[n] for n in test.values()], np.int64))
            whole = Part(paths, labels)
            return Layout(self.root, whole, held_out, told, files, self.held_out, self._told())
        out = _stratified(labels, holdout, seed)
        counts = np.bincount(labels[labels >= 0])
        if holdout > 0 and (single := [told[i] for i in np.flatnonzero(counts == 1)]):
            self.notes.append(
                f"{amount(len(single), 'class', 'classes')} of one image ({_some(single)}): it is "
                "trained on, none is held out"
            )
        parts = _select(paths, labels, ~out), _select(paths, labels, out) if out.any() else None
        said = f"{100 * holdout:g} {OF_EACH_CLASS}" if parts[1] else ""
        return Layout(self.root, *parts, told, files, said, self._told())

    def _told(self) -> tuple[str, ...]:
        return tuple(self.notes)


def _without_maps(paths: list[str]) -> tuple[list[str], list[str]]:
    """Return the paths of images that are no label images of others, and notes on those that are.

    These lie in a folder of such a name beside one of images or of a split, or are named after an
    image in their own folder: `1_mask.png` beside `1.jpg`.
    """
    folders: dict[str, set[str]] = {}
    stems: dict[str, set[str]] = {}
    for path in paths:
        *above, name = path.split("/")
        for i, folder in enumerate(above):
            folders.setdefault("/".join(above[:i]), set()).add(folder)
        stems.setdefault("/".join(above), set()).add(os.path.splitext(name)[0])
    maps = {
        f"{parent}/{name}/".lstrip("/")
        for parent, names in folders.items()
        if any((holds_images(n) or split_of(n)) and not holds_maps(n) for n in names)
        for name in names
        if holds_maps(name)
    }
    left_out: Counter[str] = Counter()
    kept = []
    for path in paths:
        parent, _, name = path.rpartition("/")
        within = next((folder for folder in maps if path.startswith(folder)), None)
        of = MAP_OF.fullmatch(os.path.splitext(name)[0])
        if within:
            left_out[printable(within)] += 1
        elif of and {of["image"], os.path.splitext(of["image"])[0]} & stems[parent]:
            left_out["files named after an image and “mask” or the like"] += 1
        else:
            kept.append(path)
    notes = [
        f"left out: {amount(n, 'label image')}, {what}" for what, n in sorted(left_out.items())
    ]
    return kept, notes


def _tops(paths: list[str], base: str) -> list[str]:
    """Return the folders that hold images below `base`, itself empty or a path that ends in /."""
    below = (path[len(base) :] for path in paths if path.startswith(base))
    return sorted({rest.split("/", 1)[0] for rest in below if "/" in rest}, key=os.fsencode)


def _inside(paths: list[str], base: str, classes: Container[str] = ()) -> str:
    """Return the innermost folder below `base` that is the only one where it lies, and no class."""
    while len(tops := _tops(paths, base)) == 1:
        inside = f"{base}{tops[0]}/"
        if tops[0] in classes and not any(top in classes for top in _tops(paths, inside)):
            break
        base = inside
    return base


def _labels(paths: list[str], folder: str, known: Container[str] = ()) -> Labels:
    """Return what images in a folder are labelled by their folders; `known`: names of classes."""
    inside = _inside(paths, folder, known)
    return {path: _folder_below(path, inside) for path in paths}


def _folder_below(path: str, base: str) -> str | None:
    """Return the folder right below `base` that a path lies in."""
    rest = path.removeprefix(base) if path.startswith(base) else ""
    return rest.split("/", 1)[0] if "/" in rest else None


def _classes(labels: Labels, least: int) -> list[str]:
    """Return the names of the classes, if two of them hold at least so many images."""
    counts = Counter(name for name in labels.values() if name is not None)
    return list(counts) if sum(n >= least for n in counts.values()) > 1 else []


def _some(names: Iterable[str]) -> str:
    each = list(dict.fromkeys(names))
    return printable(", ".join(each[:NAMED])) + ", …" * (len(each) > NAMED)


def list_folder(root: Path) -> Files:
    """List a folder's images, sorted.

    Hidden files and folders, what a Mac or a NAS puts beside images, and files of other types are
    ignored; links are followed.

    Raises:
        UserError: it, or a folder in it, cannot be read.
    """
    sizes, others = _scan(root)
    here = os.path.abspath(root)

    def entry(path: str) -> Entry:
        return Entry(os.fsencode(path), os.path.join(here, path), *sizes[path])

    names = sorted(sizes, key=os.fsencode)
    return Files(root, names, partial(os.path.join, root), entry, others=others)


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
            if is_hidden(entry.name):
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


def _stratified(labels: npt.NDArray[np.int64], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose a share of every class: at least one image, leaving at least one; of −1 none."""
    out = np.zeros(len(labels), np.bool_)
    if share > 0:
        for label in np.unique(labels[labels >= 0]):
            rows = np.flatnonzero(labels == label)
            count = min(max(round(share * len(rows)), 1), len(rows) - 1)
            out[np.random.default_rng([seed, label]).permutation(rows)[:count]] = True
    return out


def _select(paths: list[str], labels: npt.NDArray[np.int64], rows: npt.NDArray[np.bool_]) -> Part:
    return Part([path for path, row in zip(paths, rows, strict=True) if row], labels[rows])


def _no_images(files: Files) -> UserError:
    known = ", ".join(sorted(EXTENSIONS))
    said = f"--data {printable(files.root)}"
    if not files.others:
        kind = "folder" if files.root.is_dir() else "file"
        why = "".join(f" ({note})" for note in files.notes)
        return UserError(f"{said}: the {kind} is empty; it must hold images{why}")
    kinds = ", ".join(f"{count} {printable(kind)}" for kind, count in files.others.most_common(5))
    return UserError(
        f"{said}: found {files.others.total()} files but no images ({kinds}); known are {known}"
    )
