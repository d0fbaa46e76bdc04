"""A linear classifier trained with SGD on augmented views: the backbone frozen, or trained too."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, cast

import torch
from timm.optim import Lars
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    SequentialLR,
)

from seamask.base.draws import generator, mix
from seamask.base.errors import UserError
from seamask.base.progress import Progress
from seamask.data import Data, Images, Loader, is_resident, permutation
from seamask.evaluate.config import FinetuneConfig, LinearConfig, TrainingConfig
from seamask.evaluate.features import extract
from seamask.views import Views
from seamask.views.settings import ViewsConfig

TRUST = 1e-3  # of [ADIOS]'s LARS, which does not clip


def linear_sgd(
    backbone: nn.Module, data: Data, size: int, config: LinearConfig, device: torch.device
) -> float:
    """Return the accuracy in % of a linear classifier on the frozen backbone.

    As [Seq] appendix E or, with `protocol="adios"`, [ADIOS]'s scripts have it.

    The backbone stays in eval mode and is bit-identical afterwards, running statistics included.

    Args:
        backbone: `[B, 3, H, W]` → `[B, F]`.
        data: with labels.
        size: side of the views in pixels.
        config: SGD and views, resolved.
        device: where to compute.
    """
    backbone = backbone.to(device).eval()

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = backbone(images)
        return found

    width = features(torch.zeros(1, 3, size, size, device=device)).shape[1]
    head = _head(width, len(data.classes), config.seed).to(device)
    optimizer = build_sgd(head, config)
    fit = _labelled(data.probe_train)
    schedule = falling(optimizer, config, _steps(len(fit), config.batch_size))
    for images, labels in _batches(fit, data, size, config, device, "linear probe"):
        _learn(head(features(images)), labels, optimizer, schedule)
    return _accuracy(nn.Sequential(backbone, head), data, size, config)


def finetune(
    backbone: nn.Module, data: Data, size: int, config: FinetuneConfig, device: torch.device
) -> float:
    """Return the accuracy in % after training backbone and classifier.

    A copy is trained: the backbone itself stays as it was. Arguments as for `linear_sgd`.

    Raises:
        UserError: the loss is not finite any more.
    """
    return _accuracy(finetuned(backbone, data, size, config, device), data, size, config)


def finetuned(
    backbone: nn.Module, data: Data, size: int, config: FinetuneConfig, device: torch.device
) -> nn.Sequential:
    """Return a copy of the backbone, trained, and its classifier; see `finetune`.

    As [Seq] appendix E or, with `protocol="adios"`, [ADIOS]'s scripts have it.
    """
    backbone = deepcopy(backbone).to(device).eval()
    with torch.no_grad():
        width = backbone(torch.zeros(1, 3, size, size, device=device)).shape[1]
    model = nn.Sequential(backbone, _head(width, len(data.classes), config.seed).to(device)).train()
    if config.protocol == "adios":
        backbone.eval()  # running statistics stay; scale and shift of batch norm are trained
    optimizer = build_sgd(model, config)
    fit = _labelled(data.probe_train)
    steps = _steps(len(fit), config.batch_size)
    total = config.epochs * steps
    warmup = min(round(config.warmup_epochs * steps), total - 1)
    schedule: LRScheduler = CosineAnnealingLR(optimizer, total - warmup)
    if warmup:
        climb = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        schedule = SequentialLR(optimizer, [climb, schedule], milestones=[warmup])
    loss = torch.zeros((), device=device)
    for step, (images, labels) in enumerate(
        _batches(fit, data, size, config, device, "fine-tuning")
    ):
        torch.manual_seed(mix(config.seed, step, "layers"))  # for layers that draw (dropout)
        loss += _learn(model(images), labels, optimizer, schedule)
    if not torch.isfinite(loss):
        raise UserError(f"fine-tuning diverged at --lr {config.lr}: take a lower one")
    return model


def _head(width: int, classes: int, seed: int) -> nn.Linear:
    torch.manual_seed(mix(seed, "head"))
    return nn.Linear(width, classes)


def build_sgd(module: nn.Module, config: TrainingConfig) -> Optimizer:
    """Build SGD, which `protocol="adios"` wraps in LARS (You et al. 2017, as in solo-learn).

    LARS steps along `(g + λ w) · trust · ‖w‖ / (‖g‖ + λ ‖w‖)`, unclipped, but along `g` for
    parameters of one dimension (biases, norms).
    """
    common: dict[str, Any] = {"lr": config.lr, "momentum": config.momentum}
    if config.protocol != "adios":
        return SGD(module.parameters(), weight_decay=config.weight_decay, **common)
    groups = [
        {
            "params": [p for p in module.parameters() if (p.ndim > 1) == big],
            "weight_decay": config.weight_decay if big else 0.0,
            "always_adapt": big,
        }
        for big in (True, False)
    ]
    lars: Optimizer = Lars(groups, trust_coeff=TRUST, trust_clip=False, **common)
    return lars


def falling(optimizer: Optimizer, config: LinearConfig, steps: int) -> LRScheduler:
    """Return the schedule of the linear classifier, which moves at each of an epoch's `steps`."""
    milestones = [round(share * config.epochs) * steps for share in config.milestones]
    return MultiStepLR(optimizer, milestones, gamma=0.1)


def _labelled(images: Images | None) -> Images:
    assert images is not None
    assert images.labels is not None
    return images


def _steps(n: int, batch: int) -> int:
    """Return the steps of an epoch: whole batches, or one of all images where they are fewer."""
    return max(n // batch, 1)


def _batches(
    fit: Images, data: Data, size: int, config: TrainingConfig, device: torch.device, label: str
) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield views `[B, 3, size, size]` and labels `[B]` of all epochs, on the device."""
    assert fit.labels is not None
    kept = ViewsConfig(scale=config.crop, flip=config.flip, jitter=0, grayscale=0, blur=0)
    views = Views(kept, size, data.mean, data.std)
    loader = Loader(fit.pixels, device, is_resident(fit, config.data.resident, device))
    steps = _steps(len(fit), config.batch_size)
    with Progress(label, config.epochs * steps * config.batch_size, "images") as progress:
        for epoch in range(config.epochs):
            order = permutation(len(fit), config.seed, epoch)
            rows = order.split(config.batch_size)[:steps]
            draw = generator(config.seed, epoch, "evaluation views")
            for batch, images in zip(rows, loader.batches(rows), strict=True):
                x, _ = views(images, draw)
                yield x.contiguous(memory_format=torch.channels_last), fit.labels[batch].to(device)
                progress.advance(len(batch), f"epoch {epoch + 1}/{config.epochs}")


def _learn(logits: Tensor, labels: Tensor, optimizer: Optimizer, schedule: LRScheduler) -> Tensor:
    """Take one step; return the loss."""
    loss = nn.functional.cross_entropy(logits, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    schedule.step()
    return loss.detach()


def _accuracy(model: nn.Module, data: Data, size: int, config: TrainingConfig) -> float:
    test = _labelled(data.probe_test)
    pixels = centre(test.pixels, size) if config.centre_crop else test.pixels
    guess = extract(model, pixels, size, data.mean, data.std).argmax(1)
    return 100 * float(guess.eq(cast(Tensor, test.labels)).float().mean())


def centre(pixels: Tensor, size: int) -> Tensor:
    """Return the middle `[n, size, size, 3]` of images `[n, S, S, 3]`: torchvision's CenterCrop."""
    start = round((pixels.shape[1] - size) / 2)
    return pixels[:, start : start + size, start : start + size]
