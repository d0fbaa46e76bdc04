"""Which images come when, and their way to the device: no Python work per image."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import closing

import torch
from torch import Tensor

from seamask.base.devices import memory_free
from seamask.base.threads import in_threads
from seamask.data.store.packed import Images
from seamask.data.store.paging import in_any_order, will_need

AHEAD = 2  # batches gathered before they are asked for
THREADS = 2  # one copies a batch while the next is read from the disk


def permutation(n: int, seed: int, epoch: int) -> Tensor:
    """Return the order of `n` images in an epoch: int64 [n] on the CPU, the same on every rank."""
    digest = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.randperm(n, generator=generator)


def shared_out(order: Tensor, batch_size: int, parts: int, processes: int) -> Tensor:
    """Return which images each of several processes takes at each step.

    Part k of the batch of one process is part k of those of all, one after another, whatever their
    number: images that are compared with each other are so everywhere.

    Args:
        order: of the images in an epoch, int64 [n]; what is left of a whole batch is left out.
        batch_size: of all processes, divisible by `parts * processes`.
        parts: of a batch, that are taken one after another.
        processes: that share each part.

    Returns:
        int64 [processes, steps, batch_size / processes], the parts one after another.
    """
    steps = len(order) // batch_size
    by_part = order[: steps * batch_size].view(
        steps, parts, processes, batch_size // (parts * processes)
    )
    return by_part.permute(2, 0, 1, 3).flatten(2)


def is_resident(images: Images, resident: str, device: torch.device) -> bool:
    """Decide whether to hold the images wholly on the device.

    Args:
        images: the split that is trained on.
        resident: `yes`, `no`, or `auto`: when they fit in half of the device's free memory.
        device: where the batches go.
    """
    if resident != "auto":
        return resident == "yes"
    return images.pixels.nbytes <= memory_free(device) / 2


class Loader:
    """Brings batches of images to a device.

    Resident images are copied to the device once and indexed there. Others are gathered from the
    memory map by background threads, two batches ahead, and copied asynchronously.

    Args:
        pixels: uint8 [n, S, S, 3].
        device: where the batches go.
        resident: hold all of them there.

    Attributes:
        waited: seconds spent waiting for data so far.
    """

    waited: float

    def __init__(self, pixels: Tensor, device: torch.device | str, resident: bool) -> None:
        self.device = torch.device(device)
        self.resident = resident
        self.pixels = (
            torch.empty_like(pixels, device=self.device).copy_(pixels) if resident else pixels
        )
        self.waited = 0.0
        if not resident and len(pixels):
            in_any_order(pixels)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield a batch for each row of indices, in the order given.

        Args:
            indices: [steps, B] or a list of [B], int64 on the CPU.

        Yields:
            uint8 [B, 3, S, S] on the device: a channels-last view.

        Raises:
            IndexError: an index is out of range.
        """
        for batch in self._resident(indices) if self.resident else self._streamed(indices):
            yield batch.permute(0, 3, 1, 2)

    def _resident(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        for rows in indices:
            start = time.perf_counter()
            batch = self._gather(rows.to(self.device, non_blocking=True))
            self.waited += time.perf_counter() - start
            yield batch

    def _streamed(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        work = in_threads(self._gather, indices, THREADS, AHEAD, "seamask-batches")
        with closing(work) as gathered:
            while True:
                start = time.perf_counter()
                batch = next(gathered, None)
                self.waited += time.perf_counter() - start
                if batch is None:
                    return
                yield batch.to(self.device, non_blocking=True)

    def _gather(self, rows: Tensor) -> Tensor:
        if not self.resident:
            will_need(self.pixels, rows)
        if self.resident or self.device.type != "cuda":
            return self.pixels.index_select(0, rows)
        shape = (len(rows), *self.pixels.shape[1:])
        pinned = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        return torch.index_select(self.pixels, 0, rows, out=pinned)
