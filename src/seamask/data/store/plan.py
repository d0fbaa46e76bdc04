"""What a store is made of: its splits, and how the images of each come, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from seamask.data.files.depth import Ranges


@dataclass(frozen=True)
class Chunk:
    """Some decoded images on their way to the store.

    Attributes:
        pixels: [k, S, S, C].
        labels: [k].
        objects: [k, S, S].
        skipped: (path, reason) of images that are not among the k.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None = None
    objects: npt.NDArray[np.uint8] | None = None
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Split:
    """How to make one split.

    Attributes:
        total: number of images, the ones that will be skipped included.
        labelled: every chunk has labels.
        segmented: every chunk has objects.
        between: makes those of the images from a number to before another, where that can be.
        channels: C of the chunks' pixels, 3 = RGB or 1 = grey.
    """

    total: int
    chunks: Callable[[], Iterable[Chunk]]
    labelled: bool
    segmented: bool = False
    between: Callable[[int, int], Iterable[Chunk]] | None = None
    channels: int = 3

    def with_channels(self, channels: int) -> Split:
        """Return the same with images of 3 channels or 1; see `as_channels`."""

        import torch  # here: settings and help do not wait for it

        from seamask.base.channels import as_channels

        def turned(make: Callable[..., Iterable[Chunk]]) -> Callable[..., Iterator[Chunk]]:
            def chunks(*between: int) -> Iterator[Chunk]:
                for chunk in make(*between):
                    pixels = as_channels(torch.from_numpy(chunk.pixels), channels)
                    yield replace(chunk, pixels=pixels.numpy())

            return chunks

        between = turned(self.between) if self.between else None
        return replace(self, chunks=turned(self.chunks), between=between, channels=channels)


@dataclass(frozen=True)
class Plan:
    """How to make a store.

    Attributes:
        ranges: {kind of image: what becomes black and what white}, of more than 8 bits a value.
        remarks: on images that are read although they are odd, a line each.
    """

    splits: dict[str, Split]
    classes: tuple[str, ...] = ()
    ranges: Ranges = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def with_channels(self, channels: int) -> Plan:
        """Return the same with images of 3 channels or 1."""
        splits = {name: split.with_channels(channels) for name, split in self.splits.items()}
        return replace(self, splits=splits)
