"""Where images come from: data sets and folders, packed once, and batches of them on a device.

`sets/` has one file for each data set and one for folders, `files/` reads image files, `store/`
packs images and brings batches of them to a device. A data set of one's own is a function in
`SOURCES`; it needs `Source`, `Plan`, `Split` and, for its images, `array_chunks`, `file_chunks` or
`Chunk`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
