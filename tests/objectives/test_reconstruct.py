"""Removed pixels, predicted: SimMIM and MAE, pixel by pixel."""

import math

import numpy as np
import pytest
import timm
import torch

from looking import Convolution
from seamask.base.errors import UserError
from seamask.networks.tokens import encode_kept, kept_tokens
from seamask.objectives import build_objective
from seamask.objectives.reconstruct import Decoder, places
from seamask.objectives.settings import ObjectiveConfig


def build(**changed):
    return build_objective(ObjectiveConfig(name="reconstruct", **changed))


def batch(size=16, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    images, predicted = (torch.randn(3, 3, size, size, generator=draw, dtype=dtype) for _ in "ab")
    mask = torch.rand(3, 1, size, size, generator=draw, dtype=dtype).round()
    return images, predicted, mask


def literal(images, predicted, mask, pixels, patch):
    """SimMIM's loss, and with a patch MAE's target, image by image."""
    losses = []
    for x, guess, m in zip(images, predicted, mask[:, 0], strict=True):
        target = x.copy()
        for i in range(0, x.shape[1], patch or x.shape[1] + 1):
            for j in range(0, x.shape[2], patch or x.shape[2] + 1):
                if patch:
                    part = x[:, i : i + patch, j : j + patch]
                    scale = math.sqrt(part.var(ddof=1) + 1e-6)
                    target[:, i : i + patch, j : j + patch] = (part - part.mean()) / scale
        error = np.abs(guess - target) if pixels == "l1" else (guess - target) ** 2
        losses.append((error * m).sum() / (m.sum() + 1e-5) / 3)
    return losses


@pytest.mark.parametrize("pixels", ["l1", "l2"])
@pytest.mark.parametrize("normalise", [False, True])
def test_the_loss_is_over_removed_pixels(pixels, normalise):
    objective = build(pixels=pixels, normalise=normalise)
    objective.encoder(Convolution(), 6)
    images, predicted, mask = batch()
    mask[2] = 0  # nothing is removed: nothing to pay
    encoded = torch.cat([predicted.flatten(1), torch.zeros(3, 6).double()], dim=1)
    found = objective.from_view(encoded, images, mask)
    expected = literal(*(x.numpy() for x in (images, predicted, mask)), pixels, 4 * normalise)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[2] == 0
    if pixels == "l2":
        images, predicted, mask = batch(4)
        encoded = torch.cat([predicted.flatten(1), torch.zeros(3, 6).double()], dim=1)
        soft = (mask / 2 + 0.2).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda e, m: objective.of_view(e, images, m), (encoded.requires_grad_(), soft)
        )


def test_one_linear_map_of_each_place_gives_its_pixels():
    objective = build()
    encoder = objective.encoder(Convolution(), 6).double()
    images, _, mask = batch()
    with torch.no_grad():
        encoded = encoder(images * (1 - mask), mask)
        features = encoder.backbone.conv(images * (1 - mask))
        weight, bias = encoder.head.pixels.weight[:, :, 0, 0], encoder.head.pixels.bias
    assert encoded.shape == (3, 3 * 16 * 16 + 6)
    torch.testing.assert_close(objective.embedding(encoded), features.mean((2, 3)))
    pixels = encoded[:, : 3 * 256].view(3, 3, 16, 16)
    for i in range(4):
        for j in range(4):
            here = (features[:, :, i, j] @ weight.T + bias).view(3, 3, 4, 4)
            torch.testing.assert_close(pixels[:, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4], here)


def build_vit(drop):
    torch.manual_seed(0)
    vit = timm.create_model("test_vit", num_classes=0, img_size=32, patch_size=8)
    objective = build(decoder=2, decoder_width=32, normalise=True, pixels="l2")
    encoder = objective.encoder(vit, 64).double().train()
    encoder.drop = drop
    return objective, encoder


def test_with_patches_left_out_it_is_mae():
    _, encoder = build_vit(0.5)
    vit, head = encoder.backbone, encoder.head
    images = batch(32)[0]
    patches = torch.zeros(3, 4, 4)
    patches[0, :2] = patches[1, 1:3] = patches[2, :, :2] = 1
    mask = patches.double().kron(torch.ones(8, 8).double())[:, None]
    with torch.no_grad():
        encoded = encoder(images * (1 - mask), mask)
        tokens = vit._pos_embed(vit.patch_embed(images))
        for i in range(3):
            kept = [k for k in range(16) if not patches[i].flatten()[k]]
            x = torch.cat([tokens[i, :1], tokens[i, 1:][kept]])[None]  # the class token and those
            x = vit.norm(vit.blocks(x))[0, 1:]
            full = head.removed.expand(16, -1).clone()
            full[kept] = head.embed(x)
            code = torch.zeros(16, 32)
            for k in range(16):
                for half, at in enumerate(divmod(k, 4)):
                    for f in range(8):
                        angle = at / 10000 ** (f / 8)
                        code[k, 16 * half + f] = math.sin(angle)
                        code[k, 16 * half + 8 + f] = math.cos(angle)
            decoded = head.blocks((full + code.double())[None])[0]
            pixels = decoded @ head.pixels.weight[:, :, 0, 0].T + head.pixels.bias
            pixels = pixels.view(4, 4, 3, 8, 8).permute(2, 0, 3, 1, 4).reshape(-1)
            torch.testing.assert_close(encoded[i, : len(pixels)], pixels, rtol=1e-5, atol=1e-6)


def test_masks_that_learn_see_the_same_loss_through_all_tokens():
    objective, encoder = build_vit(0.5)
    images = batch(32)[0]
    mask = torch.zeros(3, 1, 32, 32, dtype=torch.float64)
    mask[:, :, :16] = 1
    dropped = objective.from_view(encoder(images * (1 - mask), mask), images, mask)
    asked = mask.clone().requires_grad_()
    weighted = objective.from_view(encoder(images * (1 - asked), asked), images, asked)
    torch.testing.assert_close(weighted, dropped, rtol=1e-3, atol=1e-4)  # e⁻⁶ of a token is left
    weighted.sum().backward()
    assert (asked.grad != 0).any((1, 2, 3)).all()


def test_kept_tokens_are_those_that_are_pooled():
    _, encoder = build_vit(0.5)
    images, _, _ = batch(32)
    mask = torch.zeros(3, 1, 32, 32, dtype=torch.float64)
    mask[:, :, :8] = 1
    tokens, weight = kept_tokens(encoder.backbone, images, mask, 0.5).spread()
    assert (tokens[:, :4] == 0).all()
    assert weight[:, :, 0].tolist() == [[0] * 4 + [1] * 12] * 3
    assert encode_kept(encoder.backbone, images, mask, 0.5).shape == (3, 64)


def test_places_tell_rows_from_columns():
    codes = places(torch.zeros(1, 1, 3, 5), 32)
    assert codes.shape == (15, 32)
    assert len(codes.unique(dim=0)) == 15


def test_what_cannot_be_reconstructed_is_refused():
    with pytest.raises(UserError, match="needs a backbone with a map of features"):
        build().encoder(torch.nn.Flatten(), 6)
    with pytest.raises(UserError, match="decoder-width is 40: it must be a multiple of 32"):
        build(decoder=1, decoder_width=40).encoder(Convolution(), 6)
    objective = build(normalise=True)
    encoder = objective.encoder(Convolution(), 6)
    images = torch.zeros(2, 3, 18, 18)
    with pytest.raises(UserError, match="patches of 4 pixels do not divide 18×18"):
        objective.from_view(torch.zeros(2, 3 * 18 * 18 + 6), images, images[:, :1])
    assert isinstance(encoder.head, Decoder)
