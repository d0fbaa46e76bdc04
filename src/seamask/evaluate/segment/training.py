"""Semantic segmentation: a backbone fine-tuned as a fully convolutional network; mIoU."""

from __future__ import annotations

import math
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler, PolynomialLR
from torch.utils.data import DataLoader

from seamask.base.draws import derive_seed, generator
from seamask.base.optimizers import warmed_up
from seamask.base.progress import Progress
from seamask.data import VOID
from seamask.data.segmentation import Segmentation
from seamask.evaluate.segment.fcn import FCN, upsample
from seamask.evaluate.segment.images import (
    Crops,
    Whole,
    length,
    n_workers,
    one_line_errors,
    prepare,
)
from seamask.evaluate.segment.miou import class_ious, confusion, mean_iou
from seamask.evaluate.segment.task import SegmentConfig
from seamask.evaluate.segment.windows import adapt, windowed
from seamask.evaluate.sgd import check_convergence


@dataclass(frozen=True)
class Pictures:
    """A few test images with their truth and prediction, for `show.segmentation_figure`.

    Attributes:
        images: uint8 [3, H, W] each, sizes vary.
        truths: uint8 [H, W] each; 255: ignored.
        predictions: uint8 [H, W] each.
    """

    images: list[Tensor]
    truths: list[Tensor]
    predictions: list[Tensor]


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
        torch.manual_seed(derive_seed(settings.seed, "segment"))
        model = FCN(deepcopy(backbone), n_classes).to(memory_format=torch.channels_last).to(device)
        window = adapt(model, settings.crop or settings.image_size, device)
        train(model, data, settings, device, progress)
        counts, seen = score(model, window, data, settings, device, pictures, progress)
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
        UserError: it diverged.
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
    losses = deque[Tensor](maxlen=steps)
    with Progress("fine-tuning", len(order), "images", enabled=progress) as bar:
        for images, truth in one_line_errors(loader):
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            logits = model(images)
            loss = cross_entropy(logits, truth.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            bar.advance(len(images))
    check_convergence(losses, model, len(data.classes), settings.lr, "fine-tuning")


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean over the pixels that count; 0, not nan, where none does.

    Args:
        logits: `[B, C, H, W]`.
        truth: uint8 `[B, H, W]`.
    """
    total = F.cross_entropy(logits, truth.long(), ignore_index=VOID, reduction="sum")
    return total / (truth != VOID).sum().clamp(min=1)


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
    return optimizer, warmed_up(optimizer, decay, warmup)


def permutation(n: int, seed: int, epoch: int) -> list[int]:
    """Return the order of the training images in an epoch."""
    order: list[int] = torch.randperm(n, generator=generator(seed, "order", epoch)).tolist()
    return order


# Testing


@torch.no_grad()
def score(
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
