"""Pascal VOC 2012, placed and downloaded by torchvision, and the extra annotations of SBD."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seamask.base.errors import UserError, printable
from seamask.data.registry import SOURCES, Source
from seamask.data.sets.download import Archive, read_or_download
from seamask.data.sets.path import of_layout
from seamask.data.sets.voc import Item, VocLayout, read_names, read_voc

if TYPE_CHECKING:
    from seamask.data.settings import DataConfig

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
IMAGES = 1464  # to train on
# torchvision's download makes the first, SBD's own archive the second
SBD_FOLDERS = ("sbd", "benchmark_RELEASE/dataset")


@SOURCES.register("voc2012")
def voc2012(config: DataConfig, size: int, seed: int) -> Source:
    """Return the source, below `config.root`; `seed` changes nothing."""
    root = Path(config.root).expanduser()
    read = functools.cache(partial(read_voc2012, root))
    source = of_layout("voc2012", config, size, read, IMAGES)
    return dataclasses.replace(
        source,
        whole=lambda ranges: read().whole(ranges),
        class_maps=lambda: _with_sbd(root, read()),
    )


def read_voc2012(root: Path) -> VocLayout:
    """Read VOC 2012 from `root/VOCdevkit/VOC2012`, downloading it to there if need be.

    Raises:
        UserError: it is not there, or not whole, and cannot be downloaded.
    """
    import torchvision.datasets  # slow to import: not before it is needed
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    published = DATASET_YEAR_DICT["2012"]

    def read(download: bool) -> VocLayout:
        torchvision.datasets.VOCSegmentation(root, year="2012", download=download)
        layout = read_voc(root / published["base_dir"])
        return dataclasses.replace(_whole(layout), classes=CLASSES)

    archive = Archive(published["filename"], published["url"])
    return read_or_download("voc2012", root, archive, read)


def _with_sbd(root: Path, layout: VocLayout) -> VocLayout:
    own = {item.name for item in layout.train + (layout.val or ())}
    return dataclasses.replace(layout, train=layout.train + read_sbd(root, own))


def _whole(layout: VocLayout) -> VocLayout:
    """Refuse a folder that was unpacked by half."""
    if layout.val is None:
        raise RuntimeError("ImageSets/Segmentation/val.txt is missing")
    for item in layout.train + layout.val:
        for kind, path in (("Class", item.classes), ("Object", item.objects)):
            if path is None:
                raise RuntimeError(f"Segmentation{kind}/{item.name}.png is missing")
    return layout


def read_sbd(root: Path, exclude: Collection[str]) -> tuple[Item, ...]:
    """List SBD's images with their class maps (Hariharan et al. 2011), if it lies under `root`.

    Its layout is `img/*.jpg`, `cls/*.mat` and lists. `train_noval.txt` is taken where it is there
    (torchvision's; it is not in SBD's own archive), else `train.txt` and `val.txt` together, which
    with VOC's own images makes the customary 10,582 ("trainaug").

    Args:
        root: holds one of `SBD_FOLDERS`; without any, nothing is added.
        exclude: names that are left out: VOC's own, which keep VOC's annotation and split.

    Raises:
        UserError: it is not whole.
    """
    folder = next((root / name for name in SBD_FOLDERS if (root / name).is_dir()), None)
    if folder is None:
        return ()
    names = read_names(folder / "train_noval.txt")
    if names is None:
        parts = [read_names(folder / f"{part}.txt") for part in ("train", "val")]
        if None in parts:
            raise _not_whole(folder, "train_noval.txt, or train.txt and val.txt,")
        names = list(dict.fromkeys(name for part in parts for name in part or ()))
    items = []
    for name in names:
        if name not in exclude:
            item = Item(name, folder / "img" / f"{name}.jpg", folder / "cls" / f"{name}.mat", None)
            for path in (item.image, item.classes):
                if path and not path.exists():
                    raise _not_whole(folder, printable(path.relative_to(folder)))
            items.append(item)
    return tuple(items)


def _not_whole(folder: Path, what: str) -> UserError:
    return UserError(
        f"{printable(folder)} is not a whole copy of SBD: {what} is missing; unpack benchmark.tgz "
        "again, or move the folder away to do without SBD's extra annotations"
    )
