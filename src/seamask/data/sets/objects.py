"""Object masks of one's own: label images in a folder, named like the images they belong to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from seamask.base.errors import UserError, printable
from seamask.data.files.identity import Entry, identity
from seamask.data.files.maps import read_map, refuse_binary


@dataclass(frozen=True)
class ObjectMaps:
    """The label images of some images.

    Attributes:
        root: of the images.
        paths: the label image of each image, whose path is relative to `root`.
        fingerprint: sha256 hex of what every label image is; see `identity`.
    """

    root: Path
    paths: dict[str, Path]
    fingerprint: str

    def read(self, path: str, image: Image.Image) -> Image.Image:
        """Return an image's objects, mode L, of its size; see `chunks.ObjectsOf`.

        Raises:
            BadImage: it cannot be read, or marks pixels but none as an object.
            UserError: it is of another size than its image.
        """
        objects = read_map(self.paths[path], image, self.root / path)
        refuse_binary(self.paths[path], np.asarray(objects))
        return objects


def find_object_maps(folder: Path, root: Path, names: Mapping[str, str], cache: Path) -> ObjectMaps:
    """Find the label images `folder/<name>.png`.

    Args:
        folder: of the label images, outside what is trained on.
        root: of the images.
        names: of each image, by its path relative to `root`.
        cache: see `identity`.

    Raises:
        UserError: no such folder, one whose PNGs are trained on, or an image without a label image.
    """
    said = f"--data.objects {printable(folder)}"
    if not folder.is_dir():
        raise UserError(f"{said}: no such folder; give the one that holds the label images")
    inside = Path(os.path.relpath(folder.resolve(), root.resolve()))
    if any(Path(path).is_relative_to(inside) for path in names):
        raise UserError(
            f"{said}: images to train on lie in it, so that label images would be trained on too; "
            "move the label images to a folder outside --data"
        )
    paths = {path: folder / f"{name}.png" for path, name in names.items()}
    listing = {path: Entry.of(names[path], label_image) for path, label_image in paths.items()}
    if absent := [path for path, entry in listing.items() if entry.size < 0]:
        raise UserError(
            f"{said}: {printable(names[absent[0]])}.png is missing, the label image of "
            f"{printable(absent[0])} ({len(absent)} of {len(paths)} are); put it there, black "
            "where the image shows no object"
        )
    return ObjectMaps(root, paths, identity(listing.values(), cache))
