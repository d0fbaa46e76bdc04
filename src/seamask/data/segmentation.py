"""Images with a class for every pixel, at their own sizes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from seamask.base.channels import as_channels
from seamask.base.errors import UserError, printable
from seamask.base.files import atomic
from seamask.base.paths import local
from seamask.base.progress import Progress
from seamask.base.threads import in_threads
from seamask.data.files.decode import BadImage, allow, opened
from seamask.data.files.depth import Ranges
from seamask.data.files.maps import VOID, check_value, largest, read_map
from seamask.data.normalize import Normalization, imagenet
from seamask.data.sets.voc import Item, VocLayout, fingerprint, missing_map
from seamask.data.settings import DataConfig
from seamask.data.sources import Data, choose, find_source, load
from seamask.data.store.chunks import Reading
from seamask.data.store.packed import Images

Labelled = Dataset[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A data set for semantic segmentation.

    Attributes:
        train: map-style: (image uint8 [C, H, W], classes uint8 [H, W], 255 = ignored), own sizes.
        test: as `train`.
        classes: names of the values 0, 1, ….
        fingerprint: sha256 hex of what images, classes and splits are; `config.limit` is not in it.
        split: what `test` is, in words.
        notes: what became of images that one might miss, a line each.
        skipped: none: what cannot be read is an error.
        ranges: see `Data`.
    """

    name: str
    train: Labelled
    test: Labelled
    classes: tuple[str, ...]
    normalization: Normalization
    fingerprint: str
    split: str = "test"
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    ranges: Ranges = field(default_factory=dict)


def load_segmentation(
    config: DataConfig, image_size: int, seed: int = 0, progress: bool = True
) -> Segmentation:
    """Open a data set that has a class for every pixel: `shapes`, `voc2012`, a Pascal VOC folder.

    A `Source` says so of itself, by `class_maps` or `main_object`.

    - A folder is split by `train.txt` and `val.txt`; without the latter, `config.holdout` of the
      images is the test set. Its classes are those of `classes.txt`, else the values that its
      training maps hold.
    - `voc2012` is trained on with SBD's extra annotations, if they are there (`read_sbd`).
    - Of `shapes` the main shape is labelled with its class; other shapes are ignored.

    The first time, every image and map of files is read, so that a mistake shows at once; that it
    was done is noted in the cache.

    Args:
        config: which data; `config.limit` restricts the training images.
        image_size: side in pixels of `shapes` unless `config.size` says otherwise.
        seed: of the choice of `config.limit` images and of what is held out.
        progress: show progress on stderr.

    Raises:
        UserError: no such data, no label images, a listed file that is missing or cannot be read, a
            label image of another size than its image, a value outside the classes, or no class
            but one.
    """
    allow(config.max_megapixels)
    source = find_source(config, config.size or image_size, seed)
    if source.main_object:
        return _of_store(load(config, image_size, seed, progress))
    if source.class_maps is None:
        raise UserError(
            f"--data {printable(config.source)} has no classes for its pixels: give voc2012, "
            "shapes or a folder in Pascal VOC layout with SegmentationClass"
        )
    name, layout = source.name, source.class_maps()
    cache = local(config.cache, "--data.cache")
    train, test = _labelled(layout, layout.train), _labelled(layout, layout.val or ())
    classes = _check(name, train, test, layout.classes, cache, progress)
    split = "val"
    if layout.val is None:
        train, test = _hold_out(layout.root, train, config.holdout, seed)
        split = f"{100 * config.holdout:g} % of the images with label images"
    if config.split not in ("auto", split):
        raise UserError(
            f"--data.split {config.split}: what {name} holds out is {split}; leave it out"
        )
    reading = Reading().of(str(item.image) for item in (*train, *test))
    mark = fingerprint((train, test), classes, cache)
    train = tuple(train[i] for i in choose(len(train), config.limit, seed).tolist())
    notes = (*layout.notes, *reading.remarks)
    learn, held = (Files(items, reading.ranges, config.channels) for items in (train, test))
    by = imagenet(config.channels)
    return Segmentation(name, learn, held, classes, by, mark, split, notes, ranges=reading.ranges)


