"""Objectives against literal transcriptions of their papers, and every one in the step."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seamask.objectives import OBJECTIVES, build_objective, vicreg
from seamask.objectives.settings import ObjectiveConfig


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


def literal_moco(a, b, queue, temperature):
    (q_a, k_a), (q_b, k_b) = (np.split(x, 2, axis=1) for x in (a, b))

    def info_nce(q, k):
        losses = []
        for query, key in zip(unit(q), unit(k), strict=True):
            positive = math.exp(query @ key / temperature)
            negatives = sum(math.exp(query @ n / temperature) for n in queue)
            losses.append(-math.log(positive / (positive + negatives)))
        return np.mean(losses)

    return (info_nce(q_a, k_b) + info_nce(q_b, k_a)) / 2


def literal_msn(a, b, prototypes, temperature, sharpen, mean_entropy, entropy):
    """Equations 1 and 2, as the authors' code has them (losses.py), both directions."""

    def softmax(x):
        return np.exp(x) / np.exp(x).sum()

    def one_way(z, target):
        p = [softmax(unit(prototypes) @ row / temperature) for row in unit(z)]
        loss = own = 0.0
        for i, row in enumerate(unit(target)):
            sharp = softmax(unit(prototypes) @ row / temperature) ** (1 / sharpen)
            sharp = sharp / sharp.sum()
            loss -= sum(sharp[k] * math.log(p[i][k]) for k in range(len(sharp))) / len(z)
            own -= sum(x * math.log(x) for x in p[i]) / len(z)
        mean = np.mean(p, axis=0)
        spread = math.log(len(mean)) + sum(x * math.log(x) for x in mean)
        return loss + mean_entropy * spread + entropy * own

    (z_a, t_a), (z_b, t_b) = (np.split(x, 2, axis=1) for x in (a, b))
    return (one_way(z_a, t_b) + one_way(z_b, t_a)) / 2


OF_VIEWS = [name for name in OBJECTIVES if name != "reconstruct"]  # which compares no views
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


@pytest.mark.parametrize("name", ["simsiam", "byol", "moco", "msn"])
def test_a_loss_is_the_mean_of_its_two_directions(name):
    a, b = embeddings()
    objective = build(name)
    encoder_of(objective)
    both = (objective.from_one(a, b) + objective.from_one(b, a)) / 2
    assert objective(a, b).item() == pytest.approx(both.item(), rel=1e-12)
    assert objective.directed
    assert not build("simclr").directed


@given(seed=st.integers(0, 1000))
def test_the_loss_of_msn_is_that_of_its_paper(seed):
    objective = build("msn", prototypes=7, temperature=0.1, mean_entropy=0.8, entropy=0.3)
    encoder = encoder_of(objective)
    a, b = embeddings(seed=seed)
    prototypes = encoder.prototypes.detach().numpy()
    expected = literal_msn(a.numpy(), b.numpy(), prototypes, 0.1, 0.25, 0.8, 0.3)
    assert objective(a, b).item() == pytest.approx(expected, rel=1e-9)
    objective.from_one(a, b).backward()  # of the prototypes, through the anchors alone
    assert encoder.prototypes.grad.abs().sum() > 0


def test_the_target_of_msn_follows_linearly():
    objective = build("msn", momentum=0.9)
    encoder = encoder_of(objective)
    slow, fast = (next(m.parameters()) for m in (encoder.target, encoder.backbone))
    with torch.no_grad():
        fast.add_(1)
    before = slow.clone()
    objective.update(encoder, done=0.5)  # momentum 0.9 + 0.1 · 0.5 / 1.25 = 0.94
    torch.testing.assert_close(slow, 0.94 * before + 0.06 * fast)


@pytest.mark.parametrize("name", ["simsiam", "byol", "vicreg"])
def test_the_range_is_what_unrelated_views_lose_beside_equal_ones(name):
    # Many wide embeddings of variance one: unrelated ones are nearly orthogonal.
    width = 256
    objective = build(name, out_dim=width)
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(64, width, generator=draw, dtype=torch.float64) for _ in "ab")
    if name != "vicreg":  # predictions equal to their targets
        a, b = torch.cat([a, a], dim=1), torch.cat([b, b], dim=1)
    assert (objective(a, b) - objective(a, a)).item() == pytest.approx(objective.range(64), rel=0.1)


