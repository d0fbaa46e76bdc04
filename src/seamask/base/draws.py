"""Every random draw is a function of (seed, epoch, step), of what it is for, and of its image.

An image draws by its place in the batch of all processes (`per_image`), so that another number of
them takes the same steps. What is not ours to draw is left out: dropout inside a backbone, which
few have, draws for each process by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor

from seamask.base.devices import upload

Make = Callable[[], Tensor]
Draw = Callable[[int, torch.Generator | None], Tensor]  # of so many images, from a generator
BLOCK = 1024  # images that are drawn for at once, by one generator


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit number that depends on all of `parts` and on nothing else."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """Return a CPU generator seeded with `derive_seed(*parts)`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


class BatchGenerator(torch.Generator):
    """A CPU generator of what is drawn for a batch that several processes share.

    All of them seed it alike; `per_image` takes from it what is drawn for the images of one.

    Args:
        rank: of this process; it has the images from `rank / processes` of the batch on.
        processes: that have equally many images of the batch, or of each of its parts.
    """

    rank: int
    processes: int

    def __new__(cls, rank: int = 0, processes: int = 1) -> Self:
        """Make one, not seeded; PyTorch's takes no arguments that are not its own."""
        made = super().__new__(cls)
        made.rank, made.processes = rank, processes
        return made


def per_image(
    draw: Draw,
    n: int,
    source: torch.Generator | None,
) -> Tensor:
    """Return what is drawn for each of the `n` images of a batch that this process has.

    It is what one process draws for them that has the whole batch. Up to `BLOCK` images, that is
    how it is drawn. Of a larger batch, each `BLOCK` images have a generator of their own, and only
    those are asked whose images are here: for 16,384 images on 64 processes, drawing all in each of
    them would take 7 ms a step for the views and 50 ms for random patches, on one core.

    Args:
        draw: of a number of images and a generator, returns what is drawn for them, `[images, ...]`
            on the CPU.
        n: images here.
        source: a `BatchGenerator`, which says whose images they are; with any other, or with None
            (PyTorch's own), they are the whole batch.

    Returns:
        `[n, ...]`.
    """
    rank, processes = 0, 1
    if isinstance(source, BatchGenerator):
        rank, processes = source.rank, source.processes
    first, end = rank * n, processes * n
    if end <= BLOCK:
        return draw(end, source)[first : first + n]
    seed = int(torch.randint(2**62, (), generator=source))
    starts = range(first // BLOCK * BLOCK, first + n, BLOCK)
    blocks = [draw(min(BLOCK, end - start), generator(seed, start)) for start in starts]
    return torch.cat(blocks)[first - starts.start :][:n]


def drawn(make: Make, device: torch.device) -> Tensor:
    """Return what `make` draws on the CPU, on the device, which is not waited for.

    This is the door for all that changes from step to step and does not come with the batch: a step
    that is recorded once and replayed is given it anew each time (`Tape`).
    """
    return _draw(make, device)


def drawn_per_image(
    draw: Draw, n: int, source: torch.Generator | None, device: torch.device
) -> Tensor:
    """Return what `per_image` draws, on the device; see `drawn`."""
    return drawn(lambda: per_image(draw, n, source), device)


def _at_once(make: Make, device: torch.device) -> Tensor:
    return upload(make(), device)


_draw: Callable[[Make, torch.device], Tensor] = _at_once


class Tape:
    """What a step draws, in its order, and where on the device a replay finds it."""

    def __init__(self) -> None:
        self.entries: list[tuple[Make, Tensor]] = []

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within, what is drawn is kept in memory of its own; what was recorded is forgotten."""
        self.entries = []

        def draw(make: Make, device: torch.device) -> Tensor:
            self.entries.append((make, upload(make(), device)))
            return self.entries[-1][1]

        with _drawing(draw):
            yield

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Within, nothing is drawn: the same step finds the memory of what was recorded."""
        places = iter(self.entries)
        with _drawing(lambda make, device: next(places)[1]):
            yield
        assert next(places, None) is None, "the step has drawn less than when it was recorded"

    def draw(self) -> None:
        """Draw anew, into the memory that `playing` gave out."""
        for make, place in self.entries:
            place.copy_(upload(make(), place.device))


@contextmanager
def _drawing(draw: Callable[[Make, torch.device], Tensor]) -> Iterator[None]:
    global _draw
    before, _draw = _draw, draw
    try:
        yield
    finally:
        _draw = before
