"""Maskers that look at the encoder, beside loops written from their papers."""

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn

from players import as_views, build_players, same, state
from seamask.base.draws import generator
from seamask.base.errors import UserError
from seamask.game.look import Look
from seamask.masks import AttentionMasker, HardestMasker, RandomPatchMasker, masks_of
from seamask.networks.maps import attention_map
from seamask.objectives import build_objective
from seamask.objectives.settings import ObjectiveConfig


class Given:
    """What an encoder attends to, known."""

    def __init__(self, attention):
        self.attention = lambda: attention

    def losses(self, masks):
        return None


def attention_of(seed=0, batch=3, side=10):
    return torch.rand(batch, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("attend", ["high", "low"])
def test_the_cells_attended_to_most_or_least_go(attend):
    attention = attention_of()
    masker = AttentionMasker(4, 0.3, 2, attend)
    assert masker.n_masks == 1
    masks = masker(torch.zeros(3, 3, 20, 20), encoder=Given(attention))
    for b in range(3):
        order = np.argsort(attention[b].numpy().ravel())
        expected = np.zeros(100)
        expected[order[-30:] if attend == "high" else order[:30]] = 1
        expected = np.kron(expected.reshape(10, 10), np.ones((2, 2)))
        np.testing.assert_array_equal(masks[b, 0].numpy(), expected)


def test_hints_stay_among_the_most_attended():
    attention = attention_of()
    masks = AttentionMasker(6, 0.3, 2, "hint")(
        torch.zeros(3, 3, 20, 20), torch.Generator().manual_seed(0), Given(attention)
    )
    cells = masks[..., ::2, ::2].flatten(2).numpy()
    for b in range(3):
        order = np.argsort(-attention[b].numpy().ravel())
        hints = {tuple(order[:10][cells[b, k][order[:10]] == 0]) for k in range(6)}
        assert len(hints) > 3  # drawn for each mask
        assert {len(left) for left in hints} == {5}
        assert all(cells[b, k].sum() == 30 and cells[b, k][order[10:35]].all() for k in range(6))


def test_a_vit_attends_as_its_last_block_does():
    torch.manual_seed(0)
    vit = timm.create_model("test_vit", num_classes=0, img_size=32, patch_size=8).double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    found = attention_map(vit, images)
    with torch.no_grad():
        x = vit._pos_embed(vit.patch_embed(images))
        for block in vit.blocks[:-1]:
            x = block(x)
        last = vit.blocks[-1]
        x = last.norm1(x).numpy()
    weight, bias = (p.detach().numpy() for p in (last.attn.qkv.weight, last.attn.qkv.bias))
    heads, width = last.attn.num_heads, x.shape[2]
    for b in range(2):
        total = np.zeros(16)
        for h in range(heads):
            at = slice(h * width // heads, (h + 1) * width // heads)
            q = x[b, 0] @ weight[:width][at].T + bias[:width][at]
            k = x[b] @ weight[width : 2 * width][at].T + bias[width : 2 * width][at]
            scores = np.exp(k @ q / math.sqrt(width // heads))
            total += (scores / scores.sum())[1:] / heads
        np.testing.assert_allclose(found[b].ravel().detach(), total, rtol=1e-5)


def test_a_cnn_attends_where_its_last_map_is_large():
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=0).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        found, features = attention_map(net, images), net.forward_features(images)
    expected = np.sqrt((features.numpy() ** 2).sum(1))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(UserError, match="has no forward_features"):
        Look(nn.Flatten(), images).attention()


@pytest.mark.parametrize("name", ["simclr", "byol", "vicreg", "moco"])
def test_the_hardest_mask_is_that_of_the_highest_loss(name):
    objective = build_objective(
        ObjectiveConfig(name=name, hidden=(16,), out_dim=8, predictor=8, queue=16)
    )
    among = RandomPatchMasker(2, 0.5, 4)
    players = build_players(
        HardestMasker(among, 3), objective=objective, each=objective.of_images, penalty_weights={}
    )
    a, b = as_views()
    before = state(players.encoder)
    target = players.target(b)
    masks = players.masks_of(b, a, target, generator(0))
    assert same(before, state(players.encoder))
    assert all(p.grad is None and p.requires_grad for p in players.encoder.head.parameters())
    draw = generator(0)
    drawn = [among(b.images, draw) for _ in range(3)]
    losses = torch.empty(3, 2, 8)
    with torch.no_grad():
        for c in range(3):
            for k in range(2):
                z_a = players.encoder(a.images)
                z = players.encoder(b.images * (1 - drawn[c][:, k : k + 1]))
                losses[c, k] = objective.each(z_a, z)
    for i in range(8):
        for k in range(2):
            best = max(range(3), key=lambda c: losses[c, k, i])
            assert torch.equal(masks[i, k], drawn[best][i, k])
    assert len({int(c) for c in losses.argmax(0).flatten()}) > 1
    # Outside a step there is nothing to compare with.
    seen = Look(players.encoder, b.images)
    alone = masks_of(players.masker, b.images, generator=generator(0), encoder=seen)
    assert torch.equal(alone, drawn[0])


@pytest.mark.parametrize("name", ["simclr", "byol", "simsiam", "moco"])
def test_a_loss_is_the_mean_of_those_of_its_images(name):
    objective = build_objective(
        ObjectiveConfig(name=name, hidden=(16,), out_dim=8, predictor=8, queue=16)
    )
    players = build_players(objective=objective)
    a, b = (players.encoder(view.images) for view in as_views())
    each = objective.of_images(a, b)
    assert each.shape == (8,)
    assert each.std() > 0
    assert each.mean().item() == pytest.approx(objective(a, b).item(), rel=1e-12)
