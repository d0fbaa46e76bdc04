"""From the settings to images: the named data sets and folders."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seamask.base.errors import UserError
from seamask.config import DataConfig
from seamask.data import inaturalist, shapes, torchvision_sets
from seamask.data.decode import bad_image, printable
from seamask.data.folder import Layout, read_layout
from seamask.data.imagenet100s import read_imagenet100s
from seamask.data.objects import find_object_maps
from seamask.data.store import FORMAT, Chunk, Images, Plan, Split, Store, open_or_build
from seamask.data.voc import VocLayout, is_voc, read_voc
from seamask.data.voc2012 import read_voc2012

Triple = tuple[float, float, float]

IMAGENET: tuple[Triple, Triple] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMED = ("shapes", "imagenet100s", "voc2012", *inaturalist.TRAIN, *torchvision_sets.SETS)
"""Sources that are no path."""
SHAPES_SEED = 0  # of the images themselves: every run sees the same, whatever its own seed
SHAPES_CHUNK = 64  # images generated at once by a thread


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, ready to train on."""

    name: str
    train: Images
    """What is pretrained on; labels, if any, are for probes only."""
    probe_train: Images | None
    """Labelled images that probes are fitted on: `train` itself, or its labelled part."""
    probe_test: Images | None
    """Images with labels or object masks that are never trained on; only of a folder in Pascal VOC
    layout without a `val.txt` they are the training images themselves, without labels."""
    classes: tuple[str, ...]
    mean: Triple
    """Of each channel, of values in [0, 1]."""
    std: Triple
    """Of each channel, of values in [0, 1]."""
    fingerprint: str
    """sha256 hex of what the images are."""
    skipped: tuple[tuple[str, str], ...] = ()
    """(path, reason) of images that could not be used."""


def load(config: DataConfig, image_size: int, seed: int = 0, progress: bool = True) -> Data:
    """Open a data set, decoding it into the cache first where that has not been done.

    Args:
        config: which data, and how.
        image_size: side in pixels at which images are stored unless `config.size` says otherwise.
        seed: of the choice of `config.limit` images, and of what a labelled folder without
            `val/` or `test/` holds out. The generated shapes do not depend on it.
        progress: show progress on stderr.

    Raises:
        UserError: no such data set or folder, nothing readable in it, an unreadable image where
            these stop the run, a download that is impossible, or a cache that cannot be written.
    """
    size = config.size or image_size
    source = _find(config, size, seed)
    text = f"{FORMAT} {source.name} {size} {source.identity}"
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    cache = Path(config.cache).expanduser()
    store = open_or_build(
        cache / f"{source.name}-{fingerprint[:16]}-{size}", size, source.plan, source.name, progress
    )
    if store.skipped and config.on_bad_image == "stop":
        raise bad_image(*store.skipped[0])
    train, probe_train, probe_test = _splits(store)
    if 0 < config.limit < len(train):
        shared = probe_train is train
        train = train.take(choose(len(train), config.limit, seed))
        probe_train = train if shared else probe_train
    mean, std = source.normalization
    return Data(
        source.name, train, probe_train, probe_test, store.classes, mean, std, fingerprint,
        store.skipped,
    )  # fmt: skip


def choose(n: int, limit: int, seed: int) -> Tensor:
    """Choose `limit` of `n` images, all if it is 0: int64, ascending."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n, generator=generator)[: limit or n].sort().values


@dataclass(frozen=True)
class _Source:
    name: str
    identity: str  # changes when any image does
    plan: Callable[[], Plan]
    normalization: tuple[Triple, Triple] = IMAGENET


def _find(config: DataConfig, size: int, seed: int) -> _Source:
    name = config.source
    root = Path(config.root).expanduser()
    stop = config.on_bad_image == "stop"
    layout: Layout | VocLayout
    if config.objects and name in NAMED and name not in ("imagenet100s", "voc2012"):
        raise UserError(
            f"--data.objects {printable(config.objects)}: {name} is no folder whose images label "
            "images could be named after; leave it out, or give a folder as --data"
        )
    if name == "shapes":
        return _shapes(config, size)
    if name in torchvision_sets.SETS:
        named = torchvision_sets.SETS[name]
        return _Source(name, named.identity, lambda: named.plan(root, size), named.normalization)
    if name in inaturalist.TRAIN:
        plan = partial(inaturalist.plan, name, root, size, stop)
        return _Source(name, inaturalist.identity(name), plan)
    if name == "imagenet100s":
        layout = read_imagenet100s(root, config.holdout, seed)
    elif name == "voc2012":
        layout = read_voc2012(root)
    else:
        folder = existing_folder(name)
        name = folder_name(folder)
        layout = read_voc(folder) if is_voc(folder) else read_layout(folder, config.holdout, seed)
    if not config.objects:
        return _Source(name, layout.fingerprint, lambda: layout.plan(size, stop))
    maps = find_object_maps(Path(config.objects).expanduser(), layout.root, layout.names)
    identity = f"{layout.fingerprint} {maps.fingerprint}"
    return _Source(name, identity, lambda: layout.plan(size, stop, maps.read))


def _splits(store: Store) -> tuple[Images, Images | None, Images | None]:
    """Return the images to train on, to fit probes on and to test probes on."""
    train, test = store.splits["train"], store.splits.get("test")
    if train.labels is None:
        return train, None, test
    labelled = int((train.labels >= 0).sum())
    if labelled == len(train):
        return train, train, test
    # STL-10: the labelled images come first, the others follow and are marked −1
    first = Images(train.pixels[:labelled], train.labels[:labelled])
    return dataclasses.replace(train, labels=None), first, test


def existing_folder(source: str) -> Path:
    """Return the absolute path of a folder of images.

    Raises:
        UserError: there is none, with the named data set that may have been meant.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return Path(os.path.abspath(folder))
    if folder.exists():
        raise UserError(
            f"--data {printable(source)}: this is a file; give the folder that holds the images"
        )
    names = sorted(NAMED)
    near = difflib.get_close_matches(source.lower(), names, n=1, cutoff=0.6)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else f"give a folder of images or one of {', '.join(names)}"
    )
    raise UserError(f"--data {printable(source)}: no such folder; {hint}")


def folder_name(folder: Path) -> str:
    """Return a folder's name in letters, digits, - and _, fit for the name of a data set."""
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in printable(folder.name))[:40]
    return name or "images"


def _shapes(config: DataConfig, size: int) -> _Source:
    counts = {"train": config.shapes_train, "test": config.shapes_test}
    starts = {"train": 0, "test": shapes.TEST_START}

    def plan() -> Plan:
        splits = {
            name: Split(
                count,
                partial(_shape_chunks, starts[name], count, size),
                labelled=True,
                segmented=True,
            )
            for name, count in counts.items()
            if count
        }
        return Plan(splits, tuple(shapes.CLASSES))

    identity = f"{shapes.VERSION} {SHAPES_SEED} {counts['train']} {counts['test']}"
    return _Source("shapes", identity, plan, (shapes.MEAN, shapes.STD))


def _shape_chunks(start: int, count: int, size: int) -> Iterator[Chunk]:
    def draw(first: int) -> Chunk:
        last = min(first + SHAPES_CHUNK, start + count)
        return Chunk(*shapes.generate(SHAPES_SEED, np.arange(first, last), size))

    workers = os.cpu_count() or 1
    firsts = range(start, start + count, SHAPES_CHUNK)
    with ThreadPoolExecutor(workers) as pool:
        for i in range(0, len(firsts), workers):  # in groups: no more than that waits in memory
            yield from pool.map(draw, firsts[i : i + workers])
