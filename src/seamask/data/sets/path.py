"""The source that is a path: a folder of images, in Pascal VOC layout or any other."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seamask.base.errors import UserError, printable
from seamask.base.paths import local
from seamask.data.registry import SOURCES, About, Source
from seamask.data.sets.folder import Layout, read_layout
from seamask.data.sets.objects import ObjectMaps, find_object_maps
from seamask.data.sets.voc import VocLayout, is_voc, read_voc
from seamask.data.store.chunks import Reading
from seamask.data.store.plan import Plan

VERSION = "2"  # of what is made of a folder's files: labels, and values of more than 8 bits

if TYPE_CHECKING:
    from seamask.data.settings import DataConfig


def path(config: DataConfig, size: int, seed: int) -> Source:
    """Return the source that is the folder `config.source`.

    Raises:
        UserError: no such folder, or no images in it.
    """
    folder = existing_folder(config.source)
    layout = (
        read_voc(folder)
        if is_voc(folder)
        else read_layout(folder, config.holdout, seed, config.split)
    )
    name = folder_name(folder)
    source = of_layout(name, config, size, lambda: layout, len(layout.names), VERSION)
    return replace(source, whole=layout.whole) if isinstance(layout, VocLayout) else source


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


def existing_folder(source: str) -> Path:
    """Return the absolute path of a folder of images.

    Raises:
        UserError: there is none, with the named data set that may have been meant.
    """
    folder = local(source, "--data")
    if folder.is_dir():
        return Path(os.path.abspath(folder))
    if folder.exists():
        raise UserError(
            f"--data {printable(source)}: this is a file; give the folder that holds the images"
        )
    names = sorted(SOURCES)
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
