"""Images with a class for every pixel, as training and testing want them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from seamask.base.draws import derive_seed
from seamask.base.errors import UserError
from seamask.base.progress import Progress
from seamask.base.threads import in_threads
from seamask.data import VOID
from seamask.data.segmentation import Labelled, Segmentation
from seamask.evaluate.segment.task import SegmentConfig

IN_MEMORY = 2 << 30  # bytes: training sets up to this size are decoded once

Pair = tuple[Tensor, Tensor]
"""An image, uint8 [3, H, W], and its classes, uint8 [H, W]."""


class Crops(Dataset[Pair]):
    """Random crops of training images: item (epoch, index) is the same whoever asks for it.

    An item is a normalised image, float32 `[3, S, S]`, and its classes, uint8 `[S, S]`. What lies
    outside the image is the mean colour and 255.

    Args:
        pairs: images and classes.
        data: the normalisation.
        settings: sizes and seed.
    """

    def __init__(
        self, pairs: Sequence[Pair] | Labelled, data: Segmentation, settings: SegmentConfig
    ) -> None:
        self.pairs, self.seed = pairs, settings.seed
        size = settings.image_size
        low, high = (max(1, round(size * factor)) for factor in settings.scale)
        mean_colour = [round(255 * m) for m in data.normalization.mean]
        self.transform = v2.Compose([
            v2.RandomResize(low, high + 1),
            v2.RandomCrop(
                settings.crop or size,
                pad_if_needed=True,
                fill={tv_tensors.Image: mean_colour, tv_tensors.Mask: VOID},
            ),
            v2.RandomHorizontalFlip(),
            standardise(data),
        ])  # fmt: skip

    def __getitem__(self, place: tuple[int, int]) -> Pair:
        epoch, index = place
        image, classes = self.pairs[index]
        with torch.random.fork_rng([]):  # the transforms draw from the global generator
            torch.manual_seed(derive_seed(self.seed, "crop", epoch, index))
            image, classes = self.transform(tv_tensors.Image(image), tv_tensors.Mask(classes))
        return image, classes


def prepare(pairs: Labelled, side: int, progress: bool = True) -> Sequence[Pair] | Labelled:
    """Decode a data set once where it is small, so that the epochs do not wait for it.

    Args:
        pairs: images and classes.
        side: images with a longer shorter side are kept at this one.
        progress: show how far it is.

    Returns:
        A list of the same pairs, or `pairs` itself where they need more than `IN_MEMORY`.
    """
    n = length(pairs)
    resize = v2.Compose([v2.Resize(side), v2.ToPureTensor()])

    def read(index: int) -> Pair:
        image, classes = pairs[index]
        if min(classes.shape) > side:
            image, classes = resize(tv_tensors.Image(image), tv_tensors.Mask(classes))
        return image, classes

    if n * sum(part.nbytes for part in read(0)) > IN_MEMORY:
        return pairs
    kept = []
    with Progress("decoding", n, "images", enabled=progress) as bar:
        for pair in in_threads(read, range(n)):
            kept.append(pair)
            bar.advance()
    return kept


class Whole(Dataset[Pair]):
    """Test images: resized and normalised, float32 `[3, h, w]`, with their original classes.

    Args:
        data: the test images and the normalisation.
        size: of the shorter side.
    """

    def __init__(self, data: Segmentation, size: int) -> None:
        self.pairs = data.test
        self.transform = v2.Compose([v2.Resize(size), standardise(data)])

    def __len__(self) -> int:
        return length(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        image, classes = self.pairs[index]
        return self.transform(tv_tensors.Image(image)), classes


def length(pairs: Labelled) -> int:
    """Return how many images a map-style data set holds."""
    return len(cast(Sized, pairs))


def standardise(data: Segmentation) -> v2.Transform:
    """Build the last steps of every transform: images to float32, normalised; plain tensors."""
    return v2.Compose([
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        v2.Normalize(*data.normalization),
        v2.ToPureTensor(),
    ])  # fmt: skip


def n_workers(settings: SegmentConfig, device: torch.device) -> int:
    """Return the number of processes that prepare images."""
    if settings.workers >= 0:
        return settings.workers
    return min(8, (os.cpu_count() or 1) - 1) if device.type == "cuda" else 0


def one_line_errors(loader: Iterable[Pair]) -> Iterator[Pair]:
    """Yield the batches of a loader; the message of a worker's error loses its traceback."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from error
