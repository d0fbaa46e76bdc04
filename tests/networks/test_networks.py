"""U-Net, backbones and projector: their structure as described, sizes, weights for others."""

import copy
import math

import pytest
import timm
import torch
import torchvision
from torch import nn

from seamask.base.errors import UserError
from seamask.base.settings import override
from seamask.config import Config
from seamask.masks.unet import UNet, check_size
from seamask.networks import Encoder, build_backbone, projector
from seamask.networks.view_batchnorm import keep_views_apart, stacked
from seamask.objectives import build_objective
from seamask.objectives.settings import ObjectiveConfig
from seamask.training.players import build_networks

# U-Net


def takes(size):
    """What §2 says: log2(size) − 1 blocks, with a halving between each two, must divide the size.

    Below 8 pixels there is no more than one block.
    """
    halvings = len(bin(size)) - 3 - 1 - 1  # floor(log2) − 1 blocks, one halving less
    return size >= 8 and size % 2**halvings == 0


@pytest.mark.parametrize("size", range(4, 257))
def test_unet_takes_a_size_or_names_ones_it_takes(size):
    if takes(size):
        assert check_size(size) is None
        return
    with pytest.raises(UserError, match=f"{size}×{size} pixels") as caught:
        UNet(size, width=4)
    named = [int(s) for s in str(caught.value).rsplit(":", 1)[1].split(",")]
    assert len(named) == 2
    for other in named:
        assert takes(other)
        check_size(other)
    nearest = min(abs(s - size) for s in range(8, 400) if takes(s))
    assert min(abs(s - size) for s in named) == nearest


@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize("size", [8, 12, 16, 24, 28, 32, 48, 96, 112, 224])
def test_unet_keeps_the_resolution(size, norm):
    features = UNet(size, 8, norm)(torch.randn(2, 3, size, size))
    assert features.shape == (2, 8, size, size)
    assert features.isfinite().all()


