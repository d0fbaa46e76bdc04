"""Clusters against classes."""

import pytest
import torch
from blobs import blobs

from seamask.evaluate.cluster import cluster_scores


def test_clusters_are_matched_to_classes():
    features, labels = blobs(200, 0, 0.1)
    perfect = cluster_scores(features, (labels + 1) % 4, restarts=3, seed=0)
    assert list(perfect)[:3] == ["ari", "nmi", "accuracy"]
    assert [perfect[name] for name in ("ari", "nmi", "accuracy")] == pytest.approx([1, 1, 100])
    noise = cluster_scores(torch.randn(200, 8), labels, restarts=3, seed=0)
    assert noise["accuracy"] < 45
    assert abs(noise["ari"]) < 0.1


def test_beside_chance_which_is_not_zero_with_many_classes():
    labels = torch.arange(100).repeat(3)
    found = cluster_scores(torch.randn(300, 8), labels, restarts=1, seed=0)
    assert found["nmi_chance"] > 0.5
    assert found["nmi"] == pytest.approx(found["nmi_chance"], abs=0.05)
    assert found["ari"] == pytest.approx(found["ari_chance"], abs=0.05)
    assert found["ari_chance"] == pytest.approx(0, abs=0.02)
    assert found["accuracy"] == pytest.approx(found["accuracy_chance"], abs=8)
