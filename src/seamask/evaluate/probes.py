"""kNN, linear probe and clustering on frozen features; hard numerics by scikit-learn."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from seamask.data import Data
from seamask.evaluate.features import extract

NEIGHBOURS, TEMPERATURE = 20, 0.07  # of the probes during pretraining (Wu et al. 2018: T)
LINEAR_C = 0.1  # of the probes during pretraining: inverse L2 strength, never chosen on test images
QUERIES = 1024  # kNN queries at once
ITERATIONS = 200  # of logistic regression, at most


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

    def split(self, share: float, seed: int) -> Features:
        """Return the training images split in two: most of them, and a share to choose on."""
        labels = self.train_labels.numpy()
        counts = np.bincount(labels)
        every = counts[counts > 0].min() >= 2 and share * len(labels) >= (counts > 0).sum()
        rest, held = train_test_split(
            np.arange(len(labels)), test_size=share, random_state=seed,
            stratify=labels if every else None,
        )  # fmt: skip
        return Features(
            self.train[rest], self.train_labels[rest], self.train[held], self.train_labels[held]
        )


def knn_predict(
    train: Tensor, train_labels: Tensor, queries: Tensor, settings: Sequence[tuple[int, float]]
) -> list[Tensor]:
    """Classify by a vote of the nearest, weighted by exp(cosine / T) (Wu et al. 2018).

    Args:
        train: features `[n, F]`.
        train_labels: int64 `[n]`.
        queries: features `[m, F]`.
        settings: pairs (k, T); k is at most n.

    Returns:
        For each pair the classes found, int64 `[m]`. Of two classes with equal votes the lower.
    """
    train, queries = (nn.functional.normalize(x, dim=1) for x in (train, queries))
    most = max(k for k, _ in settings)
    classes = int(train_labels.max()) + 1
    found: list[list[Tensor]] = [[] for _ in settings]
    for part in queries.split(QUERIES):
        cosine, nearest = (part @ train.T).topk(most, dim=1)  # [q, k], falling
        labels = train_labels[nearest]
        for results, (k, temperature) in zip(found, settings, strict=True):
            # Relative to the nearest: exp(1 / 0.005) would overflow.
            weights = ((cosine[:, :k] - cosine[:, :1]) / temperature).exp()
            votes = weights.new_zeros(len(part), classes).scatter_add_(1, labels[:, :k], weights)
            results.append(votes.argmax(1))
    return [torch.cat(results) for results in found]


def knn_accuracy(
    features: Features, k: int = NEIGHBOURS, temperature: float = TEMPERATURE
) -> float:
    """Return the accuracy in % of a weighted cosine kNN on the test images."""
    pair = min(k, len(features.train)), temperature
    (guess,) = knn_predict(features.train, features.train_labels, features.test, [pair])
    return _percent(guess == features.test_labels)


def knn_choose(
    features: Features, neighbours: Sequence[int], temperatures: Sequence[float]
) -> tuple[int, float]:
    """Return the pair (k, T) that classifies `features.test` best; of equals the first.

    Give it a split of the training images, never the test images.
    """
    known = sorted({min(k, len(features.train)) for k in neighbours})
    pairs = list(itertools.product(known, temperatures))
    guesses = knn_predict(features.train, features.train_labels, features.test, pairs)
    right = [int((guess == features.test_labels).sum()) for guess in guesses]
    return pairs[right.index(max(right))]


def linear_accuracy(features: Features, strength: float = LINEAR_C) -> float:
    """Return the accuracy in % of logistic regression on standardised features.

    Args:
        features: of training and test images.
        strength: C, the inverse of the L2 strength.
    """
    return _linear_path(features, [strength])[0]


def linear_choose(features: Features, strengths: Sequence[float]) -> float:
    """Return the C that classifies `features.test` best, the strongest penalty of equals.

    Give it a split of the training images, never the test images.
    """
    strengths = sorted(strengths)
    scores = _linear_path(features, strengths)
    return strengths[scores.index(max(scores))]


def _linear_path(features: Features, strengths: Sequence[float]) -> list[float]:
    """Return the accuracy in % at each C, each fit starting where the one before ended."""
    scaler = StandardScaler().fit(features.train.numpy())
    train, test = (scaler.transform(x.numpy()) for x in (features.train, features.test))
    model = LogisticRegression(max_iter=ITERATIONS, tol=1e-3, warm_start=True)
    scores = []
    for strength in strengths:
        model.set_params(C=strength)
        with warnings.catch_warnings():  # 200 iterations are within 0.1 points of convergence
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, features.train_labels.numpy())
        scores.append(100 * float(model.score(test, features.test_labels.numpy())))
    return scores


def cluster_scores(features: Tensor, labels: Tensor, restarts: int, seed: int) -> dict[str, float]:
    """Cluster features by k-means, as many clusters as classes; compare with the classes.

    Args:
        features: `[n, F]`, standardised here.
        labels: int64 `[n]`.
        restarts: of k-means; the best is kept.
        seed: of the starts.

    Returns:
        `nmi` and `ari` in [0, 1] (ARI down to −0.5), `accuracy` in % with each cluster matched to
        one class.
    """
    truth = labels.numpy()
    values = StandardScaler().fit_transform(features.numpy())
    k = min(len(np.unique(truth)), len(truth))
    found = KMeans(k, n_init=restarts, random_state=seed).fit_predict(values)
    table = contingency_matrix(truth, found)
    rows, columns = linear_sum_assignment(-table)
    return {
        "accuracy": 100 * float(table[rows, columns].sum() / len(truth)),
        "nmi": float(normalized_mutual_info_score(truth, found)),
        "ari": float(adjusted_rand_score(truth, found)),
    }


def features_of(backbone: nn.Module, data: Data, size: int) -> Features | None:
    """Return features of a data set's labelled images; None if these cannot be told apart.

    The backbone is frozen and left as it was.
    """
    fit, test = data.probe_train, data.probe_test
    if fit is None or test is None or fit.labels is None or test.labels is None:
        return None
    if len(fit.labels.unique()) < 2 or len(test) == 0:
        return None
    train, held = (extract(backbone, x.pixels, size, data.mean, data.std) for x in (fit, test))
    return Features(train, fit.labels, held, test.labels)


def probe(backbone: nn.Module, data: Data, size: int) -> dict[str, float]:
    """Return `probe/knn` and `probe/linear` in % on held-out images; nothing without labels.

    Quick, with fixed settings: for curves during pretraining. The backbone is left as it was.
    """
    features = features_of(backbone, data, size)
    if features is None:
        return {}
    return {"probe/knn": knn_accuracy(features), "probe/linear": linear_accuracy(features)}


def _percent(right: Tensor) -> float:
    return 100 * float(right.float().mean())
