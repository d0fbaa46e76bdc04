"""BYOL, SimSiam and VICReg against literal transcriptions, and every objective in the step."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seamask.config import ObjectiveConfig
from seamask.objectives import OBJECTIVES, build_objective, vicreg


def embeddings(batch=6, width=8, seed=0):
    draw = np.random.default_rng(seed)
    return tuple(torch.from_numpy(draw.standard_normal((batch, width))) for _ in "ab")


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def literal_simsiam(a, b):
    (p_a, z_a), (p_b, z_b) = (np.split(x, 2, axis=1) for x in (a, b))

    def distance(p, z):
        return -np.mean([unit(p)[i] @ unit(z)[i] for i in range(len(p))])

    return 0.5 * distance(p_a, z_b) + 0.5 * distance(p_b, z_a)


def literal_byol(a, b):
    (q_a, t_a), (q_b, t_b) = (np.split(x, 2, axis=1) for x in (a, b))
    first = np.mean(np.sum((unit(q_a) - unit(t_b)) ** 2, axis=1))
    return first + np.mean(np.sum((unit(q_b) - unit(t_a)) ** 2, axis=1))


def literal_vicreg(a, b):
    d = a.shape[1]

    def variance(z):
        return np.mean([max(0, 1 - math.sqrt(np.var(z[:, j], ddof=1) + 1e-4)) for j in range(d)])

    def covariance(z):
        c = np.cov(z.T)
        return sum(c[i, j] ** 2 for i in range(d) for j in range(d) if i != j) / d

    invariance = np.mean((a - b) ** 2)
    spread = variance(a) + variance(b)
    return 25 * invariance + 25 * spread + covariance(a) + covariance(b)


ORACLES = {"simsiam": literal_simsiam, "byol": literal_byol, "vicreg": literal_vicreg}


def build(name, **changed):
    return build_objective(
        ObjectiveConfig(**{"name": name, "hidden": (16,), "out_dim": 4, "predictor": 8, **changed})
    )


def encoder_of(objective):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
                             nn.AdaptiveAvgPool2d(1), nn.Flatten())  # fmt: skip
    return objective.encoder(backbone, 6).double()


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.01, 1.0, 10.0]))
@pytest.mark.parametrize("name", ORACLES)
def test_losses_are_those_of_the_papers(name, seed, scale):
    a, b = (scale * z for z in embeddings(seed=seed))
    expected = ORACLES[name](a.numpy(), b.numpy())
    assert build(name)(a, b).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_those_of_finite_differences(name):
    a, b = (z.requires_grad_() for z in embeddings())
    objective = build(name)
    if name in ("byol", "simsiam"):  # the second half gets no gradient: hold it fixed
        half_a, half_b = a.detach()[:, 4:], b.detach()[:, 4:]

        def loss(p, q):
            return objective(torch.cat([p, half_a], 1), torch.cat([q, half_b], 1))

        assert torch.autograd.gradcheck(loss, (a[:, :4], b[:, :4]))
        grads = torch.autograd.grad(objective(a, b), (a, b))
        assert all((g[:, 4:] == 0).all() for g in grads)
    else:
        assert torch.autograd.gradcheck(objective, (a, b))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_low_precision_gives_a_float32_loss(name):
    a, b = (z.bfloat16() for z in embeddings())
    with torch.autocast("cpu", torch.bfloat16):
        loss = build(name)(a, b)
    assert loss.dtype == torch.float32
    expected = build(name)(a.double(), b.double()).item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_simsiam_compares_with_its_own_projection():
    objective = build("simsiam")
    encoder = encoder_of(objective).train()
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=draw)
    out = encoder(images)
    assert out.shape == (5, 8)
    projection = encoder.head(encoder.backbone(images))
    torch.testing.assert_close(out[:, 4:], projection)
    torch.testing.assert_close(out[:, :4], encoder.predictor(projection))
    assert encoder.target is None


def test_the_target_of_byol_follows_and_is_not_trained():
    objective = build("byol", momentum=0.9)
    encoder = encoder_of(objective).train()
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert not any(name.startswith("target") for name in trained)
    slow, fast = (next(m.parameters()) for m in (encoder.target, encoder.backbone))
    assert torch.equal(slow, fast)  # it begins as a copy
    with torch.no_grad():
        fast.add_(1)
    before = slow.clone()
    objective.update(encoder, done=0.0)
    torch.testing.assert_close(slow, 0.9 * before + 0.1 * fast)
    before = slow.clone()
    objective.update(encoder, done=0.5)  # momentum 1 − 0.1 · (cos(π/2) + 1) / 2 = 0.95
    torch.testing.assert_close(slow, 0.95 * before + 0.05 * fast)
    before = slow.clone()
    objective.update(encoder, done=1.0)  # momentum 1: it stands still
    torch.testing.assert_close(slow, before)


def test_vicreg_does_not_pay_for_decorrelated_embeddings_of_unit_variance():
    z = embeddings(32, 4)[0]
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(z.T))).T  # white
    assert vicreg(2 * z, 2 * z).item() == pytest.approx(0, abs=1e-9)
    assert vicreg(0 * z, 0 * z).item() == pytest.approx(2 * 25 * 0.99)  # collapse costs
