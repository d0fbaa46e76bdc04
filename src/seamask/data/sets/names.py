"""What the name of a folder says of the images in it: a split, label images, or nothing."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["train", "val", "test"]

SPLITS: dict[str, Kind] = {
    "train": "train", "training": "train", "trn": "train", "trainset": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "valset": "val",
    "eval": "val", "evaluation": "val", "holdout": "val",
    "test": "test", "testing": "test", "tst": "test", "testset": "test",
}  # fmt: skip
IMAGES = frozenset({
    "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "frame", "frames",
    "jpg", "jpeg", "jpegs", "png", "pngs", "rgb", "data",
})  # fmt: skip
MAPS = frozenset({
    "mask", "masks", "label", "labels", "labelmap", "labelmaps", "annotation", "annotations",
    "annot", "annots", "segmentation", "segmentations", "seg", "segs", "groundtruth", "gt", "gts",
    "matte", "mattes", "trimap", "trimaps", "depth", "depths", "disparity", "disparities",
})  # fmt: skip
BESIDE = frozenset({"set", "sets", "split", "folder", "class", "object", "binary", "raw"})
MAP_OF = re.compile(rf"(?P<image>.+?)[-_. ]({'|'.join(sorted(MAPS))})([-_ ]?\d+)?", re.IGNORECASE)


def split_of(name: str) -> Kind | None:
    """Return the split that a folder's name means: `Train`, `val2017`, `test_images`."""
    words = [word for word in _words(name) if word not in IMAGES | BESIDE]
    return SPLITS.get(words[0]) if len(words) == 1 else None


def split_in(name: str) -> Kind | Literal[""]:
    """Return the split that the name of a file says among others: `train-00000-of-00002`."""
    found = {SPLITS[word] for word in _words(name) if word in SPLITS}
    return found.pop() if len(found) == 1 else ""


def holds_images(name: str) -> bool:
    """Say whether a folder's name only says that there are images in it: `images`, `JPEGImages`."""
    words = _words(name)
    return bool(words) and set(words) <= IMAGES | BESIDE and bool(set(words) & IMAGES)


def holds_maps(name: str) -> bool:
    """Say whether a folder's name says that it holds label images: `masks`, `train_labels`."""
    words = _words(name)
    return set(words) <= MAPS | IMAGES | BESIDE | set(SPLITS) and bool(set(words) & MAPS)


def _words(name: str) -> list[str]:
    """Return the words of a name, in small letters, without numbers: `val2017` is `val`."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+", name.replace("_", " "))
    return [part.lower() for part in parts]
