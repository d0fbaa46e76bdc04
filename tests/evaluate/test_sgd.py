"""Trained classifiers: LARS, batch norm and learning rates by protocol, and the tested crop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms.functional import center_crop

from seamask.data import DataConfig, load
from seamask.evaluate import check
from seamask.evaluate.finetune import FinetuneConfig, finetuned
from seamask.evaluate.linear import LinearConfig, falling, linear_sgd
from seamask.evaluate.sgd import build_sgd, centre
from seamask.evaluate.subject import open_subject

CPU = torch.device("cpu")
ETA = 1e-3


@pytest.fixture(scope="module")
def scenes(cache):
    return load(DataConfig(cache=str(cache), shapes_train=64, shapes_test=32), 32)


@pytest.fixture
def backbone():
    return open_subject("untrained:test_resnet", image_size=32).backbone


def literal_lars(p, g, buffer, lr, momentum, weight_decay):
    """One step as in LARSWrapper(eta, clip=False, exclude_bias_n_norm=True) around SGD."""
    if p.ndim > 1:
        p_norm, g_norm = np.sqrt((p**2).sum()), np.sqrt((g**2).sum())
        g = (g + weight_decay * p) * ETA * p_norm / (g_norm + weight_decay * p_norm + 1e-8)
    buffer = g if buffer is None else momentum * buffer + g
    return p - lr * buffer, buffer


def literal_sgd(p, g, buffer, lr, momentum, weight_decay):
    g = g + weight_decay * p
    buffer = g if buffer is None else momentum * buffer + g
    return p - lr * buffer, buffer


@pytest.mark.parametrize("weight_decay", [0.0, 5e-4, 0.1])
@pytest.mark.parametrize(("protocol", "step"), [("adios", literal_lars), ("paper", literal_sgd)])
def test_steps_equal_numpy(protocol, step, weight_decay):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5))
    net.double()
    config = check(FinetuneConfig(protocol=protocol, lr=0.5, weight_decay=weight_decay))
    optimizer = build_sgd(net, config)
    expected = [p.detach().numpy().copy() for p in net.parameters()]
    buffers = [None] * len(expected)
    rng = np.random.default_rng(0)
    for lr in (0.5, 0.05, 0.005):
        for group in optimizer.param_groups:
            group["lr"] = lr
        for i, parameter in enumerate(net.parameters()):
            # Some gradients so small that a local rate that is clipped would be.
            g = rng.normal(size=parameter.shape) * 10.0 ** rng.integers(-5, 3)
            parameter.grad = torch.from_numpy(g.copy())
            expected[i], buffers[i] = step(expected[i], g, buffers[i], lr, 0.9, weight_decay)
        optimizer.step()
        for parameter, value in zip(net.parameters(), expected, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("protocol", ["paper", "adios"])
def test_running_statistics_move_by_the_paper_and_stay_by_adios(scenes, backbone, protocol):
    config = FinetuneConfig(protocol=protocol, epochs=1, batch_size=32, lr=0.01)
    trained, _ = finetuned(backbone, scenes, 32, check(config), CPU)
    before, after = dict(backbone.named_buffers()), dict(trained.named_buffers())
    assert any(name.endswith("running_var") for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before) == (protocol == "adios")
    # Their scale and shift are trained either way, as are all weights.
    was = dict(backbone.named_parameters())
    assert not any(torch.equal(was[name], p) for name, p in trained.named_parameters())


@pytest.mark.parametrize(("given", "expected"), [
    ({"protocol": "paper"}, [0.1] * 10),
    ({"protocol": "adios"}, [0.1] * 6 + [0.01] * 2 + [0.001] * 2),
    ({"protocol": "adios", "milestones": (1.0,)}, [0.1] * 10),
    ({"protocol": "adios", "milestones": ()}, [0.1] * 10),
    ({"protocol": "paper", "milestones": (0.4,)}, [0.1] * 4 + [0.01] * 6),
])  # fmt: skip
def test_the_rate_is_fixed_by_the_paper_and_falls_by_adios(given, expected):
    config = check(LinearConfig(epochs=5, **given))
    optimizer = build_sgd(nn.Linear(2, 2), config)
    schedule, rates = falling(optimizer, config, steps=2), []
    for _ in range(10):
        rates.append(optimizer.param_groups[-1]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(("stored", "size"), [(48, 32), (47, 32), (33, 32), (256, 96)])
def test_the_centre_is_torchvisions_center_crop(stored, size):
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, stored, stored, 3), dtype=torch.uint8, generator=draw)
    expected = center_crop(pixels.permute(0, 3, 1, 2), [size, size])
    assert torch.equal(centre(pixels, size).permute(0, 3, 1, 2), expected)


def test_only_the_test_images_are_cropped_to_their_centre(cache, backbone):
    data = load(DataConfig(cache=str(cache), shapes_train=64, shapes_test=32, size=48), 32)
    whole = LinearConfig(protocol="adios", epochs=2, batch_size=32, data=DataConfig(size=48))
    whole = check(replace(whole, image_size=32))
    cropped = check(replace(whole, centre_crop=True))
    middle = replace(data.probe_test, pixels=data.probe_test.pixels[:, 8:40, 8:40])
    by_hand = linear_sgd(backbone, replace(data, probe_test=middle), 32, whole, CPU)
    assert linear_sgd(backbone, data, 32, cropped, CPU) == by_hand
