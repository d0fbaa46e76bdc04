"""Semantic segmentation: a backbone fine-tuned as a fully convolutional network; mIoU."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD
from torch.optim.lr_scheduler import LinearLR, LRScheduler, PolynomialLR, SequentialLR
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from seamask.base.draws import generator, mix
from seamask.base.errors import UserError
from seamask.base.progress import Progress
from seamask.base.threads import in_threads
from seamask.data.segmentation import Labelled, Segmentation
from seamask.evaluate.config import SegmentConfig
from seamask.evaluate.miou import IGNORE, class_ious, confusion, mean_iou
from seamask.networks.fcn import FCN, fit, upsample, windowed

IN_MEMORY = 2 << 30  # bytes: training sets up to this size are decoded once

Pair = tuple[Tensor, Tensor]
"""An image, uint8 [3, H, W], and its classes, uint8 [H, W]."""


@dataclass(frozen=True)
class Pictures:
    """A few test images with their truth and prediction, for `show.segmentation_figure`."""

    images: list[Tensor]
    """uint8 [3, H, W] each, sizes vary."""
    truths: list[Tensor]
    """uint8 [H, W] each; 255: ignored."""
    predictions: list[Tensor]
    """uint8 [H, W] each."""


def finetune_segmentation(
    backbone: nn.Module,
    data: Segmentation,
    *,
    settings: SegmentConfig,
    device: torch.device,
    pictures: int = 6,
    progress: bool = True,
) -> tuple[dict[str, float], Pictures]:
    """Fine-tune a copy of a backbone as an `FCN` and score it on the test images.

    On a CPU the result depends on nothing but the arguments and the number of threads.

    Args:
        backbone: a timm model with its weights; left exactly as it is.
        data: training and test images with their classes.
        settings: sizes and optimisation.
        device: to compute on.
        pictures: how many test images to return with their predictions, spread over the set.
        progress: show how far it is.

    Returns:
        In %: `miou`, `pixel_accuracy`, and `iou/<class>` of every class that occurs in the test
        images or in their predictions; and the pictures.

    Raises:
        UserError: the backbone gives no stages or cannot take the size; an image that cannot be
            read; a test label outside the classes; training diverged.
    """
    n_classes = len(data.classes)
    with torch.random.fork_rng(
        [device] if device.type == "cuda" else []
    ):  # dropout and drop path draw from the global generator
        torch.manual_seed(mix(settings.seed, "segment"))
        model = FCN(deepcopy(backbone), n_classes).to(memory_format=torch.channels_last).to(device)
        window = fit(model, settings.crop or settings.image_size, device)
        train(model, data, settings, device, progress)
        counts, seen = evaluate(model, window, data, settings, device, pictures, progress)
    ious = class_ious(counts)
    metrics = {
        "miou": mean_iou(counts),
        "pixel_accuracy": 100 * float(counts.diag().sum() / counts.sum()),
    }
    for name, iou in zip(data.classes, ious.tolist(), strict=True):
        if not math.isnan(iou):
            metrics[f"iou/{name}"] = iou
    return metrics, seen


# Training


def train(
    model: FCN, data: Segmentation, settings: SegmentConfig, device: torch.device, progress: bool
) -> None:
    """Train a model in place on random crops, with batch norm in training mode.

    Raises:
        UserError: the loss is not finite at the end.
    """
    n = length(data.train)
    batch = min(settings.batch_size, n)
    steps = n // batch  # of an epoch, which leaves out what fills no batch
    order = [
        (epoch, index)
        for epoch in range(settings.epochs)
        for index in permutation(n, settings.seed, epoch)[: steps * batch]
    ]
    largest = round(settings.image_size * max(1, settings.scale[1]))
    loader = DataLoader(
        Crops(prepare(data.train, largest, progress), data, settings),
        batch,
        sampler=order,
        num_workers=n_workers(settings, device),
        pin_memory=device.type == "cuda",
    )
    optimizer, schedule = optimizer_and_schedule(model, settings, steps)
    model.train()
    with Progress("fine-tuning", len(order), "images", enabled=progress) as bar:
        for images, truth in one_line_errors(loader):
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            logits = model(images)
            loss = cross_entropy(logits, truth.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.advance(len(images))
    if not loss.isfinite():
        raise UserError(f"fine-tuning diverged: the last loss is {loss.item()}; lower --lr")


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean over the pixels that count; 0, not nan, where none does.

    Args:
        logits: `[B, C, H, W]`.
        truth: uint8 `[B, H, W]`.
    """
    total = functional.cross_entropy(logits, truth.long(), ignore_index=IGNORE, reduction="sum")
    return total / (truth != IGNORE).sum().clamp(min=1)


