"""Clusters of held-out images against their classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch import Tensor

from seamask.base.settings import Within
from seamask.evaluate.features import labelled_features
from seamask.evaluate.task import TASKS, Context, EvaluationConfig, Metric, Task


@dataclass(frozen=True)
class ClusterConfig(EvaluationConfig):
    """k-means on frozen features of the held-out images, as many clusters as classes."""

    restarts: Annotated[int, Within(1, 10_000)] = 10
    """Of k-means; the best is kept."""


def run(context: Context) -> dict[str, float]:
    """Return `cluster_scores` of the held-out images."""
    features = labelled_features(context)
    return cluster_scores(
        features.test, features.test_labels, context.config.restarts, context.config.seed
    )


TASKS.register("cluster")(
    Task(
        "k-means clusters of frozen features against classes",
        ClusterConfig,
        run,
        (Metric("accuracy", "%"), Metric("nmi"), Metric("ari")),
        needs=("labels",),
    )
)


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
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import KMeans  # slow to import, as is all of scikit-learn
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix
    from sklearn.preprocessing import StandardScaler

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
