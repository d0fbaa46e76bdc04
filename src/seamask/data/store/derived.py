"""What is computed once from the packed images and kept beside them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from seamask.base.devices import free_cores
from seamask.base.progress import Progress
from seamask.base.threads import in_threads
from seamask.data.store.arrays import Writer, memory_map, open_or_make

CHUNK = 32  # images at once


def cached_maps(
    folder: Path, pixels: Tensor, make: Callable[[Tensor], Tensor], label: str, show: bool
) -> Tensor:
    """Return a label map of every image, computed on all free cores where it is not kept yet.

    Args:
        folder: where it is kept: the name must change when the images or `make` do.
        pixels: uint8 `[n, S, S, 3]`.
        make: maps some of them to labels uint8 `[k, S, S]`; called from several threads.
        label: what is computed, for the progress.
        show: show progress.

    Returns:
        uint8 `[n, S, S]`, memory-mapped and read-only.

    Raises:
        UserError: it cannot be written.
    """
    shape = tuple(pixels.shape[:3])

    def read(place: Path, meta: dict[str, Any]) -> Tensor:
        return memory_map(place / "maps", np.uint8, tuple(meta["shape"]))

    def write(writer: Writer) -> dict[str, Any]:
        writer.reserve({"maps": int(np.prod(shape))})
        threads = free_cores()
        with (
            Progress(label, len(pixels), "images", enabled=show) as bar,
            closing(in_threads(make, pixels.split(CHUNK), threads, ahead=threads)) as made,
            writer.appending("maps") as append,
        ):
            for maps in made:
                append(maps.numpy())
                bar.advance(len(maps))
        return {"shape": shape}

    return open_or_make(folder, read, write, label, show)
