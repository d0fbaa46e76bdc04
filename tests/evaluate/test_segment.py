"""Segmentation: measures against hand and torchmetrics; fine-tuning learns and leaves no trace."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn
from torch.utils.data import Dataset
from torchmetrics.classification import MulticlassJaccardIndex

from seamask.base.errors import UserError
from seamask.data import Normalization, Segmentation
from seamask.evaluate.config import SegmentConfig
from seamask.evaluate.miou import class_ious, confusion, mean_iou
from seamask.evaluate.segment import (
    Crops,
    cross_entropy,
    finetune_segmentation,
    optimizer_and_schedule,
)
from seamask.networks.fcn import FCN, starts, windowed

CPU = torch.device("cpu")
SMALL = SegmentConfig(
    image_size=32, epochs=2, batch_size=4, lr=0.05, warmup_epochs=0, scale=(0.8, 1.25)
)


# Measures


def test_a_hand_computed_case():
    truth = torch.tensor([[0, 0, 1, 255], [0, 1, 1, 255]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 1, 1, 3], [0, 1, 2, 0]], dtype=torch.uint8)
    counts = confusion(predicted, truth, n_classes=4)
    expected = torch.zeros(4, 4, dtype=torch.int64)
    expected[0, 0], expected[0, 1], expected[1, 1], expected[1, 2] = 2, 1, 2, 1
    assert counts.dtype == torch.int64
    assert torch.equal(counts, expected)
    # class 0: 2 of 3; class 1: 2 of 4; class 2: predicted, never true; class 3: only where ignored
    ious = class_ious(counts)
    np.testing.assert_allclose(ious[:3], [200 / 3, 50, 0])
    assert ious[3].isnan()
    assert mean_iou(counts) == pytest.approx((200 / 3 + 50 + 0) / 3)


def test_another_label_can_be_ignored():
    truth, predicted = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1])
    assert confusion(predicted, truth, 2, ignore=2).tolist() == [[1, 0], [1, 0]]


def test_a_label_outside_the_classes_is_refused():
    for wrong in (3, 254):
        truth = torch.tensor([0, wrong, 255], dtype=torch.uint8)
        with pytest.raises(UserError, match=f"value {wrong}.* 3 classes") as error:
            confusion(torch.zeros(3), truth, 3)
        assert "\n" not in str(error.value)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_mean_iou_against_torchmetrics(data):
    n_classes = data.draw(st.integers(2, 6))
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=8))
    labels = st.sampled_from([*range(n_classes), 255])
    truth = torch.from_numpy(data.draw(arrays.arrays(np.uint8, shape, elements=labels)))
    classes = st.integers(0, n_classes - 1)
    predicted = torch.from_numpy(data.draw(arrays.arrays(np.uint8, shape, elements=classes)))
    oracle = MulticlassJaccardIndex(n_classes, ignore_index=255, average="macro")
    expected = 100 * float(oracle(predicted.long(), truth.long()))
    counts = confusion(predicted, truth, n_classes)
    if counts.sum() == 0:
        assert np.isnan(mean_iou(counts))
    else:
        assert mean_iou(counts) == pytest.approx(expected, abs=1e-3)


def test_one_confusion_over_parts_is_that_of_the_whole():
    torch.manual_seed(0)
    truth, predicted = torch.randint(0, 5, (2, 6, 8, 8))
    parts = sum(confusion(p, t, 5) for p, t in zip(predicted, truth, strict=True))
    assert torch.equal(parts, confusion(predicted, truth, 5))


def test_a_batch_in_which_no_pixel_counts_has_loss_zero():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    void = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    loss = cross_entropy(logits, void)
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()
    void[0, 0, 0] = 1
    expected = nn.functional.cross_entropy(logits[:1, :, 0, 0], torch.tensor([1]))
    torch.testing.assert_close(cross_entropy(logits, void), expected)


# Data


class Squares(Dataset):
    """Images of varying sizes: left half dark (0), right half bright (1), a bright top row void."""

    def __init__(self, n, seed):
        self.n, self.seed = n, seed

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        draw = np.random.default_rng((self.seed, index))
        height, width = draw.integers(30, 60, 2)
        classes = np.zeros((height, width), np.uint8)
        classes[:, draw.integers(width // 4, 3 * width // 4) :] = 1
        grey = 60 + 130 * classes + draw.integers(0, 40, (3, height, width))
        classes[:2] = 255
        return torch.from_numpy(grey.astype(np.uint8)), torch.from_numpy(classes)


def squares(n_train=16, n_test=6):
    half = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    train, test = Squares(n_train, 0), Squares(n_test, 1)
    return Segmentation("squares", train, test, ("dark", "bright", "none"), half, "")


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


# Schedule


def test_warm_up_then_polynomial_decay():
    model = FCN(timm.create_model("test_resnet", num_classes=0), 2)
    config = dataclasses.replace(
        SMALL, epochs=5, warmup_epochs=1, lr=1.0, backbone_lr_factor=0.1, weight_decay=0.01
    )
    optimizer, schedule = optimizer_and_schedule(model, config, steps=4)
    rates = []
    for _ in range(20):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    head, backbone = np.array(rates).T
    np.testing.assert_allclose(head[:4], [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(head[4:], (1 - np.arange(16) / 16) ** 0.9, rtol=1e-5)
    np.testing.assert_allclose(backbone, 0.1 * head)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(
        list(model.parameters())
    )


# Windows


class Mean(nn.Module):
    """Takes 16-pixel squares only; gives every pixel back."""

    def forward(self, images):
        assert images.shape[-2:] == (16, 16)
        return images[:, :2] * 2


@pytest.mark.parametrize("size", [(16, 16), (10, 40), (33, 17), (64, 5)])
def test_windows_cover_every_pixel(size):
    images = torch.randn(1, 3, *size)
    torch.testing.assert_close(windowed(Mean(), images, 16), images[:, :2] * 2)


def test_windows_overlap_by_a_third():
    for length in range(16, 100):
        places = starts(length, 16)
        assert (places[0], places[-1]) == (0, length - 16)
        assert all(0 < b - a <= 11 for a, b in pairwise(places))


# Fine-tuning


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=0)


def run(backbone, config=SMALL, data=None, **arguments):
    return finetune_segmentation(
        backbone, data or squares(), settings=config, device=CPU, progress=False, **arguments
    )


def test_it_learns_and_leaves_the_backbone_as_it_was(backbone):
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    state = torch.get_rng_state()
    metrics, pictures = run(backbone, dataclasses.replace(SMALL, epochs=10), pictures=3)
    after = backbone.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert backbone.training
    assert all(p.grad is None for p in backbone.parameters())
    assert torch.equal(state, torch.get_rng_state())

    assert metrics["miou"] > 75  # one colour everywhere: about 25
    assert metrics["pixel_accuracy"] > 85
    assert metrics["miou"] == pytest.approx((metrics["iou/dark"] + metrics["iou/bright"]) / 2)
    assert "iou/none" not in metrics

    test = Squares(6, 1)
    assert len(pictures.images) == 3
    for place, index in enumerate([0, 2, 5]):
        assert torch.equal(pictures.images[place], test[index][0])
        assert torch.equal(pictures.truths[place], test[index][1])
        assert pictures.predictions[place].shape == test[index][1].shape


def test_the_result_depends_on_the_seed_and_not_on_the_workers(backbone):
    torch.manual_seed(1)
    first, seen = run(backbone)
    torch.manual_seed(2)
    second, seen_again = run(backbone, dataclasses.replace(SMALL, workers=2))
    assert first == second
    for a, b in zip(seen.predictions, seen_again.predictions, strict=True):
        assert torch.equal(a, b)
    other, _ = run(backbone, dataclasses.replace(SMALL, seed=1))
    assert other != first


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_one_line_from_workers_too(backbone, workers):
    class Broken(Squares):
        def __getitem__(self, index):
            if index == 3:
                raise UserError("cannot read the image c.jpg: truncated")
            return super().__getitem__(index)

    data = dataclasses.replace(squares(), test=Broken(6, 1))
    config = dataclasses.replace(SMALL, epochs=1, workers=workers)
    with pytest.raises(UserError) as error:
        run(backbone, config, data)
    assert str(error.value) == "cannot read the image c.jpg: truncated"


def test_fewer_images_than_a_batch_and_a_large_training_set(backbone, monkeypatch):
    monkeypatch.setattr("seamask.evaluate.segment.IN_MEMORY", 0)
    metrics, _ = run(backbone, dataclasses.replace(SMALL, batch_size=64), squares(3, 2))
    assert 0 <= metrics["miou"] <= 100


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_other_backbones(name):
    metrics, _ = run(timm.create_model(name, num_classes=0))
    assert 0 <= metrics["miou"] <= 100


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "maxvit_rmlp_pico_rw_256"]
)
def test_backbones_of_fixed_size_are_adapted_and_tested_in_windows(name):
    backbone = timm.create_model(name, num_classes=0)
    size = backbone.pretrained_cfg["input_size"]
    metrics, seen = run(backbone, dataclasses.replace(SMALL, image_size=40, epochs=1))
    assert 0 <= metrics["miou"] <= 100
    assert seen.predictions[0].shape == seen.truths[0].shape
    backbone(torch.zeros(1, *size))  # still of its own size


def test_a_backbone_that_cannot_take_the_crops_is_refused():
    backbone = timm.create_model("mixer_s32_224", num_classes=0)
    with pytest.raises(UserError, match=r"32-pixel crops with MlpMixer") as error:
        run(backbone)
    assert "\n" not in str(error.value)


def test_divergence_is_said(backbone):
    with pytest.raises(UserError, match=r"diverged.*lower --lr"):
        run(backbone, dataclasses.replace(SMALL, lr=1e12))
