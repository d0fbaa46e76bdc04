"""Folders in Pascal VOC layout: images, maps of classes and objects, and lists of which is what."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from seamask.base.errors import UserError, printable
from seamask.data.files.decode import EXTENSIONS, opened
from seamask.data.files.depth import Ranges
from seamask.data.files.identity import Entry, identity
from seamask.data.files.listing import is_hidden
from seamask.data.files.maps import (
    VOID,
    check_value,
    largest,
    read_map,
    read_saliency,
    refuse_binary,
)
from seamask.data.store.chunks import ObjectsOf, Reading, file_split
from seamask.data.store.plan import Plan
from seamask.data.whole import Whole, WholeImages

LISTS = Path("ImageSets", "Segmentation")


@dataclass(frozen=True)
class Item:
    """An image and the maps that there are of it.

    Attributes:
        name: as in the lists: the file's name without its extension.
    """

    name: str
    image: Path
    classes: Path | None
    objects: Path | None


@dataclass(frozen=True)
class VocLayout:
    """What a folder in Pascal VOC layout holds.

    Attributes:
        train: what `train.txt` lists, or else `trainval.txt`, or else all images; never one of
            `val`.
        val: what `val.txt` lists; None where there is no such list.
        listed: there is a list of training images.
        classes: names of the class maps' values 0, 1, …, as `classes.txt` gives them; else empty.
        notes: what became of images that one might miss, a line each.
        saliency: object maps are black and white, one object an image; see `read_saliency`.
    """

    root: Path
    train: tuple[Item, ...]
    val: tuple[Item, ...] | None
    listed: bool
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    saliency: bool = False

    @property
    def split(self) -> str:
        """What masks are scored on, in words."""
        return "the training images with label images" if self.val is None else "val"

    @property
    def scored(self) -> tuple[Item, ...]:
        """Images with object masks: `val`, or without such a list those of `train` with a map."""
        items = self.train if self.val is None else self.val
        return tuple(item for item in items if item.classes or item.objects)

    def fingerprint(self, cache: Path) -> str:
        """Return sha256 hex of the splits, the classes and what every file is; see `identity`."""
        return fingerprint((self.train, self.scored), self.classes, cache)

    @property
    def names(self) -> dict[str, str]:
        """{path below the root: name} of the images to train on."""
        return {_below(self.root, item.image): item.name for item in self.train}

    def plan(self, size: int, reading: Reading, objects_of: ObjectsOf | None = None) -> Plan:
        """Say how its store is made: `train` without labels, `scored` with objects as `test`.

        Objects are those of `SegmentationObject`; where an image has no such map, each class in its
        `SegmentationClass` above 0 is an object. Where `classes.txt` names the classes and none is
        "background", 0 is a class like the others: then object k is class k − 1. Void pixels stay
        255. Images and maps are cut alike, maps by nearest neighbour. `train` has objects only
        where `objects_of` reads them.
        """
        items = {_below(self.root, item.image): item for item in self.scored}

        def scored_objects(path: str, image: Image.Image) -> Image.Image:
            return self.read_objects(items[path], image)

        paths = list(self.names)
        reading = reading.of(str(self.root / path) for path in {**self.names, **items})
        splits = {"train": file_split(self.root, paths, None, size, reading, objects_of)}
        if items:
            splits["test"] = file_split(self.root, list(items), None, size, reading, scored_objects)
        return Plan(splits, (), reading.ranges, reading.remarks)

    def read_objects(self, item: Item, image: Image.Image) -> Image.Image:
        """Return the objects of one of `scored`, as `plan` says: mode L, of the image's size.

        Raises:
            BadImage: the map cannot be read, or marks pixels but none as an object.
            UserError: it is of another size than its image, or holds no class of `classes`.
        """
        if item.objects and self.saliency:
            return read_saliency(item.objects, image, item.image)
        if item.objects:
            objects = read_map(item.objects, image, item.image)
            refuse_binary(item.objects, np.asarray(objects))
            return objects
        assert item.classes
        values = np.asarray(read_map(item.classes, image, item.image))
        refuse_binary(item.classes, values)
        check_value(item.classes, largest(values), len(self.classes))
        if self.classes and "background" not in map(str.lower, self.classes):
            values = np.where(values == VOID, VOID, values + 1)
        return Image.fromarray(values)

    def whole(self, ranges: Ranges) -> WholeImages:
        """Return `scored` whole, at their own sizes, scaled by the ranges of their store."""

        def read(index: int) -> Whole:
            item = self.scored[index]
            with opened(item.image, ranges=ranges) as image:
                return Whole.of_map(np.array(image), np.array(self.read_objects(item, image)))

        return WholeImages(len(self.scored), read)


def is_voc(root: Path) -> bool:
    """Tell whether a folder is in Pascal VOC layout: `JPEGImages/` beside maps or their lists."""
    others = ("SegmentationClass", "SegmentationObject", LISTS)
    return (root / "JPEGImages").is_dir() and any((root / other).is_dir() for other in others)


def read_voc(root: Path) -> VocLayout:
    """List a folder in Pascal VOC layout.

    - `JPEGImages/`: images of any type; `SegmentationClass/`, `SegmentationObject/`: their maps,
      palette or grey PNGs of the same name, 255 = void. Either may be missing.
    - `ImageSets/Segmentation/{train,val,trainval}.txt`: one name a line. All may be missing.
    - `classes.txt`, if there is one: a name a line, or its value and its name (`0 sky`).

    Args:
        root: the folder.

    Raises:
        UserError: it holds no images, a list names no image or one that is missing, an image of
            `val.txt` has no map where others have, or `classes.txt` leaves out a value.
    """
    images = list_files(root / "JPEGImages", EXTENSIONS)
    classes = list_files(root / "SegmentationClass", [".png"])
    objects = list_files(root / "SegmentationObject", [".png"])
    if not images:
        raise UserError(f"--data {printable(root)}: JPEGImages holds no images; put them there")

    def items(names: Iterable[str]) -> tuple[Item, ...]:
        return tuple(Item(n, images[n], classes.get(n), objects.get(n)) for n in names)

    lists = {name: _read_list(root, name, images) for name in ("train", "trainval", "val")}
    listed = lists["train"] or lists["trainval"]
    val = lists["val"]
    train = [name for name in listed or images if name not in set(val or ())]
    if not train:
        raise UserError(f"--data {printable(root)}: {LISTS}/val.txt leaves no image to train on")
    for name in val or ():
        if (classes or objects) and name not in classes and name not in objects:
            raise missing_map(root, name, "SegmentationClass" if classes else "SegmentationObject")
    found = None if val is None else items(val)
    unlisted = len(images) - len(train) - len(val or ())
    notes = (f"left out: {unlisted:,} images of JPEGImages that no list names",) * bool(unlisted)
    return VocLayout(root, items(train), found, listed is not None, _read_classes(root), notes)


def fingerprint(splits: Iterable[Iterable[Item]], classes: Iterable[str], cache: Path) -> str:
    """Return sha256 hex of the splits, the classes and what every file is; see `identity`."""

    def listing() -> Iterator[Entry | bytes]:
        yield "\0".join(classes).encode()
        for items in splits:
            for item in items:
                for path in (item.image, item.classes, item.objects):
                    yield Entry.of(path.name, path) if path else b""
            yield b"\0"

    return identity(listing(), cache)


def missing_map(root: Path, name: str, folder: str = "SegmentationClass") -> UserError:
    """Build the error for a listed image without a label image."""
    return UserError(
        f"--data {printable(root)}: {folder}/{printable(name)}.png is missing; "
        f"put it there or take {printable(name)} out of the lists in {LISTS}"
    )


def read_names(path: Path) -> list[str] | None:
    """Return the names in a list, one a line, each once; None where there is no such file.

    Raises:
        UserError: it cannot be read, or is empty.
    """
    try:
        text = path.read_text("utf-8-sig", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror}") from error
    names = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not names:
        raise UserError(f"{printable(path)} is empty; write one name a line, or remove it")
    return names


def _read_list(root: Path, part: str, images: Collection[str]) -> list[str] | None:
    names = read_names(root / LISTS / f"{part}.txt")
    absent = [name for name in names or () if name not in images]
    if absent:
        raise UserError(
            f"--data {printable(root)}: {LISTS}/{part}.txt names {printable(absent[0])}, but "
            f"JPEGImages/{printable(absent[0])}.jpg is missing ({len(absent)} of {len(names or ())}"
            " are); put it there or take the line out"
        )
    return names


def _read_classes(root: Path) -> tuple[str, ...]:
    names = read_names(root / "classes.txt") or []
    numbered = [re.fullmatch(r"(\d+)[\s:,]+(\S.*)", name) for name in names]
    if not all(numbered):
        return tuple(map(printable, names))
    by_value = {int(match[1]): printable(match[2]) for match in numbered if match}
    by_value.pop(VOID, None)
    if sorted(by_value) != list(range(len(by_value))):
        gap = next(value for value in range(len(by_value)) if value not in by_value)
        raise UserError(f"{printable(root / 'classes.txt')} names no value {gap}; name every one")
    return tuple(by_value[value] for value in range(len(by_value)))


def list_files(folder: Path, extensions: Collection[str]) -> dict[str, Path]:
    """Return {name without extension: path} in order; nothing where there is no such folder.

    Raises:
        UserError: it cannot be read, or two of its files differ only in their suffix.
    """
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(
            f"cannot read the folder {printable(folder)}: {error.strerror}; "
            "change its permissions or move it elsewhere"
        ) from error
    found: dict[str, Path] = {}
    for path in paths:
        if path.suffix.lower() not in extensions or is_hidden(path.name):
            continue
        if (other := found.setdefault(path.stem, path)) != path:
            raise UserError(
                f"{printable(folder)} holds {printable(other.name)} and {printable(path.name)}: "
                "names without their suffix tell images apart there; rename one"
            )
    return found


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
