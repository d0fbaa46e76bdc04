"""kNN: held-out images classified by the training images whose features are nearest."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from seamask.base.settings import Within
from seamask.evaluate.features import Features, labelled_features, percent
from seamask.evaluate.task import ACCURACY, TASKS, Context, EvaluationConfig, Metric, Task

QUERIES = 1024  # classified at once


@dataclass(frozen=True)
class KnnConfig(EvaluationConfig):
    """Weighted cosine kNN on frozen features; k and temperature are chosen on training images."""

    neighbours: Annotated[tuple[int, ...], Within(1, some=True)] = (5, 10, 20, 50, 100, 200)
    """Numbers of neighbours to choose from."""
    temperatures: Annotated[tuple[float, ...], Within(0, above=True, some=True)] = (
        0.02,
        0.05,
        0.07,
        0.1,
        0.2,
    )
    """Temperatures of the votes' weights, exp(cosine / T) (Wu et al. 2018: 0.07)."""
    share: Annotated[float, Within(0, 1, above=True, below=True)] = 0.1
    """Share of the training images on which the two are chosen."""


def run(context: Context) -> dict[str, float]:
    """Return the accuracy in %, that of chance, and the k and temperature that were chosen."""
    config: KnnConfig = context.config
    features = labelled_features(context)
    k, temperature = features.split(config.share, config.seed).fitted(
        context.device, lambda split: knn_choose(split, config.neighbours, config.temperatures)
    )
    accuracy = features.fitted(context.device, lambda x: knn_accuracy(x, k, temperature))
    found = {"accuracy": accuracy, "accuracy_chance": context.data.chance}
    return found | {"k": float(k), "temperature": temperature}


TASKS.register("knn")(
    Task(
        "weighted cosine kNN on frozen features, k and temperature chosen on training images",
        KnnConfig,
        run,
        (*ACCURACY, Metric("k"), Metric("temperature")),
        needs=("labels",),
        rivals=("chance",),
    )
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
        For each pair the classes found, int64 `[m]`. Of two classes with equal votes the lower, as
        far as a GPU adds votes in the same order twice.
    """
    train, queries = (F.normalize(x, dim=1) for x in (train, queries))
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


def knn_accuracy(features: Features, k: int, temperature: float) -> float:
    """Return the accuracy in % of a weighted cosine kNN on the test images."""
    pair = min(k, len(features.train)), temperature
    (guess,) = knn_predict(features.train, features.train_labels, features.test, [pair])
    return percent(guess == features.test_labels)


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
