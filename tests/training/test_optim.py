"""Optimisers and learning rates against literal float64 transcriptions of what they follow."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from seamask.training.optim import build_optimizer, learning_rate, set_learning_rate
from seamask.training.settings import OptimConfig, PlayerConfig

TRUST = 0.02


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    for parameter in net.parameters():
        nn.init.normal_(parameter)  # else biases and norms start where decay has no effect
    return net.double()


def np_lars(p, g, buffer, lr, momentum, weight_decay):
    """One step as in solo-learn's LARSWrapper(clip, exclude_bias_n_norm) around SGD."""
    if p.ndim > 1:
        p_norm, g_norm = np.sqrt((p**2).sum()), np.sqrt((g**2).sum())
        local = TRUST * p_norm / (g_norm + p_norm * weight_decay + 1e-8)
        g = (g + weight_decay * p) * min(local / lr, 1)
    buffer = g if buffer is None else momentum * buffer + g
    return p - lr * buffer, buffer


def np_sgd(p, g, buffer, lr, momentum, weight_decay):
    g = g + weight_decay * p if p.ndim > 1 else g
    buffer = g if buffer is None else momentum * buffer + g
    return p - lr * buffer, buffer


def np_adamw(p, g, state, lr, momentum, weight_decay):
    """Loshchilov & Hutter 2019, algorithm 2; β2 and ε are PyTorch's."""
    t, m, v = state or (0, 0.0, 0.0)
    t, m, v = t + 1, momentum * m + (1 - momentum) * g, 0.999 * v + 0.001 * g**2
    p = p * (1 - lr * weight_decay) if p.ndim > 1 else p
    p = p - lr * (m / (1 - momentum**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p, (t, m, v)


@pytest.mark.parametrize("weight_decay", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("name", "step"), [
    ("lars", np_lars), ("sgd", np_sgd), ("adamw", np_adamw),
])  # fmt: skip
def test_steps_equal_numpy(name, step, momentum, weight_decay):
    net = network()
    player = PlayerConfig(name, lr=0.3, weight_decay=weight_decay, momentum=momentum)
    optimizer = build_optimizer(net, player, TRUST)
    expected = [p.detach().numpy().copy() for p in net.parameters()]
    states = [None] * len(expected)
    rng = np.random.default_rng(0)
    for lr in (0.003, 0.1, 0.3, 0.2, 0.01):
        set_learning_rate(optimizer, lr)
        for i, parameter in enumerate(net.parameters()):
            # Some gradients so small that LARS is clipped to plain SGD, some not.
            g = rng.normal(size=parameter.shape) * 10.0 ** rng.integers(-3, 3)
            parameter.grad = torch.from_numpy(g.copy())
            expected[i], states[i] = step(expected[i], g, states[i], lr, momentum, weight_decay)
        optimizer.step()
        for parameter, value in zip(net.parameters(), expected, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("size", "factor"), [(1e-4, 1.0), (10.0, 0.02 / 10 / 0.5)])
def test_lars_clips_its_local_rate(size, factor):
    # ‖w‖ = 1 and ‖g‖ = size: the local rate over lr is 0.02 / size / 0.5, at most 1.
    layer = nn.Linear(4, 1, bias=False).double()
    nn.init.constant_(layer.weight, 0.5)
    optimizer = build_optimizer(layer, PlayerConfig("lars", lr=0.5, weight_decay=0.0), TRUST)
    layer.weight.grad = torch.tensor([[size, 0, 0, 0]], dtype=torch.float64)
    optimizer.step()
    assert 0.5 - layer.weight[0, 0].item() == pytest.approx(0.5 * size * factor, rel=1e-6)


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_biases_and_norms_are_not_decayed(name):
    net = network()
    frozen = net[3].bias.requires_grad_(False)
    optimizer = build_optimizer(net, PlayerConfig(name, lr=0.1, weight_decay=0.5), TRUST)
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.5, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert {p.ndim for p in plain["params"]} == {1}
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == sum(1 for _ in net.parameters()) - 1
    assert not any(p is frozen for p in held)


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_a_predictor_may_keep_its_learning_rate(name):
    # SimSiam (Chen & He 2021, section 4.2) and ADIOS's `static_lr`.
    net = nn.ModuleDict({"backbone": nn.Linear(4, 4), "predictor": nn.Linear(4, 4)})
    optimizer = build_optimizer(net, PlayerConfig(name, lr=0.3), TRUST, constant=True)
    set_learning_rate(optimizer, 0.003)
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert {rates[id(p)] for p in net["backbone"].parameters()} == {0.003}
    assert {rates[id(p)] for p in net["predictor"].parameters()} == {0.3}
    assert len(rates) == 4
    for group in optimizer.param_groups:  # biases of the predictor are biases too
        assert (group["weight_decay"] == 0) == all(p.ndim == 1 for p in group["params"])
    plain = build_optimizer(net, PlayerConfig(name, lr=0.3), TRUST)
    set_learning_rate(plain, 0.003)
    assert {group["lr"] for group in plain.param_groups} == {0.003}


@pytest.mark.parametrize("name", ["lars", "sgd", "adamw"])
def test_a_learning_rate_of_zero_moves_nothing_and_breaks_nothing(name):
    net = network()  # a warm-up may start at 0, and LARS divides by the rate
    optimizer = build_optimizer(net, PlayerConfig(name, lr=0.1), TRUST)
    before = [p.detach().clone() for p in net.parameters()]
    for rate, moved in ((0.0, False), (0.1, True)):
        set_learning_rate(optimizer, rate)
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        for p, old in zip(net.parameters(), before, strict=True):
            assert p.isfinite().all()
            assert torch.equal(p, old) != moved


def solo_learn_rates(peak, warmup, epochs, start, min_lr):
    """LinearWarmupCosineAnnealingLR, epoch by epoch from the rate before, as it is written."""
    rates = [start]
    for e in range(1, epochs):
        last = rates[-1]
        if e < warmup:
            rate = last + (peak - start) / (warmup - 1)
        elif e == warmup:
            rate = peak
        else:
            now = 1 + math.cos(math.pi * (e - warmup) / (epochs - warmup))
            before = 1 + math.cos(math.pi * (e - warmup - 1) / (epochs - warmup))
            rate = now / before * (last - min_lr) + min_lr
        rates.append(rate)
    return rates


@pytest.mark.parametrize(("warmup", "epochs"), [(10, 500), (10, 30), (2, 5), (3, 4), (5, 5)])
@pytest.mark.parametrize(("peak", "start", "min_lr"), [
    (0.11, 0.003, 0.0), (0.0145, 0.003, 0.0), (0.4, 0.0, 1e-3), (0.001, 0.003, 1e-4),
])  # fmt: skip
def test_rate_per_epoch_equals_solo_learn(warmup, epochs, peak, start, min_lr):
    config = OptimConfig(warmup_epochs=warmup, warmup_start=start, min_lr=min_lr)
    # solo-learn begins above a low peak; no published recipe does, and who sets one means it.
    expected = solo_learn_rates(peak, warmup, epochs, min(start, peak), min_lr)
    for epoch, rate in enumerate(expected):
        for within in (0, 0.5, 0.999):  # it does not change within an epoch
            found = learning_rate(config, peak, epochs, epoch + within)
            assert found == pytest.approx(rate, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize("peak", [0.0, 1e-4])
def test_a_warmup_begins_no_faster_than_the_peak(per, peak):
    config = OptimConfig(warmup_epochs=10, warmup_start=0.003, per=per)
    rates = [learning_rate(config, peak, 40, e / 4) for e in range(160)]
    assert max(rates) <= peak
    assert rates[:40] == [peak] * 40


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_the_lowest_rate_is_no_higher_than_the_peak(per):
    config = OptimConfig(warmup_epochs=2, warmup_start=0, min_lr=0.05, per=per)
    rates = [learning_rate(config, 0.0145, 40, e / 4) for e in range(160)]
    assert max(rates) == 0.0145
    assert rates[8:] == [0.0145] * 152


@pytest.mark.parametrize("warmup", [0, 1])
def test_short_warmup_per_epoch_starts_at_the_peak(warmup):
    # One epoch of warm-up has no room to climb: its first epoch is its last.
    config = OptimConfig(warmup_epochs=warmup, warmup_start=0.003)
    rates = [learning_rate(config, 0.1, 10, e) for e in range(10)]
    assert rates[0] == 0.1
    cosine = [0.05 * (1 + math.cos(math.pi * (e - warmup) / (10 - warmup))) for e in range(10)]
    assert rates[warmup:] == pytest.approx(cosine[warmup:])


@pytest.mark.parametrize("warmup", [0, 1, 2, 5, 10])
@pytest.mark.parametrize("epochs", [10, 40])
def test_rate_per_step_is_continuous_and_rises_then_falls(warmup, epochs):
    config = OptimConfig(warmup_epochs=warmup, warmup_start=0.003, min_lr=1e-4, per="step")
    steps = 100
    at = np.arange(epochs * steps) / steps
    rates = np.array([learning_rate(config, 0.1, epochs, e) for e in at])
    climb, fall = rates[: warmup * steps + 1], rates[warmup * steps :]
    assert rates[0] == pytest.approx(0.003 if warmup else 0.1)
    assert (np.diff(climb) > 0).all()
    assert (np.diff(fall) < 0).all()
    # No jump: a step changes the rate by no more than the steepest line or cosine does.
    steepest = max(0.097 / max(warmup, 1), 0.1 * math.pi / 2 / max(epochs - warmup, 1)) / steps
    assert np.abs(np.diff(rates)).max() <= steepest * 1.001
    if warmup < epochs:
        assert rates.max() == pytest.approx(0.1)
        assert rates[-1] == pytest.approx(1e-4, rel=0.01)
        half = learning_rate(config, 0.1, epochs, (warmup + epochs) / 2)
        assert half == pytest.approx((0.1 + 1e-4) / 2)


def test_set_learning_rate_reaches_every_group():
    optimizer = build_optimizer(network(), PlayerConfig("lars"), TRUST)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
