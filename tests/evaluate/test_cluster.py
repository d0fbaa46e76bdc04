"""Clusters against classes."""

import pytest
import torch
from blobs import blobs

from seamask.evaluate.cluster import cluster_scores


def test_clusters_are_matched_to_classes():
    features, labels = blobs(200, 0, 0.1)
    perfect = cluster_scores(features, (labels + 1) % 4, restarts=3, seed=0)
    assert perfect == {"accuracy": 100, "nmi": pytest.approx(1), "ari": pytest.approx(1)}
    noise = cluster_scores(torch.randn(200, 8), labels, restarts=3, seed=0)
    assert noise["accuracy"] < 45
    assert abs(noise["ari"]) < 0.1
