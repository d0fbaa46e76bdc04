"""Classifiers trained with SGD on augmented views; what `linear` and `finetune` share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seamask.base.draws import derive_seed, generator
from seamask.base.errors import UserError
from seamask.base.optimizers import weight_groups
from seamask.base.progress import Progress
from seamask.base.settings import Within
from seamask.data import Data, Images, Loader, is_resident, permutation
from seamask.evaluate.features import extract, percent
from seamask.evaluate.task import EvaluationConfig
from seamask.views import Views
from seamask.views.settings import ViewsConfig

FAR = 10  # times the loss of a guess, which no classifier that learns has at the end
TRUST = 1e-3  # of [ADIOS]'s LARS, which does not clip


@dataclass(frozen=True)
class SgdConfig(EvaluationConfig):
    """What every classifier that is trained with SGD can be told."""

    protocol: Literal["cached", "paper", "adios"] = "paper"
    """How it is trained."""
    epochs: Annotated[int, Within(1)] = 100
    """Passes over the training images."""
    batch_size: Annotated[int | None, Within(2)] = None
    """Images per step; None: the protocol's, 256 for `paper` ([Seq]), 128 for `adios` ([ADIOS])."""
    lr: Annotated[float, Within(0)] = 0.1
    """Peak learning rate, never rescaled by the batch size."""
    momentum: Annotated[float, Within(0, 1, below=True)] = 0.9
    """Of SGD."""
    weight_decay: Annotated[float | None, Within(0)] = None
    """None: the protocol's, which is 0 ([Seq]; [ADIOS] linear)."""
    crop: Annotated[tuple[float, float], Within(0, 1, above=True, rising=True)] = (0.08, 1.0)
    """Area of the random resized crop, as a share of the image ([ADIOS] scripts)."""
    flip: Annotated[float, Within(0, 1)] = 0.5
    """Probability of a horizontal flip."""
    centre_crop: bool = False
    """Test on the middle `image_size` pixels of images that are stored larger, at `data.size`, not
    on whole images. [ADIOS]'s scripts do so on ImageNet100s and nowhere else, so `adios` leaves it
    to you: `--centre-crop --data.size 256`, with images made by `seamask data imagenet100s --size
    256`, is the middle 14 % of them at 96 pixels."""

    def resolved(self) -> Self:
        """Return the settings with what is left to the protocol filled in."""
        batch, decay = self.batch_size, self.weight_decay
        if batch is None:
            batch = 128 if self.protocol == "adios" else 256
        return replace(self, batch_size=batch, weight_decay=0.0 if decay is None else decay)

    def check(self) -> None:
        """Refuse to crop the centre of images that are no larger."""
        stored, size = self.data.size, self.image_size  # 0: not known yet
        if self.centre_crop and stored <= size and "centre_crop" not in self.unused():
            kept = f"the {size} pixels" if size else "what"
            raise UserError(
                f"--data.size is {stored}: --centre-crop needs images stored larger than {kept} it "
                "keeps, as with --data.size 256"
            )


def build_sgd(module: nn.Module, config: SgdConfig) -> Optimizer:
    """Build SGD, which `protocol="adios"` wraps in LARS (You et al. 2017, as in solo-learn).

    LARS steps along `(g + λ w) · trust · ‖w‖ / (‖g‖ + λ ‖w‖)`, unclipped, but along `g` for
    parameters of one dimension (biases, norms).
    """
    assert config.weight_decay is not None  # resolved
    common: dict[str, Any] = {"lr": config.lr, "momentum": config.momentum}
    if config.protocol != "adios":
        return SGD(module.parameters(), weight_decay=config.weight_decay, **common)
    from timm.optim import Lars  # slow to import

    groups = weight_groups(module.parameters(), config.weight_decay)
    lars: Optimizer = Lars(groups, trust_coeff=TRUST, trust_clip=False, **common)
    return lars


