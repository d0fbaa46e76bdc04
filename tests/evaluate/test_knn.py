"""kNN against scikit-learn and a literal transcription."""

import numpy as np
import pytest
import torch
from blobs import blobs
from sklearn.neighbors import KNeighborsClassifier

from seamask.evaluate import Features
from seamask.evaluate.knn import knn_accuracy, knn_choose, knn_predict


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
    assert knn_accuracy(Features(train, labels, test, truth), 20, 0.07) == pytest.approx(expected)


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
    assert knn_accuracy(Features(train, labels, train, labels), 200, 0.07) == 100


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
