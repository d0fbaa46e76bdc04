"""Crops: they follow their classes, and depend on nothing but seed, epoch and image."""

import dataclasses

import torch
from squares import SMALL, squares

from seamask.evaluate.segment.images import Crops


def test_crops_follow_their_classes_and_fill_with_void():
    data = squares()
    crops = Crops(data.train, data, dataclasses.replace(SMALL, crop=48, scale=(0.4, 0.6)))
    for index in range(8):
        image, classes = crops[0, index]
        assert image.shape == (3, 48, 48)
        assert image.dtype == torch.float32
        assert classes.shape == (48, 48)
        assert classes.dtype == torch.uint8
        assert set(classes.unique().tolist()) <= {0, 1, 255}
        outside = classes == 255
        assert outside.float().mean() > 0.3
        inside = image.mean(0)[~outside]
        bright = inside > 0
        assert (bright == (classes[~outside] == 1)).float().mean() > 0.9
        assert image.abs().amin(0)[outside].median() < 0.01  # the mean colour


def test_a_crop_is_a_function_of_seed_epoch_and_image():
    data = squares()
    torch.manual_seed(0)
    crops = Crops(data.train, data, SMALL)
    first = crops[3, 5]
    torch.manual_seed(1)
    again = Crops(data.train, data, SMALL)
    again[0, 0]
    state = torch.get_rng_state()
    assert all(torch.equal(a, b) for a, b in zip(first, again[3, 5], strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first[0], crops[4, 5][0])
    other = Crops(data.train, data, dataclasses.replace(SMALL, seed=1))
    assert not torch.equal(first[0], other[3, 5][0])
