"""From the settings to images that can be trained on."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from seamask.base.errors import UserError, printable
from seamask.base.paths import local
from seamask.data.files.decode import allow
from seamask.data.files.depth import Ranges
from seamask.data.normalize import Normalization, Normalize, imagenet
from seamask.data.registry import SOURCES, HeldOut, Source
from seamask.data.sets import (  # noqa: F401 (each registers itself)
    imagenet100s,
    inaturalist,
    saliency,
    shapes,
    torchvision_sets,
    voc2012,
    voc_boxes,
)
from seamask.data.sets.names import split_of
from seamask.data.sets.packed import is_begun, open_packed, pack_into
from seamask.data.sets.path import path
from seamask.data.settings import DataConfig
from seamask.data.store.chunks import bad_image
from seamask.data.store.levels import levels_of, mean_and_std
from seamask.data.store.packed import FORMAT, Images, Store, open_or_build
from seamask.data.whole import WholeImages

__all__ = ["SOURCES", "Data", "choose", "find_source", "load"]


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, ready to train on.

    Attributes:
        train: what is pretrained on; labels, if any, are for probes only.
        probe_train: labelled images that probes are fitted on: `train` itself, or its labelled
            part.
        probe_test: images with labels or object masks that are never trained on; only of a folder
            in Pascal VOC layout without a `val.txt` they are the training images themselves,
            without labels.
        fingerprint: sha256 hex of what the images are.
        skipped: (path, reason) of images that could not be used.
        split: what `probe_test` is, by the name that its makers or its folder give it.
        held_out: by which draw, where it is part of a folder without `val/`.
        notes: what became of images and labels that one might miss, a line each.
        ranges: {kind of image: what is shown black and white}, of more than 8 bits a value.
        jpeg: how JPEGs were decoded, `fast` or `exact`.
        whole: what masks are scored on, whole and at their own sizes, with the objects; None: the
            squares of `probe_test` are all there is.
    """

    name: str
    train: Images
    probe_train: Images | None
    probe_test: Images | None
    classes: tuple[str, ...]
    normalization: Normalization
    fingerprint: str
    skipped: tuple[tuple[str, str], ...] = ()
    split: str = "test"
    held_out: HeldOut = field(default_factory=HeldOut)
    notes: tuple[str, ...] = ()
    ranges: Ranges = field(default_factory=dict)
    jpeg: str = "fast"
    whole: WholeImages | None = None

    @property
    def chance(self) -> float | None:
        """The accuracy in % on `probe_test` of always naming the commonest class of `probe_train`.

        None without labels.
        """
        fit, test = self.probe_train, self.probe_test
        if fit is None or test is None or fit.labels is None or test.labels is None:
            return None
        return 100 * float((test.labels == fit.labels.bincount().argmax()).float().mean())


def load(config: DataConfig, image_size: int, seed: int = 0, progress: bool = True) -> Data:
    """Open a data set, decoding it into the cache first where that has not been done.

    Args:
        config: which data, and how.
        image_size: side in pixels at which images are stored unless `config.size` says otherwise.
        seed: of the choice of `config.limit` images, and of what a labelled folder without
            `val/` or `test/` holds out. The generated shapes do not depend on it.
        progress: show progress on stderr.

    Raises:
        UserError: no such data set or folder, nothing readable in it, no such split, an unreadable
            image where these stop the run, a download that is impossible, or a cache that cannot be
            written.
    """
    config.normalize.check_channels(config.channels)
    size = config.size or image_size
    source = find_source(config, size, seed)
    allow(config.max_megapixels)
    fingerprint = fingerprint_of(source, config, size)
    about = source.about()
    if config.split not in ("auto", split_of(about.split)):
        raise UserError(
            f"--data.split {config.split}: what {source.name} holds out is "
            f"{about.split or 'nothing'}; leave it out"
        )
    if source.packed:
        store = open_packed(source.packed, progress)
    else:
        folder = place_in_cache(source, fingerprint, config, size)
        if is_begun(folder, fingerprint):
            pack_into(folder, source, fingerprint, config, size, seed, progress)
        store = open_or_build(folder, size, source.plan, source.name, progress)
    if store.skipped and config.on_bad_image == "stop":
        raise bad_image(*store.skipped[0])
    train, probe_train, probe_test = _splits(store)
    if 0 < config.limit < len(train):
        shared = probe_train is train
        train = train.take(choose(len(train), config.limit, seed))
        probe_train = train if shared else probe_train
    return Data(
        source.name, train, probe_train, probe_test, store.classes,
        _normalization(config.normalize, source, store),
        fingerprint, store.skipped, about.split if probe_test else "",
        source.held_out or held_out_by(config, seed, size, fingerprint),
        (*about.notes, *store.remarks), store.ranges, source.jpeg or config.jpeg,
        source.whole(store.ranges) if source.whole else None,
    )  # fmt: skip


