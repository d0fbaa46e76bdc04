"""The source that is a path: images in a folder, in Pascal VOC layout or any other, or archives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from seamask.base.paths import local
from seamask.data.archives.find import existing, find_files, source_name
from seamask.data.registry import About, Source
from seamask.data.sets.folder import Layout, layout_of
from seamask.data.sets.objects import ObjectMaps, find_object_maps
from seamask.data.sets.packed import is_packed, packed
from seamask.data.sets.voc import VocLayout, is_voc, read_voc
from seamask.data.store.chunks import Reading
from seamask.data.store.plan import Plan

TIFFS = "2"  # 1: some of 0 for white were not inverted, some turned ones scrambled
VERSION = "2"  # of what is made of a folder's files: labels, and values of more than 8 bits

if TYPE_CHECKING:
    from seamask.data.settings import DataConfig


def path(config: DataConfig, size: int, seed: int) -> Source:
    """Return the source that `config.source` is the path of.

    Raises:
        UserError: there is nothing, or no images in it.
    """
    root = existing(config.source)
    if is_packed(root):
        return packed(root, config)
    if is_voc(root):
        layout: Layout | VocLayout = read_voc(root)
    else:
        files = find_files(config.source, local(config.cache, "--data.cache"))
        layout = layout_of(files, config.holdout, seed, config.split)
    name = source_name(root)
    if isinstance(layout, VocLayout):
        names = [*layout.names, *(item.image.name for item in layout.scored)]
    else:
        names = layout.files.names
    tiffs = any(name.lower().endswith((".tif", ".tiff")) for name in names)
    version = f"{VERSION}, TIFFs {TIFFS}" if tiffs else VERSION
    source = of_layout(name, config, size, lambda: layout, len(layout.names), version)
    source = replace(source, normalization=None)
    if not isinstance(layout, VocLayout):
        return source
    maps = (lambda: layout) if (root / "SegmentationClass").is_dir() else None
    return replace(source, whole=layout.whole, class_maps=maps)


def of_layout(
    name: str,
    config: DataConfig,
    size: int,
    read: Callable[[], Layout | VocLayout],
    images: int | None,
    version: str = "",
) -> Source:
    """Return the source of a folder's images, with the object masks of `config.objects`, if any.

    Args:
        name: of the data set.
        config: the settings.
        size: side of the stored images in pixels.
        read: lists the folder; called when that is needed, once.
        images: training images, if that is known.
        version: of how such folders are read, part of the identity.
    """
    reading = Reading(config.on_bad_image == "stop", config.jpeg == "exact")
    cache = local(config.cache, "--data.cache")
    layout = functools.cache(read)

    @functools.cache
    def maps() -> ObjectMaps | None:
        if not config.objects:
            return None
        folder = local(config.objects, "--data.objects")
        return find_object_maps(folder, layout().root, layout().names, cache)

    def identity() -> str:
        found = maps()
        parts = [version, layout().fingerprint(cache), found.fingerprint if found else ""]
        return " ".join(part for part in parts if part)

    def plan() -> Plan:
        found = maps()
        return layout().plan(size, reading, found.read if found else None)

    def about() -> About:
        return About(layout().split, layout().notes)

    return Source(name, identity, plan, images=images, takes_objects=True, about=about)
