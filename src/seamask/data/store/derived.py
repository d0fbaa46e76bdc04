"""What is computed once from the packed images and kept beside them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from torch import Tensor

from seamask.base.devices import free_cores
from seamask.base.files import atomic
from seamask.base.progress import Progress
from seamask.base.threads import in_threads
from seamask.data.store.packed import memory_map

CHUNK = 32  # images at once
ABANDONED = 3600  # seconds after which a file that nobody writes to is left over


def cached_maps(
    path: Path, pixels: Tensor, make: Callable[[Tensor], Tensor], label: str, show: bool
) -> Tensor:
    """Return a label map of every image, computed on all free cores where it is not kept yet.

    Args:
        path: where it is kept: the name must change when the images or `make` do.
        pixels: uint8 `[n, S, S, 3]`.
        make: maps some of them to labels uint8 `[k, S, S]`; called from several threads.
        label: what is computed, for the progress.
        show: show progress.

    Returns:
        uint8 `[n, S, S]`, memory-mapped and read-only.

    Raises:
        UserError: the file cannot be written.
    """
    shape = tuple(pixels.shape[:3])
    if not path.exists() or path.stat().st_size != int(np.prod(shape)):
        for left in path.parent.glob(f".{path.name}.*.tmp"):  # half a file of a killed process
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink(missing_ok=True)
        threads = free_cores()
        with (
            Progress(label, len(pixels), "images", enabled=show) as bar,
            closing(in_threads(make, pixels.split(CHUNK), threads, ahead=threads)) as made,
            atomic(path) as temporary,
            open(temporary, "wb") as file,
        ):
            for maps in made:
                file.write(maps.numpy().tobytes())
                bar.advance(len(maps))
    return memory_map(path, np.uint8, shape)
