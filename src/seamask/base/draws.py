"""Every random draw is a function of (seed, epoch, step, rank) and of what it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from seamask.base.devices import upload

Make = Callable[[], Tensor]


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit number that depends on all of `parts` and on nothing else."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """Return a CPU generator seeded with `derive_seed(*parts)`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def drawn(make: Make, device: torch.device) -> Tensor:
    """Return what `make` draws on the CPU, on the device, which is not waited for.

    This is the door for all that changes from step to step and does not come with the batch: a step
    that is recorded once and replayed is given it anew each time (`Tape`).
    """
    return _draw(make, device)


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
