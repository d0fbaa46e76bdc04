"""Quick probes for curves during pretraining, with fixed settings."""

from __future__ import annotations

from torch import nn

from seamask.data import Data
from seamask.evaluate.features import features_of
from seamask.evaluate.knn import knn_accuracy
from seamask.evaluate.linear import linear_accuracy

NEIGHBOURS, TEMPERATURE = 20, 0.07  # Wu et al. 2018: T
STRENGTH = 0.1  # inverse L2 strength, never chosen on test images
GRADIENT = 1e-3  # within 0.2 points of the evaluation's, in a third of its time


def probe(backbone: nn.Module, data: Data, size: int) -> dict[str, float]:
    """Return `probe/knn` and `probe/linear` in % on held-out images; nothing without labels.

    The backbone is left as it was.
    """
    features = features_of(backbone, data, size)
    if features is None:
        return {}
    device = next(backbone.parameters()).device
    return {
        "probe/knn": features.fitted(device, lambda x: knn_accuracy(x, NEIGHBOURS, TEMPERATURE)),
        "probe/linear": features.fitted(device, lambda x: linear_accuracy(x, STRENGTH, GRADIENT)),
    }
