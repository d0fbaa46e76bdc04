"""What is said of a backbone before any image is read."""

import pytest
import timm
import torch
from torch import nn

from seamask.base.errors import UserError
from seamask.networks import build_backbone
from seamask.networks.check import check_backbone, feature_width


class Backbone(nn.Module):
    """Gives what a function makes of images, with a weight and a width as timm's models have."""

    num_features = 12

    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.function(images)


def test_features_are_taken():
    for layout in (True, False):
        check_backbone(Backbone(lambda x: x.flatten(1)[:, :12]), "mine", 8, layout)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x, "--backbone mine cannot take 8 pixels: it gives [2, 3, 8, 8], not features"),
        (lambda x: (x, x), "it gives a tuple, not features [B, F]"),
        (lambda x: x.flatten(1), "it gives [2, 192], not features [2, 12] of 2 images"),
        (lambda x: x.flatten(), "it gives [384], not features"),
        (lambda x: x[:, 5], "cannot take 8 pixels: index 5 is out of bounds"),
        (lambda x: {}["size"], "cannot take 8 pixels: 'size'"),
        (
            lambda x: x.view(2, -1)[:, :12],
            "--backbone mine cannot take images in the layout channels_last (view size is not",
        ),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_is_no_encoder_is_refused(function, says, device):
    with pytest.raises(UserError) as found:
        check_backbone(Backbone(function).to(device), "mine", 8)
    assert says in str(found.value)


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224", "inception_v3",
     "crossvit_tiny_240", "efficientformer_l1", "convnext_atto", "regnetx_002"],
)  # fmt: skip
def test_meta_says_what_the_cpu_does(name, size):
    try:
        with torch.device("meta"):
            backbone, _, _ = build_backbone(name, size)
    except NotImplementedError:
        pytest.skip("PyTorch 2.6 cannot build it on `meta`")
    backbone.train()
    real, _, _ = build_backbone(name, size)
    images = torch.randn(2, 3, size, size).contiguous(memory_format=torch.channels_last)
    try:
        works = real.train()(images).shape == (2, feature_width(real))
    except Exception:
        works = False
    try:
        check_backbone(backbone, name, size)
        said = True
    except UserError:
        said = False
    assert said == works


def test_a_tag_that_there_is_not():
    for name in ("resnet18.nosuchtag", "resnet18."):
        with pytest.raises(UserError, match="unknown backbone 'resnet18"):
            build_backbone(name, 32)
    known = timm.list_pretrained("resnet18.*")[0]
    assert build_backbone(known, 32)[0].num_features == 512
