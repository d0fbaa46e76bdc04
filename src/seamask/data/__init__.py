"""Where images come from: data sets and folders, packed once, and batches of them on a device."""

from seamask.data.batches import Loader, is_resident, permutation
from seamask.data.decode import read_image
from seamask.data.derived import cached_maps
from seamask.data.imagenet100s import make_imagenet100s
from seamask.data.segmentation import Segmentation, load_segmentation
from seamask.data.sources import NAMED, Data, load
from seamask.data.store import Images

__all__ = [
    "NAMED", "Data", "Images", "Loader", "Segmentation", "cached_maps", "is_resident", "load",
    "load_segmentation", "make_imagenet100s", "permutation", "read_image",
]  # fmt: skip
