"""Segmentation: the loss and the schedule; fine-tuning learns and leaves no trace."""

import dataclasses

import numpy as np
import pytest
import timm
import torch
from squares import SMALL, Squares, squares
from torch import nn

from seamask.base.errors import UserError
from seamask.evaluate.segment.fcn import FCN
from seamask.evaluate.segment.training import (
    cross_entropy,
    finetune_segmentation,
    optimizer_and_schedule,
)

CPU = torch.device("cpu")


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
    monkeypatch.setattr("seamask.evaluate.segment.images.IN_MEMORY", 0)
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
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=0)
    size = backbone.pretrained_cfg["input_size"]
    metrics, seen = run(backbone, dataclasses.replace(SMALL, image_size=40, epochs=1, lr=1e-3))
    assert 0 <= metrics["miou"] <= 100
    assert seen.predictions[0].shape == seen.truths[0].shape
    backbone(torch.zeros(1, *size))  # still of its own size


def test_a_backbone_that_cannot_take_the_crops_is_refused():
    backbone = timm.create_model("mixer_s32_224", num_classes=0)
    with pytest.raises(UserError, match=r"32-pixel crops with MlpMixer") as error:
        run(backbone)
    assert "\n" not in str(error.value)


def test_divergence_is_said(backbone):
    with pytest.raises(UserError, match=r"fine-tuning diverged at --lr 1000000000000"):
        run(backbone, dataclasses.replace(SMALL, lr=1e12))