class Files(Labelled):
    """Images and class maps that are read from their files when they are asked for."""

    def __init__(
        self, items: Sequence[Item], ranges: Ranges | None = None, channels: int = 3
    ) -> None:
        self.items, self.ranges, self.channels = items, ranges, channels

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        item = self.items[index]
        assert item.classes
        try:
            with opened(item.image, ranges=self.ranges) as image:
                classes = read_map(item.classes, image, item.image)
                pixels = as_channels(torch.from_numpy(np.array(image)), self.channels)
                pixels = pixels.permute(2, 0, 1).contiguous()
        except BadImage as error:
            raise UserError(
                f"cannot read the image {printable(item.image)}: {error}; replace or remove it"
            ) from error
        return pixels, torch.from_numpy(np.array(classes))


class MainObjects(Labelled):
    """Stored images, the pixels of object 1 of the label's class; other objects are ignored."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images = self.images
        assert images.labels is not None
        assert images.objects is not None
        objects = images.objects[index]
        classes = torch.full_like(objects, VOID)
        classes[objects == 0] = 0
        classes[objects == 1] = int(images.labels[index]) + 1
        return images.pixels[index].permute(2, 0, 1).contiguous(), classes


def _of_store(data: Data) -> Segmentation:
    if data.probe_test is None:
        raise UserError(
            f"--data {data.name} holds nothing out to test on; of shapes, raise --data.shapes-test"
        )
    classes = ("background", *data.classes)
    train, test = MainObjects(data.train), MainObjects(data.probe_test)
    return Segmentation(data.name, train, test, classes, data.normalization, data.fingerprint)


def _labelled(layout: VocLayout, items: Sequence[Item]) -> tuple[Item, ...]:
    """Return those that have a class map: all of them, where lists name them."""
    for item in items if layout.listed else ():
        if item.classes is None:
            raise missing_map(layout.root, item.name)
    found = tuple(item for item in items if item.classes)
    if items and not found:
        raise UserError(
            f"--data {printable(layout.root)}: SegmentationClass holds no PNG of an image in "
            "JPEGImages; put the label images there, under the images' names"
        )
    return found


def _check(
    name: str, train: Sequence[Item], test: Sequence[Item], classes: tuple[str, ...], cache: Path,
    progress: bool,
) -> tuple[str, ...]:  # fmt: skip
    """Read every image and map once; return the classes, those given or what is found."""
    mark = hashlib.sha256(fingerprint((train, test), classes, cache).encode()).hexdigest()[:16]
    note = cache / f"{name}-{mark}-labels2.json"  # 1: one class alone was let through
    if classes and note.exists():
        return classes
    if note.exists():
        return _numbered(json.loads(note.read_text())["classes"])
    items = [*train, *test]
    files = Files(items)
    found = []
    with Progress(f"checking {name}", len(items), "label images", enabled=progress) as bar:
        for value in in_threads(lambda i: largest(files[i][1].numpy()), range(len(items))):
            found.append(value)
            bar.advance()
    count = len(classes) or max(found[: len(train)]) + 1
    if max(found[: len(train)]) < 0:
        raise UserError(
            f"--data {name}: the training images' label images hold nothing but {VOID} = void; "
            "label some pixels"
        )
    if max(found[: len(train)]) == 0:
        raise UserError(
            f"--data {name}: the training images' label images hold one class only, 0, and nothing "
            f"else but {VOID} = void; store objects as 1 (2, …), not as {VOID}"
        )
    for item, value in zip(items, found, strict=True):
        assert item.classes
        check_value(item.classes, value, count)
    with atomic(note) as temporary:
        temporary.write_text(json.dumps({"classes": count}))
    return classes or _numbered(count)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(value) for value in range(count))


def _hold_out(
    root: Path, items: Sequence[Item], share: float, seed: int
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Split a share off, at least one image, leaving at least one."""
    if share <= 0 or len(items) < 2:
        raise UserError(
            f"--data {printable(root)} has no val.txt, and --data.holdout {share} of its "
            f"{len(items)} label images leaves nothing to test on; write a val.txt or raise it"
        )
    count = min(max(round(share * len(items)), 1), len(items) - 1)
    out = set(np.random.default_rng(seed).permutation(len(items))[:count].tolist())
    rest = tuple(item for i, item in enumerate(items) if i not in out)
    return rest, tuple(item for i, item in enumerate(items) if i in out)
