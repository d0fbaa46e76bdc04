"""Probes and mask scores, on cases with known answers."""

import numpy as np
import pytest
import torch
from torch import nn

from seamask.evaluate import knn_accuracy, linear_accuracy, mean_best_iou, object_scores, predict
from seamask.evaluate.features import extract
from seamask.masks import RandomBlockMasker

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
    assert knn_accuracy(train, labels, test, truth) == pytest.approx(expected)


def test_linear_probe_separates_what_is_separable_and_not_what_is_not():
    (train, labels), (test, truth) = blobs(200, 0, 0.3), blobs(100, 1, 0.3)
    assert linear_accuracy(train, labels, test, truth) > 95
    shuffled = labels[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    assert linear_accuracy(train, shuffled, test, truth) < 60


def test_features_are_those_of_eval_mode_and_leave_the_backbone_as_it_was():
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    backbone.train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    pixels = torch.randint(0, 256, (10, 16, 16, 3), dtype=torch.uint8)
    found = extract(backbone, pixels, 16, MEAN, STD, batch=4)
    assert backbone.training
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())
    images = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(
        STD
    )[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(found, backbone.eval()(images), rtol=1e-4, atol=1e-5)


def test_predicted_masks_come_in_the_order_of_the_images():
    class Brightness(nn.Module):
        def forward(self, images, generator=None):
            return images.mean(1, keepdim=True).sigmoid()

    pixels = torch.arange(7, dtype=torch.uint8)[:, None, None, None].expand(7, 8, 8, 3) * 30
    masks = predict(Brightness(), pixels, 8, MEAN, STD, batch=3)
    assert masks.shape == (7, 1, 8, 8)
    assert (masks.mean((1, 2, 3)).diff() > 0).all()


def test_mean_best_iou_by_hand():
    objects = torch.zeros(2, 4, 4, dtype=torch.uint8)
    objects[0, :2, :2] = 1  # 4 pixels
    objects[0, 3, :] = 2  # 4 pixels
    objects[1, :, 0] = 1  # 4 pixels
    removed = torch.zeros(2, 2, 4, 4, dtype=torch.bool)
    removed[0, 0, :2, :] = True  # 8 pixels, 4 of object 1: IoU 1/2
    removed[0, 1, 3, 1:] = True  # 3 pixels of object 2: IoU 3/4
    removed[1, 0] = True  # everything: 4/16
    assert mean_best_iou(removed, objects) == pytest.approx((1 / 2 + 3 / 4 + 1 / 4) / 3)


def test_scores_of_perfect_empty_and_random_masks():
    draw = torch.Generator().manual_seed(0)
    objects = torch.zeros(200, 32, 32, dtype=torch.uint8)
    objects[:, 8:24, 8:24] = 1
    perfect = (objects == 1)[:, None].float()
    scores = object_scores(perfect, objects)
    assert scores["mask/iou"] == 1
    assert 0.05 < scores["mask/iou_random"] < 0.5
    assert object_scores(torch.zeros(200, 2, 32, 32), objects)["mask/iou"] == 0
    # Random blocks score like the random blocks they are compared with.
    blocks = RandomBlockMasker(1, 0.25)(torch.zeros(200, 3, 32, 32), draw)
    scores = object_scores(blocks, objects)
    assert scores["mask/iou"] == pytest.approx(scores["mask/iou_random"], abs=0.06)
