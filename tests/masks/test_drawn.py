"""Masks that are drawn, pixel by pixel beside loops written from their papers."""

import math

import numpy as np
import pytest
import torch

from seamask.masks import (
    ColourNoiseMasker,
    GridMasker,
    MultiBlockMasker,
    SuperpixelMasker,
    masks_of,
)
from seamask.masks.noise import coloured_noise
from seamask.masks.superpixels import segments


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def literal_gaussian(white, sigma):
    """Blur a periodic grid by a Gaussian, frequency by frequency."""
    rows, columns = white.shape
    spectrum = np.fft.fft2(white)
    for i in range(rows):
        for j in range(columns):
            u, v = (min(k, n - k) / n for k, n in ((i, rows), (j, columns)))
            spectrum[i, j] *= math.exp(-2 * (math.pi * sigma) ** 2 * (u * u + v * v))
    return np.fft.ifft2(spectrum).real


LITERAL_COLOURS = {
    "red": lambda w: literal_gaussian(w, 2),
    "blue": lambda w: w - literal_gaussian(w, 1),
    "green": lambda w: literal_gaussian(w, 1) - literal_gaussian(w, 2),
    "purple": lambda w: w - (literal_gaussian(w, 1) - literal_gaussian(w, 2)),
}


@pytest.mark.parametrize("colour", LITERAL_COLOURS)
def test_noise_is_filtered_as_in_colormae(colour):
    white = torch.randn(9, 12, generator=seeded(), dtype=torch.float64)
    found = coloured_noise(white, colour).numpy()
    np.testing.assert_allclose(found, LITERAL_COLOURS[colour](white.numpy()), atol=1e-12)


@pytest.mark.parametrize("colour", LITERAL_COLOURS)
def test_the_weakest_cells_of_the_noise_are_removed(colour):
    masker = ColourNoiseMasker(2, 0.3, 4, colour)
    masks = masker(torch.zeros(3, 3, 32, 40), seeded(1))
    white = torch.randn(3, 2, 8 + 16, 10 + 16, generator=seeded(1))
    for b in range(3):
        for k in range(2):
            noise = LITERAL_COLOURS[colour](white[b, k].double().numpy())[8:-8, 8:-8]
            bound = np.sort(noise.ravel())[24]  # 0.3 of 80 cells go
            expected = np.kron(noise < bound, np.ones((4, 4)))
            np.testing.assert_array_equal(masks[b, k].numpy(), expected)


def test_colours_differ_in_how_far_masks_hang_together():
    def edges(colour):
        masks = ColourNoiseMasker(1, 0.5, 1, colour)(torch.zeros(8, 3, 32, 32), seeded())
        return (masks.diff(dim=2) != 0).float().mean().item()

    assert edges("red") < edges("green") < 0.45 < edges("blue")


def literal_multi_block(draws, rows, columns):
    """I-JEPA's context and targets of one image; draws uniform [5, 4]."""

    def place(draw, scale, aspect):
        area = math.floor((scale[0] + draw[0] * (scale[1] - scale[0])) * rows * columns)
        ratio = aspect[0] + draw[1] * (aspect[1] - aspect[0])
        h = max(1, min(round(math.sqrt(area * ratio)), rows - 1))
        w = max(1, min(round(math.sqrt(area / ratio)), columns - 1))
        y, x = math.floor(draw[2] * (rows - h + 1)), math.floor(draw[3] * (columns - w + 1))
        return {(i, j) for i in range(y, y + h) for j in range(x, x + w)}

    seen = place(draws[0], (0.85, 1), (1, 1))
    for draw in draws[1:]:
        left = seen - place(draw, (0.15, 0.2), (0.75, 1.5))
        seen = left if len(left) > 4 else seen
    return np.array([[(i, j) not in seen for j in range(columns)] for i in range(rows)])


@pytest.mark.parametrize(("rows", "columns"), [(12, 14), (4, 4)])
def test_multi_block_is_that_of_i_jepa(rows, columns):
    masker = MultiBlockMasker(2, 2)
    masks = masker(torch.zeros(20, 3, 2 * rows, 2 * columns), seeded(3))
    draws = torch.rand(20, 2, 5, 4, generator=seeded(3)).double().numpy()
    for b in range(20):
        for k in range(2):
            expected = np.kron(literal_multi_block(draws[b, k], rows, columns), np.ones((2, 2)))
            np.testing.assert_array_equal(masks[b, k].numpy(), expected)


@pytest.mark.parametrize(
    ("ratio", "share"), [(0, 0), (0.25, 0.25), (0.36, 0.391), (0.75, 0.75), (1, 1)]
)
def test_a_grid_is_one_square_a_tile(ratio, share):
    masks = GridMasker(2, ratio, 4)(torch.zeros(6, 3, 32, 48), seeded())
    np.testing.assert_allclose(masks.mean((2, 3)), share, atol=1e-3)  # of every image
    torch.testing.assert_close(masks, masks.roll((8, 16), (2, 3)))  # periodic
    if ratio == 0.25:
        for mask in masks.flatten(0, 1):
            tile = mask[:8, :8]
            shifts = [tile.roll((y, x), (0, 1)) for y in range(8) for x in range(8)]
            square = torch.zeros(8, 8)
            square[:4, :4] = 1
            assert any(torch.equal(shifted, square) for shifted in shifts)


def test_superpixels_go_whole_up_to_the_share():
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 255, (2, 4, 4, 3)).astype(np.uint8)
    pixels = torch.from_numpy(np.kron(coarse, np.ones((1, 8, 8, 1), np.uint8)))
    found = segments(pixels, 16)
    assert found.dtype == torch.uint8
    assert all(
        len(np.unique(found[:, y : y + 8, x : x + 8][0])) == 1 for y in (0, 8) for x in (0, 8)
    )
    masker = SuperpixelMasker(3, 0.4, 16)
    images = (pixels.permute(0, 3, 1, 2).float() - 100) / 50
    masks = masks_of(masker, images, generator=seeded(), segments=found)
    assert torch.equal(masks, masks_of(masker, images, generator=seeded()))  # computed here
    order = torch.rand(2, 3, 256, generator=seeded()).argsort(-1)
    for b in range(2):
        labels = found[b].numpy()
        for k in range(3):
            expected, left = np.zeros(labels.shape), 0.4 * labels.size
            for label in order[b, k].tolist():
                left -= (labels == label).sum()
                if left < 0:
                    break
                expected[labels == label] = 1
            np.testing.assert_array_equal(masks[b, k].numpy(), expected)
            assert 0.4 - 1 / 12 < expected.mean() <= 0.4
