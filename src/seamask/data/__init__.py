"""Where images come from: data sets and folders, packed once, and batches of them on a device."""

from seamask.data.batches import Loader, is_resident, permutation
from seamask.data.decode import read_image
from seamask.data.sources import NAMED, Data, load
from seamask.data.store import Images

__all__ = ["NAMED", "Data", "Images", "Loader", "is_resident", "load", "permutation", "read_image"]
