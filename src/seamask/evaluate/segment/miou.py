"""Segmentation measures, all from one confusion matrix of the whole set."""

from __future__ import annotations

import torch
from torch import Tensor

from seamask.base.errors import UserError
from seamask.base.precision import in_float64
from seamask.data import VOID


def confusion(predicted: Tensor, truth: Tensor, n_classes: int, ignore: int = VOID) -> Tensor:
    """Count pixels by true and predicted class.

    Args:
        predicted: integer, any shape, in [0, C).
        truth: integer of that shape, in [0, C) or `ignore`.
        n_classes: C.
        ignore: pixels of this label are left out.

    Returns:
        int64 `[C, C]`: true class by row, predicted class by column.

    Raises:
        UserError: a label that is neither a class nor `ignore`.
    """
    check_labels(truth, n_classes, ignore)
    kept = truth != ignore
    pairs = truth[kept].long() * n_classes + predicted[kept].long()
    return torch.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def class_ious(confusion: Tensor) -> Tensor:
    """Return the intersection over union of each class in %.

    Args:
        confusion: int64 `[C, C]`, rows true.

    Returns:
        float64 `[C]`; nan for a class that occurs neither in truth nor in prediction.
    """
    counts = in_float64(confusion)
    hits = counts.diag()
    return 100 * hits / (counts.sum(0) + counts.sum(1) - hits)


def mean_iou(confusion: Tensor) -> float:
    """Return the mean intersection over union in %.

    The mean is over the classes that occur in truth or prediction, as in torchmetrics: a class
    predicted somewhere but nowhere true counts as 0; one that never occurs does not count.

    Args:
        confusion: int64 `[C, C]` of the whole set, rows true.
    """
    return float(class_ious(confusion).nanmean())


def check_labels(truth: Tensor, n_classes: int, ignore: int = VOID) -> None:
    """Refuse labels that are neither a class nor `ignore`.

    Raises:
        UserError: naming the largest.
    """
    wrong = truth[((truth < 0) | (truth >= n_classes)) & (truth != ignore)]
    if len(wrong):
        raise UserError(
            f"a label image holds the value {int(wrong.max())}, but there are {n_classes} classes: "
            f"labels must be 0 to {n_classes - 1}, or {ignore} for pixels that do not count"
        )
