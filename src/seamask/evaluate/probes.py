"""kNN and linear probe on frozen features, with scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from seamask.data import Data
from seamask.evaluate.features import extract

NEIGHBOURS = 20
TEMPERATURE = 0.07  # of the votes' weights, exp(cosine / 0.07) (Wu et al. 2018)
LINEAR_C = 0.1  # inverse L2 strength; fixed, never chosen on the test images


def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Return the accuracy in % of a weighted cosine kNN with 20 neighbours.

    Args:
        train: features `[n, F]`.
        train_labels: `[n]`.
        test: features `[m, F]`.
        test_labels: `[m]`.
    """
    model = KNeighborsClassifier(
        n_neighbors=min(NEIGHBOURS, len(train)),
        metric="cosine",
        weights=lambda distance: np.exp((1 - distance) / TEMPERATURE),
    )
    model.fit(train.numpy(), train_labels.numpy())
    return 100 * float(model.score(test.numpy(), test_labels.numpy()))


def linear_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor
) -> float:
    """Return the accuracy in % of a logistic regression on standardised features.

    Arguments as for `knn_accuracy`.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=LINEAR_C, max_iter=200, tol=1e-3))
    model.fit(train.numpy(), train_labels.numpy())
    return 100 * float(model.score(test.numpy(), test_labels.numpy()))


def probe(backbone: nn.Module, data: Data, size: int) -> dict[str, float]:
    """Return `probe/knn` and `probe/linear` in % on held-out images; nothing without labels.

    The backbone is frozen and left as it was.
    """
    fit, test = data.probe_train, data.probe_test
    if fit is None or test is None or fit.labels is None or test.labels is None:
        return {}
    if len(fit.labels.unique()) < 2 or len(test) == 0:
        return {}  # nothing to tell apart
    train_features = extract(backbone, fit.pixels, size, data.mean, data.std)
    test_features = extract(backbone, test.pixels, size, data.mean, data.std)
    arguments = (train_features, fit.labels, test_features, test.labels)
    return {"probe/knn": knn_accuracy(*arguments), "probe/linear": linear_accuracy(*arguments)}
