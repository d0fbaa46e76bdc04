"""Attention as products against PyTorch's fused one."""

import copy

import pytest
import torch
from timm.layers import Attention
from torch import nn

from seamask.networks import build_backbone
from seamask.networks.short_attention import (
    LONGEST,
    LONGEST_FLOAT,
    fuse_attention,
    multiply_short_attention,
)


@pytest.mark.parametrize("masked", [False, True])
def test_outputs_and_gradients_are_those_of_the_fused_kernel(masked):
    torch.manual_seed(0)
    theirs = Attention(64, num_heads=4).double()
    ours = copy.deepcopy(theirs)
    multiply_short_attention(ours)
    tokens = torch.randn(3, 17, 64, dtype=torch.float64)
    bias = torch.randn(3, 1, 1, 17, dtype=torch.float64) if masked else None
    assert theirs.fused_attn
    found, expected = ours(x=tokens, attn_mask=bias), theirs(tokens, attn_mask=bias)
    torch.testing.assert_close(found, expected)
    pull = torch.randn_like(expected)
    found.backward(pull)
    expected.backward(pull)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


@pytest.mark.parametrize(
    ("tokens", "bf16", "fused"),
    [
        (LONGEST_FLOAT, False, False),
        (LONGEST_FLOAT + 1, False, True),
        (LONGEST, True, False),
        (LONGEST + 1, True, True),
    ],
)
def test_long_sequences_are_left_to_the_fused_kernel(tokens, bf16, fused):
    attention = Attention(16, num_heads=2)
    multiply_short_attention(attention)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        attention(torch.randn(1, tokens, 16))
    assert attention.fused_attn == fused


def test_a_vit_has_it_and_keeps_its_names():
    vit, _, _ = build_backbone("vit_tiny_patch16_224", 32, patch=8)
    vit(torch.randn(1, 3, 32, 32))
    assert not any(m.fused_attn for m in vit.modules() if isinstance(m, Attention))
    copy.deepcopy(vit).load_state_dict(vit.state_dict())


def test_bf16_is_as_near_to_float64_as_the_fused_kernel_is():
    torch.manual_seed(0)
    exact = Attention(64, num_heads=4).double()
    tokens = torch.randn(3, 17, 64, dtype=torch.float64)
    expected = exact(tokens).detach()
    theirs = copy.deepcopy(exact).bfloat16()
    ours = multiply_short_attention(copy.deepcopy(theirs))
    distances = [
        float((network(tokens.bfloat16()).detach().double() - expected).norm() / expected.norm())
        for network in (ours, theirs)
    ]
    assert distances[0] < max(0.02, 1.5 * distances[1])


def test_a_short_sequence_after_a_long_one_and_the_undo():
    attention = multiply_short_attention(nn.Sequential(Attention(16, num_heads=2)))
    for tokens, fused in ((LONGEST_FLOAT + 1, True), (4, False)):
        attention(torch.randn(1, tokens, 16))
        assert attention[0].fused_attn == fused
    fuse_attention(attention)
    attention(torch.randn(1, 4, 16))
    assert type(attention[0]) is Attention
    assert attention[0].fused_attn
