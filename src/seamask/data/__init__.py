"""Where images come from: data sets and folders, packed once, and batches of them on a device.

`sets/` has one file for each data set and one for folders, `files/` reads image files, `store/`
packs images and brings batches of them to a device. A data set of one's own is a function in
`SOURCES`; it needs `Source`, `Plan`, `Split` and, for its images, `array_chunks`, `file_chunks` or
`Chunk`.
"""

from typing import TYPE_CHECKING

from seamask.base.lazy import lazily

if TYPE_CHECKING:
    from seamask.data.files.decode import read_image as read_image
    from seamask.data.files.maps import VOID as VOID
    from seamask.data.registry import Normalization as Normalization
    from seamask.data.registry import Source as Source
    from seamask.data.segmentation import Segmentation as Segmentation
    from seamask.data.segmentation import load_segmentation as load_segmentation
    from seamask.data.sets.imagenet100s import make_imagenet100s as make_imagenet100s
    from seamask.data.settings import DataConfig as DataConfig
    from seamask.data.sources import SOURCES as SOURCES
    from seamask.data.sources import Data as Data
    from seamask.data.sources import find_source as find_source
    from seamask.data.sources import load as load
    from seamask.data.store.chunks import array_chunks as array_chunks
    from seamask.data.store.chunks import file_chunks as file_chunks
    from seamask.data.store.derived import cached_maps as cached_maps
    from seamask.data.store.loader import Loader as Loader
    from seamask.data.store.loader import is_resident as is_resident
    from seamask.data.store.loader import permutation as permutation
    from seamask.data.store.packed import Images as Images
    from seamask.data.store.plan import Chunk as Chunk
    from seamask.data.store.plan import Plan as Plan
    from seamask.data.store.plan import Split as Split

# The settings are here, too, and are asked for where torch must not be waited for.
__getattr__ = lazily(
    __name__,
    {
        "files.decode": "read_image",
        "files.maps": "VOID",
        "registry": "Normalization Source",
        "segmentation": "Segmentation load_segmentation",
        "sets.imagenet100s": "make_imagenet100s",
        "settings": "DataConfig",
        "sources": "SOURCES Data find_source load",
        "store.chunks": "array_chunks file_chunks",
        "store.derived": "cached_maps",
        "store.loader": "Loader is_resident permutation",
        "store.packed": "Images",
        "store.plan": "Chunk Plan Split",
    },
)
