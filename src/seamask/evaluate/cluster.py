"""Clusters of held-out images against their classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from torch import Tensor

from seamask.base.settings import Within
from seamask.evaluate.features import labelled_features
from seamask.evaluate.task import TASKS, Context, EvaluationConfig, Metric, Task

SHUFFLES = 20  # of the classes, over which chance is averaged
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClusterConfig(EvaluationConfig):
    """k-means on frozen features of the held-out images, as many clusters as classes."""

    restarts: Annotated[int, Within(1, 10_000)] = 10
    """Of k-means; the best is kept."""


def run(context: Context) -> dict[str, float]:
    """Return `cluster_scores` of the held-out images, and of their classes in random order."""
    features = labelled_features(context)
    return cluster_scores(
        features.test, features.test_labels, context.config.restarts, context.config.seed
    )


TASKS.register("cluster")(
    Task(
        "k-means clusters of frozen features against classes",
        ClusterConfig,
        run,
        (
            Metric("ari"),
            Metric("nmi"),
            Metric("accuracy", "%"),
            Metric("ari_chance"),
            Metric("nmi_chance"),
            Metric("accuracy_chance", "%"),
        ),
        needs=("labels",),
        rivals=("chance",),
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
        `ari` (1 is perfect, 0 chance, at least −0.5), `nmi` in [0, 1], `accuracy` in % with each
        cluster matched to one class. Beside each, as `…_chance`, its mean over `SHUFFLES` random
        orders of the classes: with many classes and few images NMI and accuracy are far above 0
        for clusters that mean nothing.
    """
    from sklearn.cluster import KMeans  # slow to import, as is all of scikit-learn
    from sklearn.preprocessing import StandardScaler

    truth = labels.numpy()
    values = StandardScaler().fit_transform(features.numpy())
    k = min(len(np.unique(truth)), len(truth))
    found = KMeans(k, n_init=restarts, random_state=seed).fit_predict(values)
    draw = np.random.default_rng(seed)
    chance = [agreement(draw.permutation(truth), found) for _ in range(SHUFFLES)]
    return agreement(truth, found) | {
        f"{name}_chance": float(np.mean([one[name] for one in chance])) for name in chance[0]
    }


def agreement(truth: Labels, found: Labels) -> dict[str, float]:
    """Return `ari`, `nmi` and `accuracy` of clusters and classes, int `[n]`."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    table = contingency_matrix(truth, found)
    rows, columns = linear_sum_assignment(-table)
    return {
        "ari": float(adjusted_rand_score(truth, found)),
        "nmi": float(normalized_mutual_info_score(truth, found)),
        "accuracy": 100 * float(table[rows, columns].sum() / len(truth)),
    }