def optimizer_and_schedule(
    model: FCN, settings: SegmentConfig, steps: int
) -> tuple[SGD, LRScheduler]:
    """Build SGD and its schedule, which moves at every one of the `steps` of an epoch."""
    groups: list[dict[str, Any]] = [
        {"params": model.scores.parameters()},
        {"params": model.backbone.parameters(), "lr": settings.lr * settings.backbone_lr_factor},
    ]
    optimizer = SGD(
        groups, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    warmup = min(settings.warmup_epochs, settings.epochs) * steps
    decay = PolynomialLR(optimizer, max(settings.epochs * steps - warmup, 1), power=0.9)
    if not warmup:
        return optimizer, decay
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return optimizer, SequentialLR(optimizer, [rise, decay], milestones=[warmup])


def permutation(n: int, seed: int, epoch: int) -> list[int]:
    """Return the order of the training images in an epoch."""
    order: list[int] = torch.randperm(n, generator=generator(seed, "order", epoch)).tolist()
    return order


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
        mean_colour = [round(255 * m) for m in data.mean]
        self.transform = v2.Compose([
            v2.RandomResize(low, high + 1),
            v2.RandomCrop(
                settings.crop or size,
                pad_if_needed=True,
                fill={tv_tensors.Image: mean_colour, tv_tensors.Mask: IGNORE},
            ),
            v2.RandomHorizontalFlip(),
            standardise(data),
        ])  # fmt: skip

    def __getitem__(self, place: tuple[int, int]) -> Pair:
        epoch, index = place
        image, classes = self.pairs[index]
        with torch.random.fork_rng([]):  # the transforms draw from the global generator
            torch.manual_seed(mix(self.seed, "crop", epoch, index))
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


# Testing


@torch.no_grad()
def evaluate(
    model: FCN,
    window: int,
    data: Segmentation,
    settings: SegmentConfig,
    device: torch.device,
    pictures: int,
    progress: bool,
) -> tuple[Tensor, Pictures]:
    """Return the confusion over all test images at their original sizes, int64 `[C, C]`, and
    the pictures of some.
    """
    model.eval()
    n_classes, n = len(data.classes), length(data.test)
    counts = torch.zeros(n_classes, n_classes, dtype=torch.int64)
    shown = {round(i * (n - 1) / max(pictures - 1, 1)) for i in range(min(pictures, n))}
    seen = Pictures([], [], [])
    loader = DataLoader(
        Whole(data, settings.image_size), batch_size=None, num_workers=n_workers(settings, device)
    )
    with Progress("testing", n, "images", enabled=progress) as bar:
        for index, (image, truth) in enumerate(one_line_errors(loader)):
            logits = windowed(model, image.to(device)[None], window)  # [1, C, h, w]
            predicted = upsample(logits, truth.shape)[0].argmax(dim=0).cpu()  # [H, W]
            counts += confusion(predicted, truth, n_classes)
            if index in shown:
                seen.images.append(data.test[index][0])
                seen.truths.append(truth)
                seen.predictions.append(predicted.to(torch.uint8))
            bar.advance()
    return counts, seen


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


# Parts of both


def length(pairs: Labelled) -> int:
    """Return how many images a map-style data set holds."""
    return len(cast(Sized, pairs))


def standardise(data: Segmentation) -> v2.Transform:
    """Build the last steps of every transform: images to float32, normalised; plain tensors."""
    return v2.Compose([
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        v2.Normalize(data.mean, data.std),
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