@pytest.mark.parametrize("name", ["simclr", "moco"])
def test_the_range_of_a_choice_is_that_from_a_guess_among_the_candidates(name):
    objective = build(name, queue=64, temperature=0.02)
    encoder = encoder_of(objective)
    if name == "moco":
        encoder.queue.fill_(0.5)  # 4 wide: unit vectors
    same = torch.ones(16, 8, dtype=torch.float64)
    assert objective(same, same).item() == pytest.approx(objective.range(16), rel=1e-9)


@pytest.mark.parametrize("temperature", [0.05, 0.2, 0.5])
def test_the_range_of_the_cross_view_form_is_that_of_its_positive_pair(temperature):
    objective = build("simclr", form="cross-view", temperature=temperature)
    orthogonal = torch.eye(32, dtype=torch.float64)
    a, b = orthogonal[:16], orthogonal[16:]
    falls = objective(a, b) - objective(a, a)
    assert falls.item() == pytest.approx(objective.range(16), rel=1e-6)


def build_moco(**changed):
    objective = build("moco", queue=5, **changed)
    return objective, encoder_of(objective)


@given(seed=st.integers(0, 1000))
def test_the_loss_of_moco_is_that_of_its_paper(seed):
    objective, encoder = build_moco()
    a, b = embeddings(seed=seed)
    expected = literal_moco(a.numpy(), b.numpy(), encoder.queue.numpy(), 0.2)
    assert objective(a, b).item() == pytest.approx(expected, rel=1e-9)


def test_the_queue_of_moco_is_a_ring_of_the_latest_keys():
    objective, encoder = build_moco(momentum=0.9)
    first = encoder.queue.clone()
    a, _ = embeddings(batch=3)
    objective.remember(a)
    slow = next(encoder.target.parameters()).clone()
    with torch.no_grad():
        next(encoder.backbone.parameters()).add_(1)
    objective.update(encoder, 0.5)
    keys = nn.functional.normalize(a[:, 4:], dim=1)
    torch.testing.assert_close(encoder.queue, torch.cat([keys, first[3:]]))
    torch.testing.assert_close(next(encoder.target.parameters()), slow + 0.1)
    objective.remember(a)
    objective.update(encoder, 0.5)  # the same keys once more, round the end of the ring
    torch.testing.assert_close(encoder.queue, torch.cat([keys[2:], keys[1:], keys[:2]])[:5])
    assert encoder.oldest.item() == 1
    encoder.enqueue(torch.arange(28.0).view(7, 4))  # more keys than places: the last five
    ours = {tuple(row) for row in encoder.queue.round(decimals=9).tolist()}
    latest = nn.functional.normalize(torch.arange(28.0).view(7, 4)[2:].double(), dim=1)
    assert ours == {tuple(row) for row in latest.round(decimals=9).tolist()}


@pytest.mark.parametrize("name", OF_VIEWS)
def test_gradients_are_those_of_finite_differences(name):
    a, b = (z.requires_grad_() for z in embeddings())
    objective = build(name)
    encoder_of(objective)  # the queue of MoCo
    if name in (
        "byol",
        "simsiam",
        "moco",
        "msn",
    ):  # the second half gets no gradient: hold it fixed
        half_a, half_b = a.detach()[:, 4:], b.detach()[:, 4:]

        def loss(p, q):
            return objective(torch.cat([p, half_a], 1), torch.cat([q, half_b], 1))

        assert torch.autograd.gradcheck(loss, (a[:, :4], b[:, :4]))
        grads = torch.autograd.grad(objective(a, b), (a, b))
        assert all((g[:, 4:] == 0).all() for g in grads)
    else:
        assert torch.autograd.gradcheck(objective, (a, b))


@pytest.mark.parametrize("name", OF_VIEWS)
def test_low_precision_gives_a_float32_loss(name):
    a, b = (z.bfloat16() for z in embeddings())
    objective = build(name)
    encoder_of(objective)
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(a, b)
    assert loss.dtype == torch.float32
    expected = objective(a.double(), b.double()).item()
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