def place_in_cache(source: Source, fingerprint: str, config: DataConfig, size: int) -> Path:
    """Return where the store of a source is in the cache, or will be."""
    cache, name = local(config.cache, "--data.cache"), f"{fingerprint[:16]}-{size}"
    stored = sorted(cache.glob(f"[!.]*-{name}"))  # of images whose folder had another name, too
    return stored[0] if stored else cache / f"{source.name}-{name}"


def _normalization(asked: Normalize, source: Source, store: Store) -> Normalization:
    """Return what images are normalised by: what is asked for, else what the source says."""
    channels = store.splits["train"].pixels.shape[-1]
    if asked.by == "given":
        return Normalization(*(v * channels if len(v) == 1 else v for v in (asked.mean, asked.std)))
    if asked.by == "imagenet":
        return imagenet(channels)
    if asked.by == "auto" and source.normalization is not None and channels == 3:
        return source.normalization
    levels = store.levels or levels_of(store.splits["train"].pixels.numpy())  # stores of before
    return Normalization(*mean_and_std(levels))


def fingerprint_of(source: Source, config: DataConfig, size: int) -> str:
    """Return sha256 hex of what the images of a source are, stored at a size by these settings."""
    if source.packed:
        return source.identity()
    name = source.name if config.source in SOURCES else ""  # a folder may be moved to another name
    text = f"{FORMAT} {name} {size} {source.identity()}"
    if config.max_megapixels != DataConfig.max_megapixels:  # another limit skips others
        text += f" {config.max_megapixels}"
    if config.jpeg != DataConfig.jpeg:  # other pixels
        text += f" {config.jpeg}"
    if config.channels != DataConfig.channels:
        text += f" {config.channels} channel"
    return hashlib.sha256(text.encode()).hexdigest()


def held_out_by(config: DataConfig, seed: int, size: int, fingerprint: str) -> HeldOut:
    """Return what is held out of a folder by these settings."""
    settings = {name: getattr(config, name) for name in ("jpeg", "max_megapixels", "split")}
    return HeldOut(seed, config.holdout, size, fingerprint, settings)


def find_source(config: DataConfig, size: int, seed: int = 0) -> Source:
    """Return the source that settings name: one of `SOURCES`, or else a folder.

    Args:
        config: the settings.
        size: side in pixels at which images are stored.
        seed: see `load`.

    Raises:
        UserError: neither, or `config.objects` of a source that takes none.
    """
    if config.source in SOURCES:
        source = SOURCES[config.source](config, size, seed)
    else:
        source = path(config, size, seed)
    if config.objects and not source.takes_objects:
        raise UserError(
            f"--data.objects {printable(config.objects)}: {config.source} is no folder whose "
            "images label images could be named after; leave it out, or give a folder as --data"
        )
    plan = source.plan
    return dataclasses.replace(source, plan=lambda: plan().with_channels(config.channels))


def choose(n: int, limit: int, seed: int) -> Tensor:
    """Choose `limit` of `n` images, all if it is 0: int64, ascending."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(n, generator=generator)[: limit or n].sort().values


def _splits(store: Store) -> tuple[Images, Images | None, Images | None]:
    """Return the images to train on, to fit probes on and to test probes on."""
    train, test = store.splits["train"], store.splits.get("test")
    if train.labels is None:
        return train, None, test
    labelled = int((train.labels >= 0).sum())
    if labelled == len(train):
        return train, train, test
    # The labelled images come first, the others follow and are marked −1.
    first = Images(train.pixels[:labelled], train.labels[:labelled])
    return dataclasses.replace(train, labels=None), first, test
