"""Quick probes for curves during pretraining, with fixed settings."""

from __future__ import annotations

from torch import nn

from seamask.data import Data
from seamask.evaluate.features import features_of
from seamask.evaluate.knn import knn_accuracy
from seamask.evaluate.linear import linear_accuracy

NEIGHBOURS, TEMPERATURE = 20, 0.07  # Wu et al. 2018: T
STRENGTH = 0.1  # inverse L2 strength, never chosen on test images


def probe(backbone: nn.Module, data: Data, size: int) -> dict[str, float]:
    """Return `probe/knn` and `probe/linear` in % on held-out images; nothing without labels.

    The backbone is left as it was.
    """
    features = features_of(backbone, data, size)
    if features is None:
        return {}
    features = features.near(next(backbone.parameters()).device)
    return {
        "probe/knn": knn_accuracy(features, NEIGHBOURS, TEMPERATURE),
        "probe/linear": linear_accuracy(features, STRENGTH),
    }
