"""How masks follow objects, on cases with known answers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from torch import nn

from seamask.data import Normalization
from seamask.evaluate import features, following, mean_best_iou, object_scores, predict
from seamask.evaluate.following import resized
from seamask.masks import RandomBlockMasker

NORMALIZATION = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_predicted_masks_come_in_the_order_of_the_images(monkeypatch):
    class Brightness(nn.Module):
        def forward(self, images, generator=None, objects=None):
            seen = images.mean(1, keepdim=True).sigmoid()
            return seen if objects is None else objects[:, None]

    monkeypatch.setattr(features, "BATCH", 3)
    pixels = torch.arange(7, dtype=torch.uint8)[:, None, None, None].expand(7, 8, 8, 3) * 30
    masks = predict(Brightness(), pixels, 8, NORMALIZATION)
    assert masks.shape == (7, 1, 8, 8)
    assert (masks.mean((1, 2, 3)).diff() > 0).all()
    maps = torch.arange(7)[:, None, None].expand(7, 8, 8)
    assert torch.equal(predict(Brightness(), pixels, 8, NORMALIZATION, maps)[:, 0], maps.float())


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


def two_objects():
    objects = torch.zeros(1, 4, 4, dtype=torch.uint8)
    objects[0, :2, :2] = 1  # 4 pixels
    objects[0, 2:, :] = 2  # 8 pixels
    return objects


def test_masks_that_are_the_objects_are_perfect():
    objects = two_objects()
    masks = torch.stack([objects == 2, objects == 1], dim=1).float()
    expected = dict.fromkeys(["iou", "ari", "covering", "mean_covering"], pytest.approx(1))
    assert following(masks, objects) == expected


def test_measures_by_hand():
    objects = two_objects()
    masks = torch.zeros(1, 2, 4, 4)
    masks[0, 0, :, :2] = 0.9  # the left half: object 1 and half of object 2
    masks[0, 1, 2:, :] = 0.6  # object 2, but its left half is the first mask's: it is stronger
    found = following(masks, objects)
    # The masks as they are: object 1 with the left half 4/8; object 2 with the second mask 1.
    assert found["iou"] == pytest.approx((1 / 2 + 1) / 2)
    # The segments: left half (8), lower right (4), nothing (4: upper right).
    best = {1: 4 / 8, 2: 4 / 8}
    assert found["covering"] == pytest.approx((4 * best[1] + 8 * best[2]) / 12)
    assert found["mean_covering"] == pytest.approx((best[1] + best[2]) / 2)
    truth = [1] * 4 + [2] * 8
    segments = [0] * 4 + [0, 0, 1, 1] * 2
    assert found["ari"] == pytest.approx(adjusted_rand_score(truth, segments))


def test_one_object_has_no_rand_index_and_void_counts_nowhere():
    objects = torch.zeros(1, 4, 4, dtype=torch.uint8)
    objects[0, :2] = 1
    objects[0, 2] = 255
    masks = torch.zeros(1, 1, 4, 4)
    masks[0, 0, :3] = 1  # the object and the void
    assert following(masks, objects) == {"iou": 1, "covering": 1, "mean_covering": 1}
    assert mean_best_iou(masks > 0.5, objects) == 1


def test_images_without_objects_do_not_count():
    objects = torch.cat([two_objects(), torch.zeros(1, 4, 4, dtype=torch.uint8)])
    masks = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert following(masks, objects) == following(masks[:1], objects[:1])


@given(st.integers(0, 10_000))
def test_rand_index_is_that_of_scikit_learn_over_images(seed):
    draw = torch.Generator().manual_seed(seed)
    objects = torch.randint(0, 4, (3, 6, 6), generator=draw)
    masks = torch.rand(3, 2, 6, 6, generator=draw)
    expected = []
    for thing, mask in zip(objects.numpy(), masks.numpy(), strict=True):
        segment = np.where(mask.max(0) >= 0.5, mask.argmax(0), 2)
        expected.append(adjusted_rand_score(thing[thing > 0], segment[thing > 0]))
    assert following(masks, objects)["ari"] == pytest.approx(np.mean(expected))


def test_object_maps_are_resized_by_the_nearest_pixel():
    objects = torch.tensor([[[0, 7], [255, 3]]], dtype=torch.uint8)
    assert torch.equal(
        resized(objects, 4), objects.long().repeat_interleave(2, 1).repeat_interleave(2, 2)
    )
