"""What stands where masks remove something: against loops in NumPy, and several processes."""

import math

import numpy as np
import pytest
import torch

from seamask.base.draws import BatchGenerator, generator
from seamask.base.errors import UserError
from seamask.base.settings import override
from seamask.config import Config, check
from seamask.networks.removal import Masked
from seamask.views.fill import blurred, fill, filled_pixels

KINDS = ("mean", "noise", "blur", "other")


def batch(n=4, side=6):
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(n, 2, side, side, generator=draw, dtype=torch.float64)
    return images, torch.rand(n, 1, side, side, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_and_the_gradient_to_the_mask(kind):
    images, mask = batch()
    filled = fill(kind, images, generator(1))
    seen = Masked(images, mask.requires_grad_(), filled).seen()
    upstream = torch.randn(seen.shape, dtype=seen.dtype)
    (seen * upstream).sum().backward()
    x, m, g = (t.detach().numpy() for t in (images, mask, upstream))
    f = np.zeros_like(x) if filled is None else filled.numpy()
    for b, c, i, j in np.ndindex(x.shape):
        expected = x[b, c, i, j] * (1 - m[b, 0, i, j]) + f[b, c, i, j] * m[b, 0, i, j]
        assert seen[b, c, i, j].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(mask.grad[:, 0], ((f - x) * g).sum(1), rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(lambda m: Masked(images, m, filled).seen(), mask)


def test_a_blur_is_a_mean_weighted_by_distance_that_ends_at_the_border():
    images, _ = batch(1, 9)
    sigma = 1.7
    found = blurred(images, sigma).numpy()
    weight = np.exp(-0.5 * ((np.arange(9)[:, None] - np.arange(9)) / sigma) ** 2)
    for i, j in np.ndindex(9, 9):
        w = np.outer(weight[i], weight[j])
        expected = (images[0].numpy() * w).sum((1, 2)) / w.sum()
        np.testing.assert_allclose(found[0, :, i, j], expected, rtol=1e-10)
    flat = torch.full((1, 1, 20, 20), 0.3)
    torch.testing.assert_close(fill("blur", flat), flat)  # no dark edge


def test_noise_has_the_data_sets_mean_and_deviation_and_each_image_its_own():
    found = fill("noise", torch.zeros(6, 3, 64, 64), generator(2))
    assert found.mean((0, 2, 3)).abs().max() < 4 / 64  # four standard errors of one field
    assert (found.std((2, 3)) - 1).abs().max() < 4 / (64 * math.sqrt(2))
    flat = found.flatten(1)
    correlation = torch.corrcoef(flat) - torch.eye(6)
    assert correlation.abs().max() < 5 / math.sqrt(flat.shape[1])
    neighbours = (found[..., 1:] * found[..., :-1]).mean()
    assert neighbours.abs() < 5 / 64  # white


@pytest.mark.parametrize("kind", KINDS[1:])
def test_several_processes_fill_as_one_does(kind):
    images, _ = batch(8)

    def filled(part, rank=0, processes=1):
        source = BatchGenerator(rank, processes)
        return fill(kind, part, source.manual_seed(5))

    alone = filled(images)
    for processes in (2, 4):
        parts = [filled(part, r, processes) for r, part in enumerate(images.chunk(processes))]
        assert torch.equal(torch.cat(parts), alone)


def test_another_image_is_never_the_same_one():
    for n in (2, 5, 8):
        images = torch.arange(n, dtype=torch.float64).view(n, 1, 1, 1).expand(n, 1, 2, 2)
        assert (fill("other", images) != images).all()


def test_a_batch_that_cannot_be_paired_is_refused():
    with pytest.raises(UserError, match="other pairs images: --batch-size 6 leaves 3"):
        check(override(Config(), {"masks.fill": "other", "batch_size": 6, "accumulate": 2}))
    with pytest.raises(UserError, match=r"--masks.fill: 'colour'"):
        check(override(Config(), {"masks.fill": "colour"}))


def test_pictures_show_what_the_encoder_is_given():
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    mean, std = (0.2, 0.4, 0.6), (0.1, 0.2, 0.3)
    flat = filled_pixels("mean", pixels, mean, std)
    assert flat.unique(dim=1).flatten().tolist() == [51, 102, 153] * 2 * 8
    assert torch.equal(filled_pixels("other", pixels, mean, std), pixels.flip(0))
