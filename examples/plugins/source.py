"""A data set: images from one `.npz` file, with the names of arrays that MedMNIST gives them.

    seamask pretrain --plugin examples/plugins/source.py --data npz \
        --data.root path/to/folder --data.npz-file pathmnist.npz

`train_images` and, where there are some, `test_images` are uint8 `[n, H, W]` or `[n, H, W, 3]`;
`train_labels` and `test_labels` are classes from 0 on, int `[n]` or `[n, 1]` (Yang et al. 2023).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from seamask.base.errors import UserError
from seamask.data import SOURCES, AnyData, Plan, Source, Split, array_chunks


@dataclass(frozen=True)
class NpzSettings(AnyData):
    """Settings of `npz` alone."""

    npz_file: str = "images.npz"
    """`npz` only: name of the file in `--data.root`."""


@SOURCES.register("npz", NpzSettings)
def npz(config: NpzSettings, size: int, seed: int) -> Source:
    """Return the source, without a look at the file; `seed` changes nothing."""
    file = Path(config.root).expanduser() / config.npz_file

    def identity() -> str:
        """Return the checksum of the file."""
        try:
            return hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"--data.npz-file: cannot read {file}: {error.strerror}") from error

    return Source("npz", identity, partial(read, file, size))


def read(file: Path, size: int) -> Plan:
    """Say how the store is made of the arrays in a file.

    Raises:
        UserError: it holds no images to train on.
    """
    try:
        with file.open("rb") as opened:
            arrays = dict(np.load(opened))
        right = arrays["train_images"].dtype == np.uint8
    except (KeyError, OSError, ValueError, BadZipFile):
        right = False
    if not right:
        raise UserError(f"--data.npz-file: {file} holds no uint8 array `train_images`")
    splits, classes = {}, 0
    for name in ("train", "test"):
        images, labels = arrays.get(f"{name}_images"), arrays.get(f"{name}_labels")
        if images is None:
            continue
        if images.ndim == 3:  # grey
            images = np.repeat(images[..., None], 3, axis=-1)
        if labels is not None:
            labels = labels.reshape(len(images)).astype(np.int64)
            classes = max(classes, int(labels.max()) + 1)
        chunks = partial(array_chunks, images, labels, size)
        splits[name] = Split(len(images), chunks, labelled=labels is not None)
    return Plan(splits, tuple(map(str, range(classes))))
