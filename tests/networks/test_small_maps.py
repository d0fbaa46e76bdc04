"""Convolutions as matrix products against PyTorch's convolution."""

import copy

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seamask.networks import build_backbone
from seamask.networks.small_maps import LARGEST, SmallMapConv2d, multiply_small_maps

sides = st.integers(1, 4)
pairs = st.tuples(sides, sides)


def both(*arguments, **options):
    conv = nn.Conv2d(*arguments, **options).double()
    return conv, multiply_small_maps(nn.Sequential(copy.deepcopy(conv)))[0]


@given(
    kernel=pairs, stride=pairs, padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    size=pairs, bias=st.booleans(), layout=st.sampled_from(["contiguous", "channels last"]),
)  # fmt: skip
def test_equal_to_a_convolution_with_all_gradients(kernel, stride, padding, size, bias, layout):
    conv, ours = both(3, 5, kernel, stride, padding, bias=bias)
    if any(n + 2 * p < k for n, p, k in zip(size, padding, kernel, strict=True)):
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            ours(torch.zeros(2, 3, *size, dtype=torch.float64))
        return
    assert type(ours) is SmallMapConv2d
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    results = []
    for module in (conv, ours):
        seen = x.clone().requires_grad_()
        out = module(seen)
        grow = torch.linspace(1, 2, out.numel(), dtype=out.dtype).view(out.shape)
        grads = torch.autograd.grad((out.square() * grow).sum(), [seen, *module.parameters()])
        results.append([out, *grads])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_sizes_that_matter_are_products(monkeypatch):
    calls = []
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: calls.append(x.shape[-1]) or x)
    _, ours = both(4, 4, 3, padding=1, bias=False)
    for side in (1, 2, 3, 4, 8):
        ours(torch.randn(2, 4, side, side, dtype=torch.float64))
    assert LARGEST == 9
    assert calls == [4, 8]  # only these are left to the convolution


def test_other_convolutions_are_left_alone():
    layers = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, 1, 1, padding_mode="reflect"),
    )  # fmt: skip
    multiply_small_maps(layers)
    assert {type(m) for m in layers} == {nn.Conv2d}


@pytest.mark.parametrize("size", [64, 96])
def test_a_resnet_stays_itself(size):
    torch.manual_seed(0)
    net, name, arguments = build_backbone("resnet18", size)
    plain = timm.create_model(name, num_classes=0, **arguments)
    plain.load_state_dict(net.state_dict())  # the very names
    net, plain = net.double(), plain.double()
    x = torch.randn(4, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(net(x), plain(x))
    for one, other in zip(net.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_bf16_is_as_close_to_the_truth_as_a_convolution():
    torch.manual_seed(0)
    conv, ours = both(64, 64, 3, padding=1, bias=False)
    x = torch.randn(8, 64, 2, 2, dtype=torch.float64)
    truth = conv(x)
    with torch.autocast("cpu", torch.bfloat16):
        errors = [(m.float()(x.float()) - truth).abs().max() for m in (conv, ours)]
        assert ours(x.float()).dtype == torch.bfloat16
    assert errors[1] < 1.5 * errors[0]