def build_head(width: int, classes: int, seed: int) -> nn.Linear:
    """Build a linear classifier of features `[B, width]`."""
    torch.manual_seed(derive_seed(seed, "head"))
    return nn.Linear(width, classes)


class Batches:
    """Views `[B, 3, size, size]` and labels `[B]` of the training images, on the device.

    Args:
        data: with labels.
        size: side of the views in pixels.
        config: views and epochs, resolved.
        device: where they are wanted.
        label: of the progress.
    """

    def __init__(
        self, data: Data, size: int, config: SgdConfig, device: torch.device, label: str
    ) -> None:
        assert config.batch_size is not None  # resolved
        self.images, self.config, self.device, self.label = (
            labelled(data.probe_train), config, device, label,
        )  # fmt: skip
        kept = ViewsConfig(scale=config.crop, flip=config.flip, jitter=0, grayscale=0, blur=0)
        self.views = Views(kept, size, *data.normalization)
        self.batch = config.batch_size
        self.steps = max(len(self.images) // self.batch, 1)
        """Of an epoch: whole batches, or one of all images where they are fewer."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of all epochs."""
        images, config, n = self.images, self.config, len(self.images)
        labels = cast(Tensor, images.labels)
        resident = is_resident(images, config.data.resident, self.device)
        loader = Loader(images.pixels, self.device, resident)
        total = config.epochs * self.steps * self.batch
        with Progress(self.label, total, "images") as progress:
            for epoch in range(config.epochs):
                rows = permutation(n, config.seed, epoch).split(self.batch)[: self.steps]
                draw = generator(config.seed, epoch, "evaluation views")
                for batch, pixels in zip(rows, loader.batches(rows), strict=True):
                    x, _ = self.views(pixels, draw)
                    x = x.contiguous(memory_format=torch.channels_last)
                    yield x, labels[batch].to(self.device)
                    progress.advance(len(batch), f"epoch {epoch + 1}/{config.epochs}")


def learn(logits: Tensor, labels: Tensor, optimizer: Optimizer, schedule: LRScheduler) -> Tensor:
    """Take one step; return the loss."""
    loss = F.cross_entropy(logits, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    schedule.step()
    return loss.detach()


def check_convergence(
    losses: Iterable[Tensor], model: nn.Module, classes: int, lr: float, what: str
) -> None:
    """Refuse a classifier that has become worse than any guess, which is no result.

    Args:
        losses: of the steps of the last epoch.
        model: its weights must be finite: after the last step no loss has seen them.
        classes: that it tells apart.
        lr: its peak learning rate.
        what: it is, for the error.

    Raises:
        UserError: it diverged.
    """
    loss = float(torch.stack([*losses]).mean())
    finite = all(bool(p.isfinite().all()) for p in model.parameters())
    if not finite or not loss < FAR * math.log(max(classes, 2)):
        raise UserError(
            f"{what} diverged at --lr {lr}: take a lower one (the last epoch's mean loss is "
            f"{loss:.3g})"
        )


def accuracy(model: nn.Module, data: Data, size: int, config: SgdConfig) -> float:
    """Return the accuracy in % of a classifier, `[B, 3, H, W]` → `[B, C]`, on held-out images."""
    test = labelled(data.probe_test)
    pixels = centre(test.pixels, size) if config.centre_crop else test.pixels
    guess = extract(model, pixels, size, data.normalization).argmax(1)
    return percent(guess.eq(cast(Tensor, test.labels)))


def labelled(images: Images | None) -> Images:
    """Return images that must be there and have labels."""
    assert images is not None
    assert images.labels is not None
    return images


def centre(pixels: Tensor, size: int) -> Tensor:
    """Return the middle `[n, size, size, 3]` of images `[n, S, S, 3]`: torchvision's CenterCrop."""
    start = round((pixels.shape[1] - size) / 2)
    return pixels[:, start : start + size, start : start + size]
