"""Frozen features of a backbone, for whatever is fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from seamask.base.channels import as_channels
from seamask.base.devices import upload
from seamask.base.errors import UserError
from seamask.base.memory import memory_asked
from seamask.data import Data, Normalization
from seamask.evaluate.task import Context
from seamask.views import normalize

BATCH = 256  # images at once
CPU = torch.device("cpu")
T = TypeVar("T")


@torch.no_grad()
def over_images(
    function: Callable[[Tensor], Tensor],
    device: torch.device,
    pixels: Tensor,
    size: int,
    normalization: Normalization,
) -> Tensor:
    """Return what a function makes of whole images, without augmentation and without gradient.

    Args:
        function: normalised images `[B, C, size, size]`, channels-last → `[B, ...]`.
        device: where to compute.
        pixels: uint8 `[n, S, S, 1 or 3]`; made grey, or three of one, as C asks.
        size: side at which the function sees them.
        normalization: of C channels.

    Returns:
        float32 `[n, ...]` on the CPU.
    """
    found = []
    on_gpu = device.type == "cuda"
    for part in pixels.split(BATCH):
        part = as_channels(upload(part, device), len(normalization.mean))
        images = normalize(part.permute(0, 3, 1, 2), normalization.mean, normalization.std, size)
        images = images.contiguous(memory_format=torch.channels_last)
        found.append(function(images).float().to("cpu", non_blocking=on_gpu))
    if on_gpu:
        torch.cuda.synchronize(device)  # once: what is copied is there now
    return torch.cat(found)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, a module is in eval mode; after it in the mode that it was in."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def extract(backbone: nn.Module, pixels: Tensor, size: int, normalization: Normalization) -> Tensor:
    """Return the features `[n, F]` of images, in eval mode; see `over_images`.

    The backbone, `[B, C, H, W]` → `[B, F]`, is left as it was, its training mode included.
    """
    device = next(backbone.parameters()).device
    with evaluating(backbone):
        return over_images(backbone, device, pixels, size, normalization)


@contextmanager
def _in_float32(device: torch.device) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
            if torch.amp.is_autocast_available(device.type):
                stack.enter_context(torch.autocast(device.type, enabled=False))
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@dataclass(frozen=True)
class Features:
    """Features of labelled images.

    Attributes:
        train: float32 `[n, F]`.
        train_labels: int64 `[n]`.
        test: float32 `[m, F]`.
        test_labels: int64 `[m]`.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    def fitted(self, device: torch.device, fit: Callable[[Features], T]) -> T:
        """Return what `fit` makes of them on a device, or on the CPU where its memory is short.

        In float32 and with gradients, whatever the precision of a training around it is.
        """
        try:
            return self._fitted(device, fit)
        except Exception as error:
            if device == CPU or memory_asked(error) is None:
                raise
        return self._fitted(CPU, fit)  # outside, since the error holds what was on the device

    def _fitted(self, device: torch.device, fit: Callable[[Features], T]) -> T:
        tensors = self.train, self.train_labels, self.test, self.test_labels
        with _in_float32(device):
            return fit(Features(*(x.to(device) for x in tensors)))

    def split(self, share: float, seed: int) -> Features:
        """Return the training images split in two: most of them, and a share to choose on.

        Raises:
            UserError: they are too few for that.
        """
        from sklearn.model_selection import train_test_split  # slow to import

        labels = self.train_labels.cpu().numpy()
        counts = np.bincount(labels)
        if len(labels) < 2:
            raise UserError("one labelled training image: none is left to choose settings on")
        every = counts[counts > 0].min() >= 2 and share * len(labels) >= (counts > 0).sum()
        rest, held = train_test_split(
            np.arange(len(labels)), test_size=share, random_state=seed,
            stratify=labels if every else None,
        )  # fmt: skip
        return Features(
            self.train[rest], self.train_labels[rest], self.train[held], self.train_labels[held]
        )


def features_of(backbone: nn.Module, data: Data, size: int) -> Features | None:
    """Return features of a data set's labelled images; None if these cannot be told apart.

    The backbone is frozen and left as it was.

    Raises:
        UserError: they are not finite.
    """
    fit, test = data.probe_train, data.probe_test
    if fit is None or test is None or fit.labels is None or test.labels is None:
        return None
    if len(fit.labels.unique()) < 2 or len(test) == 0:
        return None
    train, held = (extract(backbone, x.pixels, size, data.normalization) for x in (fit, test))
    if not (train.isfinite().all() and held.isfinite().all()):
        raise UserError("the encoder's features are not finite: its training diverged")
    return Features(train, fit.labels, held, test.labels)


def labelled_features(context: Context) -> Features:
    """Return the features of the images of an evaluation that needs labels.

    Raises:
        UserError: their classes cannot be told apart.
    """
    features = features_of(context.subject.backbone, context.data, context.size)
    if features is None:
        raise UserError(
            f"--data {context.data.name}: its labelled training images are all of one class, which "
            "nothing can be told apart from"
        )
    return features


def percent(right: Tensor) -> float:
    """Return how many are right, bool `[n]`, in %."""
    return 100 * float(right.float().mean())
