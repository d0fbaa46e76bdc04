"""kNN, linear probe and clusters against scikit-learn and literal transcriptions."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

from seamask.evaluate import Features, features, knn_accuracy, linear_accuracy
from seamask.evaluate.features import extract
from seamask.evaluate.probes import cluster_scores, knn_choose, knn_predict, linear_choose

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def blobs(n, seed, spread):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    centres = torch.eye(8)[:4] * 3
    return centres[labels] + spread * torch.randn(n, 8, generator=draw), labels


def literal_knn(train, train_labels, test, k=20, temperature=0.07):
    train, test = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test))
    found = []
    for row in test @ train.T:
        nearest = np.argsort(-row)[:k]
        votes = np.zeros(train_labels.max() + 1)
        for i in nearest:
            votes[train_labels[i]] += np.exp(row[i] / temperature)
        found.append(votes.argmax())
    return np.array(found)


def test_knn_is_the_weighted_vote_of_the_nearest():
    (train, labels), (test, truth) = blobs(200, 0, 1.5), blobs(100, 1, 1.5)
    guess = literal_knn(train.double().numpy(), labels.numpy(), test.double().numpy())
    expected = 100 * (guess == truth.numpy()).mean()
    assert 40 < expected < 99  # neither trivial nor hopeless
    assert knn_accuracy(Features(train, labels, test, truth)) == pytest.approx(expected)


def test_linear_probe_separates_what_is_separable_and_not_what_is_not():
    (train, labels), (test, truth) = blobs(200, 0, 0.3), blobs(100, 1, 0.3)
    assert linear_accuracy(Features(train, labels, test, truth)) > 95
    shuffled = labels[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    assert linear_accuracy(Features(train, shuffled, test, truth)) < 60


def test_features_are_those_of_eval_mode_and_leave_the_backbone_as_it_was(monkeypatch):
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    monkeypatch.setattr(features, "BATCH", 4)
    backbone.train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    pixels = torch.randint(0, 256, (10, 16, 16, 3), dtype=torch.uint8)
    found = extract(backbone, pixels, 16, MEAN, STD)
    assert backbone.training
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())
    images = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(
        STD
    )[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(found, backbone.eval()(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (7, 0.02), (50, 1.0)])
def test_knn_agrees_with_scikit_learn(k, temperature):
    (train, labels), (test, _) = blobs(300, 0, 2.0), blobs(150, 1, 2.0)
    model = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature)
    )
    expected = model.fit(train.numpy(), labels.numpy()).predict(test.numpy())
    (found,) = knn_predict(train, labels, test, [(k, temperature)])
    np.testing.assert_array_equal(found, expected)


def test_knn_survives_small_temperatures_and_few_images():
    train, labels = blobs(8, 0, 0.1)
    (found,) = knn_predict(train, labels, train, [(8, 1e-4)])  # exp(1 / 1e-4) is infinite
    assert torch.equal(found, labels)
    assert knn_accuracy(Features(train, labels, train, labels), k=200) == 100


def test_k_and_temperature_are_chosen_on_the_training_images_alone():
    train, labels = blobs(200, 0, 2.0)
    test, truth = blobs(100, 1, 2.0)
    features = Features(train, labels, test, truth)
    split = features.split(0.2, seed=0)
    assert len(split.train) == 160
    assert len(split.test) == 40
    assert torch.equal(split.test_labels.bincount(), torch.full((4,), 10))  # stratified
    rows = {tuple(row.tolist()) for row in train}
    assert {tuple(row.tolist()) for row in torch.cat([split.train, split.test])} == rows
    chosen = knn_choose(split, (1, 5, 20), (0.05, 0.2))
    scores = {
        (k, t): knn_accuracy(split, k, t) for k in (1, 5, 20) for t in (0.05, 0.2)
    }  # fmt: skip
    assert scores[chosen] == max(scores.values())
    other = Features(train, labels, test.flip(0), truth)  # other test images, the same choice
    assert knn_choose(other.split(0.2, seed=0), (1, 5, 20), (0.05, 0.2)) == chosen


def test_classes_of_one_image_can_be_split():
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    split = Features(torch.randn(6, 2), labels, torch.zeros(1, 2), labels[:1]).split(0.5, 0)
    assert len(split.train) == len(split.test) == 3


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_linear_probe_agrees_with_scikit_learn_run_to_the_end(strength):
    (train, labels), (test, truth) = blobs(400, 0, 2.0), blobs(400, 1, 2.0)
    scaler = StandardScaler().fit(train.double().numpy())
    model = LogisticRegression(C=strength, max_iter=10_000, tol=1e-10)
    model.fit(scaler.transform(train.double().numpy()), labels.numpy())
    expected = 100 * model.score(scaler.transform(test.double().numpy()), truth.numpy())
    found = linear_accuracy(Features(train, labels, test, truth), strength)
    assert found == pytest.approx(expected, abs=0.5)


def test_the_strength_of_the_linear_probe_is_chosen():
    # Few images in many dimensions, one of them telling: a strong penalty is better.
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    x = torch.randn(400, 100, generator=draw)
    x[:, 0] += 2 * labels
    split = Features(x[:100], labels[:100], x[100:], labels[100:])
    strengths = (1e-4, 1e-3, 1e-2, 1.0, 100.0)
    chosen = linear_choose(split, strengths)
    found = {c: linear_accuracy(split, c) for c in strengths}
    assert found[chosen] >= max(found.values()) - 0.7
    assert found[chosen] > found[100.0] + 3


def test_clusters_are_matched_to_classes():
    features, labels = blobs(200, 0, 0.1)
    perfect = cluster_scores(features, (labels + 1) % 4, restarts=3, seed=0)
    assert perfect == {"accuracy": 100, "nmi": pytest.approx(1), "ari": pytest.approx(1)}
    noise = cluster_scores(torch.randn(200, 8), labels, restarts=3, seed=0)
    assert noise["accuracy"] < 45
    assert abs(noise["ari"]) < 0.1
