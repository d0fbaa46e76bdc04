"""What a source of images is, and the registry of those that have a name.

@SOURCES.register("mine", MineSettings)
def mine(config: MineSettings, size: int, seed: int) -> Source: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from seamask.base.registry import Registry
from seamask.base.settings import MOST_PIXELS, Within
from seamask.data.files.depth import Ranges
from seamask.data.normalize import IMAGENET, Normalization
from seamask.data.sets.voc import VocLayout
from seamask.data.store.plan import Plan
from seamask.data.whole import WholeImages


@dataclass(frozen=True)
class About:
    """What a source says of its images.

    Attributes:
        split: what is held out, by the name that its makers or its folder give it.
        notes: what became of images and labels that one might miss, a line each.
    """

    split: str = "test"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class HeldOut:
    """Which images of a folder without `val/` are held out.

    Attributes:
        seed: by which they were drawn.
        share: of each class.
        size: side in pixels at which its images are stored.
        fingerprint: of its images; empty: not known.
        settings: of the data, besides: those that are part of the fingerprint.
    """

    seed: Annotated[int, Within(0)] = 0
    share: Annotated[float, Within(0, 1)] = 0.1
    size: Annotated[int, Within(0, MOST_PIXELS)] = 0
    fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where the images of a data set come from.

    That of a data set with a name is made without a look at its files, which need not be there.

    Attributes:
        name: in letters, digits, - and _.
        identity: return a text that changes when an image does (by its size and a sample of its
            bytes), and not where they are moved or copied: a store is kept for each.
            Raises `UserError` where there are no such images.
        plan: say how its store is made, downloading it first where need be; called only if it must
            be. Raises `UserError` where that is impossible.
        images: training images, unreadable ones included; None where that is not known yet.
        normalization: of its images; None: their own, computed while the store is made.
        takes_objects: its training images get the object masks of `--data.objects`.
        main_object: object 1 of an image of its store is what the image's label names, so that a
            class is known for every pixel: 0 is background, other objects are ignored.
        class_maps: list images with a map of classes each, for segmentation; see
            `load_segmentation`. Raises `UserError` where there are none.
        about: say what is held out, and what became of the rest; called after `identity`.
        packed: the store, where it is made already; then `identity` is the fingerprint itself.
        held_out: what was, where the store is made already.
        jpeg: how its JPEGs were decoded (`--data.jpeg`), where the store is made already.
        whole: list what masks are scored on, whole and at their own sizes, given the ranges of the
            store; None: the squares of the store are all there is.
    """

    name: str
    identity: Callable[[], str]
    plan: Callable[[], Plan]
    normalization: Normalization | None = IMAGENET
    images: int | None = None
    takes_objects: bool = False
    main_object: bool = False
    class_maps: Callable[[], VocLayout] | None = None
    about: Callable[[], About] = About
    packed: Path | None = None
    held_out: HeldOut | None = None
    jpeg: str = ""
    whole: Callable[[Ranges], WholeImages] | None = None


SOURCES: Registry[Callable[[Any, int, int], Source]] = Registry("data set", "data")
"""Functions of the settings (`DataConfig`), the side of the stored images in pixels and the seed.

Ask `seamask.data` for it: it is filled there."""
