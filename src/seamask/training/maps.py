"""The label maps that a run's masker or budget needs beside its images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor

from seamask.base.errors import UserError
from seamask.config import Config
from seamask.data import Data, cached_maps
from seamask.masks.superpixels import VERSION, clusters


def training_maps(config: Config, data: Data, show: bool = True) -> dict[str, Tensor]:
    """Return maps of every training image, uint8 `[n, S, S]`, by their names in `View`.

    Clusters of superpixels are computed once and kept in the cache.

    Args:
        config: of the run.
        data: its images.
        show: show progress.

    Raises:
        UserError: given masks of images that have none, or a cache that cannot be written.
    """
    masks = config.masks
    found = {}
    if masks.masker == "given":
        if data.train.objects is None:
            raise UserError(
                f"--masker given: the training images of {data.name} have no object masks; "
                "name a folder of label images with --data.objects, or take --data shapes"
            )
        found["objects"] = data.train.objects
    if masks.budget.of != "superpixels":
        return found
    pixels = data.train.pixels
    chosen = f"-{config.data.limit}of{config.seed}" if config.data.limit else ""
    made = f"clusters{VERSION}-{masks.n_masks}of{masks.superpixels}"
    name = f"{data.name}-{data.fingerprint[:16]}-{pixels.shape[1]}{chosen}-{made}.maps"
    found["clusters"] = cached_maps(
        Path(config.data.cache).expanduser() / name,
        pixels,
        partial(clusters, count=masks.n_masks, superpixels=masks.superpixels),
        f"clustering superpixels of {data.name}",
        show,
    )
    return found
