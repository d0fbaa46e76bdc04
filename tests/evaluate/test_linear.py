"""The linear classifier on cached features against scikit-learn."""

import pytest
import torch
from blobs import blobs
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from seamask.evaluate import Features
from seamask.evaluate.linear import linear_accuracy, linear_choose


def test_linear_probe_separates_what_is_separable_and_not_what_is_not():
    (train, labels), (test, truth) = blobs(200, 0, 0.3), blobs(100, 1, 0.3)
    assert linear_accuracy(Features(train, labels, test, truth), 0.1) > 95
    shuffled = labels[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    assert linear_accuracy(Features(train, shuffled, test, truth), 0.1) < 60


@pytest.mark.parametrize("strength", [0.001, 0.01, 1.0, 100.0])
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


def test_a_probe_of_many_classes_is_scikit_learns_softmax_regression():
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(12, 20, generator=draw)
    labels, truth = torch.arange(600) % 12, torch.arange(1200) % 12
    train, test = (
        centres[y] + 2 * torch.randn(len(y), 20, generator=draw) for y in (labels, truth)
    )
    scaler = StandardScaler().fit(train.numpy())
    model = LogisticRegression(C=0.1, max_iter=10_000, tol=1e-10)
    model.fit(scaler.transform(train.numpy()), labels.numpy())
    expected = 100 * model.score(scaler.transform(test.numpy()), truth.numpy())
    assert 40 < expected < 90
    assert linear_accuracy(Features(train, labels, test, truth), 0.1) == pytest.approx(
        expected, abs=0.5
    )


def test_a_probe_does_not_depend_on_what_is_around_it():
    (train, labels), (test, truth) = blobs(400, 0, 2.0), blobs(400, 1, 2.0)
    features, cpu = Features(train, labels, test, truth), torch.device("cpu")
    expected, draws = linear_accuracy(features, 0.1), torch.get_rng_state()
    for around in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        with around:
            made = Features(train.clone(), labels.clone(), test.clone(), truth.clone())
            assert made.fitted(cpu, lambda x: linear_accuracy(x, 0.1)) == expected
    assert torch.equal(torch.get_rng_state(), draws)


def test_what_does_not_fit_on_a_device_is_fitted_on_the_cpu():
    features = Features(*(x for seed in (0, 1) for x in blobs(20, seed, 2.0)))
    seen = []

    def fit(x):
        seen.append(x.train.device.type)
        if x.train.device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return 1

    assert features.fitted(torch.device("meta"), fit) == 1
    assert seen == ["meta", "cpu"]
