"""Pascal VOC 2007 and 2012 trainval with the boxes of all objects: what CorLoc is measured on."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from seamask.base.errors import UserError, printable
from seamask.base.paths import local
from seamask.data.files.decode import opened
from seamask.data.files.identity import Entry, identity
from seamask.data.registry import SOURCES, About, Source
from seamask.data.sets.download import Archive, read_or_download
from seamask.data.store.chunks import Reading, file_split
from seamask.data.store.plan import Plan
from seamask.data.whole import Boxes, Whole, WholeImages

if TYPE_CHECKING:
    from seamask.data.settings import DataConfig

IMAGES = {"2007": 5011, "2012": 11540}
LIST = "trainval"


@dataclass(frozen=True)
class Annotated:
    """Images with their boxes.

    Attributes:
        root: of the year: holds `JPEGImages/` and `Annotations/`.
        names: of the images that `ImageSets/Main/trainval.txt` lists.
    """

    root: Path
    names: tuple[str, ...]

    def image(self, name: str) -> Path:
        """Return where an image lies."""
        return self.root / "JPEGImages" / f"{name}.jpg"

    def boxes(self, name: str) -> Path:
        """Return where its boxes lie."""
        return self.root / "Annotations" / f"{name}.xml"

    def whole(self) -> WholeImages:
        """Return all images whole, with the boxes of all objects, difficult ones included."""

        def read(index: int) -> Whole:
            name = self.names[index]
            boxes = read_boxes(self.boxes(name))
            with opened(self.image(name)) as image:
                return Whole(np.array(image), None, boxes)

        return WholeImages(len(self.names), read)


def voc_boxes(config: DataConfig, size: int, seed: int, year: str) -> Source:
    """Return the source, below `config.root`; `seed` changes nothing."""
    name, root = f"voc{year}-trainval", local(config.root, "--data.root")
    read = functools.cache(lambda: read_voc_boxes(name, year, root))
    reading = Reading(config.on_bad_image == "stop", config.jpeg == "exact")

    def files() -> str:
        found = read()
        listing = [
            Entry.of(path.name, path)
            for stem in found.names
            for path in (found.image(stem), found.boxes(stem))
        ]
        return identity(listing, local(config.cache, "--data.cache"))

    def plan() -> Plan:
        found = read()
        paths = [f"JPEGImages/{stem}.jpg" for stem in found.names]
        return Plan({"train": file_split(found.root, paths, None, size, reading)})

    return Source(
        name, files, plan, images=IMAGES[year], about=lambda: About(""),
        whole=lambda _: read().whole(),
    )  # fmt: skip


for _year in IMAGES:
    SOURCES.register(f"voc{_year}-trainval")(partial(voc_boxes, year=_year))


def read_voc_boxes(name: str, year: str, root: Path) -> Annotated:
    """List VOC's `trainval` in `root/VOCdevkit/VOC<year>`, downloading it to there if need be.

    Raises:
        UserError: it is not there, or not whole, and cannot be downloaded.
    """
    import torchvision.datasets  # slow to import: not before it is needed
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    published = DATASET_YEAR_DICT[year]

    def read(download: bool) -> Annotated:
        listed = torchvision.datasets.VOCDetection(root, year, LIST, download=download)
        names = tuple(Path(path).stem for path in listed.images)
        found = Annotated(root / published["base_dir"], names)
        for stem in names:
            for path in (found.image(stem), found.boxes(stem)):
                if not path.exists():
                    raise RuntimeError(f"{path.parent.name}/{path.name} is missing")
        return found

    return read_or_download(name, root, Archive(published["filename"], published["url"]), read)


def read_boxes(path: Path) -> Boxes:
    """Return the boxes of an annotation of Pascal VOC; see `Whole`.

    There the first pixel is 1 and the last belongs to the box.

    Raises:
        UserError: it is no such file.
    """
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
        sides = ("xmin", "ymin", "xmax", "ymax")
        # Some of 2011's numbers are written as 45.70000076293945.
        rows = [[round(float(o.findtext(f"bndbox/{side}", ""))) for side in sides] for o in objects]
    except (ElementTree.ParseError, ValueError, OverflowError) as error:
        raise UserError(
            f"cannot read {printable(path)}: no annotation of Pascal VOC ({error}); replace it"
        ) from error
    boxes: Boxes = np.array(rows, np.int64).reshape(-1, 4) - np.array([1, 1, 0, 0])
    return boxes
