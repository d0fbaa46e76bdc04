"""The masks that a run learned, on any image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from seamask.base import settings
from seamask.base.errors import UserError
from seamask.base.paths import absolute, check_writable, local
from seamask.data.files.decode import allow, read_square
from seamask.data.files.depth import as_range
from seamask.evaluate.following import predict
from seamask.export import load_masker
from seamask.runs import Normalization, RunFolder
from seamask.show.figures import mask_figure


def draw_masks_of_photos(
    run: str | os.PathLike[str], paths: Sequence[str | os.PathLike[str]], out: Path
) -> Path:
    """Write a picture of the masks that a run's mask network gives to images; return its path.

    Each image is resized and centre-cropped to the run's image size, as in pretraining.

    Args:
        run: a run's folder.
        paths: image files of any size and mode.
        out: of the PNG.

    Raises:
        UserError: no run, no weights, or an image that cannot be read.
    """
    folder = RunFolder.of_run(os.fspath(run))
    config = folder.read_config()
    size = config.image_size
    allow(config.data.max_megapixels)
    masker = load_masker(folder.path)
    normalization = settings.record(
        Normalization,
        folder.read_manifest().get("normalization"),
        f"{folder.manifest}: normalization",
    )
    if not masker.learned:
        raise UserError(f"{run} has no learned masks: its masker draws them at random, or has none")
    if not paths:
        raise UserError("name at least one image")
    out = local(out, "--out")
    check_writable(out, "--out", file=True)
    if any(absolute(p) == absolute(out) for p in paths):
        raise UserError(f"--out {out} is one of the images: name another file")
    ranges = {  # more than 8 bits a value become what they were in the training
        kind: as_range(values)
        for kind, values in folder.read_manifest().get("data", {}).get("ranges", {}).items()
    }
    pixels = torch.from_numpy(np.stack([read_square(local(p), size, ranges) for p in paths]))
    mean, std = normalization.mean, normalization.std
    mask_figure(pixels, predict(masker, pixels, size, mean, std), out)
    return out
