"""Quick probes: the accuracies of kNN and of a linear classifier, with fixed settings."""

from dataclasses import replace

import torch
from torch import nn

from seamask.config import DataConfig
from seamask.data import load
from seamask.evaluate.features import features_of
from seamask.evaluate.knn import knn_accuracy
from seamask.evaluate.linear import linear_accuracy
from seamask.evaluate.probes import probe


def test_the_probes_are_those_of_the_evaluations_and_need_labels(cache):
    data = load(DataConfig(cache=str(cache), shapes_train=64, shapes_test=32), 32)
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    features = features_of(backbone, data, 32)
    assert probe(backbone, data, 32) == {
        "probe/knn": knn_accuracy(features, 20, 0.07),
        "probe/linear": linear_accuracy(features, 0.1, 1e-3),
    }
    assert probe(backbone, replace(data, probe_test=None), 32) == {}
