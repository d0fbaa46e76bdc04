"""The fully convolutional network: any timm backbone, any size, exact strides."""

import pytest
import timm
import torch
from torch.nn import functional

import seamask.networks.backbone  # noqa: F401  # registers the small stems
from seamask.base.errors import UserError
from seamask.evaluate.segment.fcn import FCN, deepest

CONVOLUTIONAL = [
    "test_resnet", "test_resnet_small_stem", "test_convnext", "test_efficientnet",
    "mobilenetv3_small_050", "resnet18",
]  # fmt: skip


def build(name, n_classes=5, **arguments):
    torch.manual_seed(0)
    return FCN(timm.create_model(name, num_classes=0, **arguments), n_classes)


def awake(model):
    """Give the score layers weights, as after a step."""
    for score in model.scores:
        torch.nn.init.normal_(score.weight, std=0.1)
    return model


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_logits_have_the_size_of_the_image(name):
    model = build(name).eval()
    for size in [(64, 64), (33, 97), (50, 31)]:
        assert model(torch.randn(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
def test_a_vit_gives_three_depths(name):
    arguments = {"img_size": 64} if name.startswith("vit") else {}
    model = build(name, **arguments).eval()
    assert len(model.indices) == 3
    assert model.indices[-1] == len(model.backbone.blocks) - 1
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 5, 64, 64)
    assert model(torch.randn(1, 3, 61, 50)).shape == (1, 5, 61, 50)  # padded to 64×64


def test_the_deepest_three_strides():
    assert deepest([2, 4, 8, 16, 32]) == [2, 3, 4]
    assert deepest([4, 8, 16, 32]) == [1, 2, 3]
    assert deepest([4, 4, 8, 16, 16, 32]) == [2, 4, 5]
    assert deepest([16] * 12) == [3, 7, 11]
    assert deepest([16] * 2) == [0, 1]


@pytest.mark.parametrize("name", [*CONVOLUTIONAL, "test_vit"])
def test_gradients_reach_the_backbone(name):
    model = awake(build(name)).train()
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    first = next(model.backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_the_start_is_zero_and_its_first_gradient_reaches_the_scores():
    model = build("test_resnet").train()
    logits = model(torch.randn(2, 3, 64, 64))
    assert not logits.any()
    functional.cross_entropy(logits, torch.randint(0, 5, (2, 64, 64))).backward()
    assert all(score.weight.grad.abs().sum() > 0 for score in model.scores)


def test_it_is_the_sum_of_the_upsampled_scores():
    model = awake(build("test_resnet")).eval().double()
    image = torch.randn(1, 3, 64, 96).double()
    eight, sixteen, thirty_two = model.backbone.forward_intermediates(
        image, indices=[2, 3, 4], intermediates_only=True
    )
    assert [f.shape[-1] for f in (eight, sixteen, thirty_two)] == [12, 6, 3]

    def up(maps, times):
        return functional.interpolate(maps, scale_factor=times, mode="bilinear")

    coarse = up(model.scores[2](thirty_two), 2) + model.scores[1](sixteen)
    expected = up(up(coarse, 2) + model.scores[0](eight), 8)
    torch.testing.assert_close(model(image), expected)


def test_odd_sizes_are_the_corner_of_padded_ones():
    model = awake(build("test_resnet")).eval()
    image = torch.randn(1, 3, 50, 70)
    padded = functional.pad(image, (0, 26, 0, 14))
    torch.testing.assert_close(model(image), model(padded)[..., :50, :70])


def test_a_backbone_without_stages_is_refused():
    with pytest.raises(UserError, match="forward_intermediates") as error:
        FCN(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), 5)
    assert "\n" not in str(error.value)
