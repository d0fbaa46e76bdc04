"""ECSSD, DUTS-TE and DUT-OMRON: photos and what is salient in them, in their published layouts."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from seamask.base.errors import UserError, printable
from seamask.base.paths import local
from seamask.data.registry import SOURCES, Source
from seamask.data.sets.path import of_layout
from seamask.data.sets.voc import Item, VocLayout, list_files

if TYPE_CHECKING:
    from seamask.data.settings import DataConfig


@dataclass(frozen=True)
class Published:
    """A data set as its authors publish it.

    Attributes:
        folders: below `--data.root`, one of them holds both parts; the root itself may.
        images: folder of the photos, `*.jpg`.
        maps: folder of the maps, `*.png` of the photos' names, white = salient.
        count: of the photos.
        archives: that are to be unpacked.
    """

    folders: tuple[str, ...]
    images: str
    maps: str
    count: int
    archives: tuple[str, ...]


_ECSSD = "http://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/data/ECSSD"
_DUT = "http://saliencydetection.net"
SETS = {
    # Yan et al. 2013, Shi et al. 2016
    "ecssd": Published(
        ("ECSSD",), "images", "ground_truth_mask", 1000,
        (f"{_ECSSD}/images.zip", f"{_ECSSD}/ground_truth_mask.zip"),
    ),
    # Wang et al. 2017, its test images
    "duts-te": Published(
        ("DUTS-TE", "DUTS/DUTS-TE", "DUTS"), "DUTS-TE-Image", "DUTS-TE-Mask", 5019,
        (f"{_DUT}/duts/download/DUTS-TE.zip",),
    ),
    # Yang et al. 2013
    "dut-omron": Published(
        ("DUT-OMRON",), "DUT-OMRON-image", "pixelwiseGT-new-PNG", 5168,
        (
            f"{_DUT}/dut-omron/download/DUT-OMRON-image.zip",
            f"{_DUT}/dut-omron/download/DUT-OMRON-gt-pixelwise.zip.zip",
        ),
    ),
}  # fmt: skip


def saliency(config: DataConfig, size: int, seed: int) -> Source:
    """Return the source `ecssd`, `duts-te` or `dut-omron`, below `config.root`.

    All its images are scored; they are also what a pretraining on it would see, without the maps.
    `seed` changes nothing.
    """
    name, root = config.source, local(config.root, "--data.root")
    read = functools.cache(lambda: read_saliency_set(name, root))
    source = of_layout(name, config, size, read, SETS[name].count)
    return replace(source, whole=lambda ranges: read().whole(ranges))


for _name in SETS:
    SOURCES.register(_name)(saliency)


def read_saliency_set(name: str, root: Path) -> VocLayout:
    """List a data set of `SETS` below a folder.

    Raises:
        UserError: it is not there, or not whole; with what is to be put where.
    """
    published = SETS[name]
    parts = (published.images, published.maps)
    folders = [root / below for below in (*published.folders, "")]
    folder = next((f for f in folders if all((f / part).is_dir() for part in parts)), None)
    if folder is None:
        raise UserError(
            f"--data {name}: {printable(folders[0])} holds no {parts[0]} and {parts[1]}; unpack "
            f"{' and '.join(published.archives)} there, or name another folder with --data.root"
        )
    images = list_files(folder / published.images, [".jpg"])
    maps = list_files(folder / published.maps, [".png"])
    for there, others, part, end in (
        (images, maps, published.maps, "png"),
        (maps, images, published.images, "jpg"),
    ):
        if absent := [stem for stem in there if stem not in others]:
            raise UserError(
                f"--data {name}: {printable(folder / part)} has no {printable(absent[0])}.{end} "
                f"({len(absent)} of {len(there)} are missing); unpack "
                f"{' and '.join(published.archives)} again"
            )
    if not images:
        raise UserError(f"--data {name}: {printable(folder / published.images)} holds no images")
    items = tuple(Item(stem, image, None, maps[stem]) for stem, image in images.items())
    few = f"{len(items):,} images, of {published.count:,} that are published"
    notes = (few,) * (len(items) != published.count)
    return VocLayout(folder, items, None, True, (), notes, saliency=True)