def convolutions(net):
    return [m for m in net.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize(("size", "widths"), [
    (8, [1, 2]), (16, [1, 2, 2]), (32, [1, 2, 2, 2]), (48, [1, 2, 2, 2]), (64, [1, 1, 2, 2, 2]),
    (96, [1, 1, 2, 2, 2]), (128, [1, 1, 1, 2, 2, 2]), (224, [1, 1, 1, 2, 2, 2]),
])  # fmt: skip
def test_unet_widths(size, widths):
    c = 8
    net = UNet(size, c)
    assert len(widths) == math.floor(math.log2(size)) - 1
    down = [c * w for w in widths]
    assert [m.out_channels for m in convolutions(net.down)] == down
    assert [m.in_channels for m in convolutions(net.down)] == [3, *down[:-1]]
    # Each block on the way up takes the map from below and a skip that is as wide.
    assert [m.in_channels for m in convolutions(net.up)] == [2 * w for w in reversed(down)]
    assert convolutions(net.up)[-1].out_channels == net.out_channels == c


@pytest.mark.parametrize(("norm", "kind"), [
    ("instance", lambda channels: nn.InstanceNorm2d(channels, affine=True)),
    ("group", lambda channels: nn.GroupNorm(8, channels)),
])  # fmt: skip
def test_unet_blocks(norm, kind):
    net = UNet(32, 16, norm)
    for block in [*net.down, *net.up]:
        conv, normalise, relu = block
        assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
        assert conv.bias is None
        assert normalise.weight.shape == (conv.out_channels,)  # affine
        expected = kind(conv.out_channels)
        for parameter in (normalise.weight, normalise.bias):
            nn.init.normal_(parameter)
        expected.load_state_dict(normalise.state_dict())
        x = 3 + torch.randn(4, conv.out_channels, 8, 8)
        torch.testing.assert_close(normalise(x), expected(x))
        assert type(relu) is nn.ReLU
    # Three layers, 128 wide, across the bottom: 32 channels of 4×4 pixels.
    linear = [m for m in net.mlp if isinstance(m, nn.Linear)]
    assert [m.in_features for m in linear] == [32 * 16, 128, 128]
    assert [m.out_features for m in linear] == [128, 128, 32 * 16]


def test_unet_is_used_wholly():
    net = UNet(16, 8)
    net(torch.randn(2, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_unet_sees_the_whole_image_through_its_bottom():
    torch.manual_seed(0)
    net, x = UNet(64, 8), torch.randn(1, 3, 64, 64, requires_grad=True)
    net(x)[0, :, 0, 0].sum().backward()
    assert x.grad[0, :, 48:, 48:].any()


def test_a_unet_may_have_fewer_levels():
    # ADIOS's script of SimSiam on ImageNet100s: four blocks at 96 pixels, a bottom of 12×12.
    net = UNet(96, 8, blocks=4)
    assert len(net.down) == len(net.up) == 4
    assert net.mlp[1].in_features == 16 * 12 * 12
    assert net(torch.randn(2, 3, 96, 96)).shape == (2, 8, 96, 96)
    with pytest.raises(UserError, match=r"36×36 pixels with masks.blocks 4.*32, 40"):
        UNet(36, 8, blocks=4)
    UNet(36, 8, blocks=3)
    with pytest.raises(UserError, match=r"32×32 pixels with masks\.blocks 6"):
        UNet(32, 8, blocks=6)  # instance norm needs more than one pixel


def test_a_unet_may_go_without_its_bottleneck():
    torch.manual_seed(0)
    wide, narrow, none = (UNet(64, 8, bottleneck=width) for width in (128, 16, 0))
    counts = [sum(p.numel() for p in net.parameters()) for net in (wide, narrow, none)]
    assert counts == sorted(counts, reverse=True)
    assert narrow.mlp[1].out_features == 16
    bottom = torch.randn(1, 16, 4, 4)
    assert none.mlp(bottom) is bottom


@pytest.mark.parametrize("width", [4, 12])
def test_group_norm_needs_a_multiple_of_eight(width):
    with pytest.raises(UserError, match=f"width is {width}.*multiple of 8"):
        UNet(32, width, "group")
    UNet(32, width, "instance")


# Backbones


@pytest.mark.parametrize(("size", "stem", "small"), [
    (32, "auto", True), (63, "auto", True), (64, "auto", False), (96, "auto", False),
    (32, "standard", False), (96, "small", True),
])  # fmt: skip
def test_resnet_stem(size, stem, small):
    net, name, arguments = build_backbone("resnet18", size, stem)
    assert name == ("resnet18_small_stem" if small else "resnet18")
    assert arguments == {}
    conv = net.conv1
    found = (conv.kernel_size, conv.stride, conv.padding, type(net.maxpool), conv.bias)
    if small:
        assert found == ((3, 3), (1, 1), (1, 1), nn.Identity, None)
    else:
        assert found == ((7, 7), (2, 2), (3, 3), nn.MaxPool2d, None)
    assert conv.out_channels == 64
    assert isinstance(net.get_classifier(), nn.Identity)
    if size < 64:
        features = net(torch.randn(2, 3, size, size))
        assert features.shape == (2, 512)
        last = net.forward_features(torch.randn(2, 3, size, size)).shape[-1]
        assert last == math.ceil(size / (8 if small else 32))


@pytest.mark.parametrize("name", ["convnext_atto", "vit_tiny_patch16_224"])
def test_other_models_take_small_images(name):
    net, found, arguments = build_backbone(name, 64)
    assert found == name
    x = torch.randn(2, 3, 64, 64)
    assert net(x).shape == (2, net.num_features)
    again = timm.create_model(found, num_classes=0, **arguments)
    again.load_state_dict(net.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(x), net.eval()(x))


@pytest.mark.parametrize(
    ("name", "near"), [("resnet81", "resnet18"), ("convnext_ato", "convnext_atto")]
)
def test_an_unknown_backbone_names_the_nearest(name, near):
    with pytest.raises(UserError, match=f"unknown backbone '{name}': did you mean '{near}"):
        build_backbone(name, 96)


def test_a_small_stem_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="convnext_atto"):
        build_backbone("convnext_atto", 32, "small")


@pytest.mark.parametrize(("name", "size", "patch", "found"), [
    ("vit_tiny_patch16_224", 224, 0, 16), ("vit_tiny_patch16_224", 96, 0, 16),
    ("vit_tiny_patch16_224", 64, 0, 8), ("vit_tiny_patch16_224", 40, 0, 4),
    ("vit_small_patch16_224", 32, 0, 4), ("vit_small_patch8_224", 96, 0, 8),
    ("vit_small_patch16_224", 96, 8, 8),
])  # fmt: skip
def test_the_patches_of_a_vit_fit_the_image(name, size, patch, found):
    with torch.device("meta"):
        net, _, arguments = build_backbone(name, size, patch=patch)
    assert arguments == {"img_size": size, "patch_size": found}
    assert net.patch_embed.grid_size == (size // found, size // found)


@pytest.mark.parametrize(("name", "patch", "says"), [
    ("vit_tiny_patch16_224", 7, "cannot take 96 pixels: patches of 7"),
    ("resnet18", 8, "resnet18 is not a ViT"),
])  # fmt: skip
def test_patches_that_cannot_be_are_refused(name, patch, says):
    with pytest.raises(UserError, match=says):
        build_backbone(name, 96, patch=patch)


def test_small_stem_weights_load_by_name():
    net, name, _ = build_backbone("resnet18", 32)
    again = timm.create_model("resnet18_small_stem", num_classes=0)
    assert name == "resnet18_small_stem"
    assert again.load_state_dict(net.state_dict(), strict=True)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(x), net.eval()(x), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "stem"), [("resnet18", "small"), ("resnet50", "standard"),
                                            ("test_resnet", "auto")])  # fmt: skip
def test_resnets_start_from_ones_unless_asked(name, stem):
    # As torchvision's do, and ADIOS's; timm starts the last batch norm of a branch at zero.
    def last(zero_init_last):
        torch.manual_seed(0)
        net, _, _ = build_backbone(name, 32, stem, zero_init_last=zero_init_last)
        norms = [m.weight for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        return net, sum(not w.any() for w in norms), sum(bool((w == 1).all()) for w in norms)

    (ones, zeros_left, of_ones), (zeros, left, others) = last(False), last(True)
    assert zeros_left == 0
    assert left > 0
    assert of_ones == left + others
    for a, b in zip(ones.parameters(), zeros.parameters(), strict=True):  # nothing else differs
        assert torch.equal(a, b) or not b.any()


def test_standard_resnet_weights_load_into_torchvision():
    net, _, _ = build_backbone("resnet18", 96)
    theirs = torchvision.models.resnet18()
    missing, unexpected = theirs.load_state_dict(net.state_dict(), strict=False)
    assert sorted(missing) == ["fc.bias", "fc.weight"]
    assert unexpected == []
    theirs.fc = nn.Identity()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(x), net.eval()(x))


# Projector and encoder


@pytest.mark.parametrize(("hidden", "kinds", "widths"), [
    ((2048,), [nn.Linear, nn.ReLU, nn.Linear], [512, 2048, 128]),
    ((), [nn.Linear], [512, 128]),
    ((64, 32), [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear], [512, 64, 32, 128]),
])  # fmt: skip
def test_projector(hidden, kinds, widths):
    head = projector(512, hidden, 128)
    assert [type(m) for m in head] == kinds
    linear = [m for m in head if isinstance(m, nn.Linear)]
    assert [m.in_features for m in linear] == widths[:-1]
    assert [m.out_features for m in linear] == widths[1:]
    assert head(torch.randn(3, 512)).shape == (3, 128)


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050", "lcnet_035"])
def test_projector_fits_what_the_backbone_gives(name):
    # The last two end in a layer that is wider than the `num_features` that timm gives them.
    objective = build_objective(ObjectiveConfig(hidden=(16,), out_dim=8))
    config = override(Config(), {"backbone": name, "image_size": 32, "masks.width": 4})
    encoder = build_networks(config, objective).encoder
    assert encoder(torch.randn(4, 3, 32, 32)).shape == (4, 8)


def test_encoder_is_head_after_backbone_in_either_layout():
    torch.manual_seed(0)
    backbone, _, _ = build_backbone("test_resnet", 32)
    head, x = projector(backbone.num_features, (16,), 8), torch.randn(4, 3, 32, 32)
    expected = head(backbone(x)).detach()
    for channels_last in (True, False):
        encoder = Encoder(backbone, head, channels_last)
        torch.testing.assert_close(encoder(x).detach(), expected, rtol=1e-4, atol=1e-5)
        weight = backbone.layer2[0].conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050"])
def test_stacked_views_equal_one_after_another(name):
    # timm's MobileNetV3 has batch norms with the activation fused: another class.
    torch.manual_seed(0)
    alone = timm.create_model(name, num_classes=0).double()
    together = keep_views_apart(copy.deepcopy(alone))
    views = [torch.randn(4, 3, 32, 32, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    expected = torch.cat([alone(v) for v in views])
    with stacked(together, 3):
        found = together(torch.cat(views))
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad((out * weights).sum(), [*net.parameters(), *views])
        for out, net in ((expected, alone), (found, together))
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    for (key, a), b in zip(alone.state_dict().items(), together.state_dict().values(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12, msg=key)
    torch.testing.assert_close(together(views[0]), alone(views[0]))  # and alone again afterwards
