"""Budgets from superpixels, and masks that are given."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from seamask.data import cached_maps
from seamask.masks import GivenMasker, SequentialMasker, areas, clusters, superpixel_colours
from seamask.masks.budget import Budget

COLOURS = torch.tensor([[230, 40, 40], [40, 200, 60], [40, 60, 220]], dtype=torch.uint8)


def painted(seed=0, size=32):
    """An image of three flat regions, the largest first, and their labels 1, 2, 3."""
    draw = np.random.default_rng(seed)
    maps = np.ones((size, size), np.uint8)
    maps[:, : size // 4] = 2
    maps[: size // 4, size // 2 :] = 3
    order = draw.permutation(3)
    pixels = COLOURS[torch.from_numpy(order[maps - 1])]
    noise = torch.from_numpy(draw.integers(0, 12, pixels.shape).astype(np.uint8))
    return pixels + noise, torch.from_numpy(maps)


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_the_regions_largest_first(seed):
    pixels, maps = painted(seed)
    found = clusters(pixels[None], 3)
    assert found.dtype == torch.uint8
    assert (found[0] == maps).float().mean() > 0.95
    shown = superpixel_colours(pixels[None], 3)[0]
    assert (shown.float() - pixels.float()).abs().mean() < 12


def test_an_image_of_one_colour_has_one_cluster():
    found = clusters(torch.full((2, 16, 16, 3), 77, dtype=torch.uint8), 4)
    assert (found == 1).all()
    assert areas(found, 4)[0].tolist() == pytest.approx([0.9999, 0.0001, 0.0001, 0.0001])


@given(seed=st.integers(0, 10**6), count=st.integers(1, 6))
def test_areas_are_counted(seed, count):
    maps = np.random.default_rng(seed).integers(0, count + 2, (2, 5, 7))
    expected = [[(m == k).mean() for k in range(1, count + 1)] for m in maps]
    found = areas(torch.from_numpy(maps), count)
    np.testing.assert_allclose(found, np.clip(expected, 1e-4, 1 - 1e-4), rtol=1e-6)


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e4])  # saturated logits too
def test_exact_masks_have_the_areas_of_their_clusters(disjoint, scale):
    torch.manual_seed(0)
    masker = SequentialMasker(3, 32, 4, disjoint=disjoint)
    for head in masker.head:
        head.weight.data *= scale
    maps = torch.stack([painted()[1], painted()[1].flip(1), torch.ones(32, 32)]).byte()
    images = torch.randn(3, 3, 32, 32)
    asked = Budget(exact=True, of="superpixels").target(images, maps, 3)
    masks = masker(images, shares=asked)
    removed, asked = masks.mean((2, 3)), areas(maps, 3)
    if disjoint:  # the areas of all clusters are the whole: rounding is the last one's
        torch.testing.assert_close(removed[:, :2], asked[:, :2], atol=1e-4, rtol=0)
        assert masks.sum(1).max() <= 1 + 1e-5
        asked = asked.clamp(max=1 - removed[:, :2].sum(1, keepdim=True))[:, 2:]
        removed = removed[:, 2:]
    torch.testing.assert_close(removed, asked, atol=2e-3 if disjoint else 1e-4, rtol=0)


def test_images_without_maps_are_clustered_on_the_way():
    masker = SequentialMasker(3, 32, 4, budget=Budget(exact=True, of="superpixels"), superpixels=40)
    pixels = painted()[0]
    pixels[:, 16:] //= 2  # not the full range
    mean, std = torch.tensor([[0.5, 0.4, 0.3], [0.1, 0.2, 0.3]])[..., None, None]
    images = (pixels.permute(2, 0, 1)[None] / 255 - mean) / std
    expected = areas(clusters(pixels[None], 3, superpixels=40), 3)
    torch.testing.assert_close(masker(images).mean((2, 3)), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("text", ["superpixel", "exact:superpixel", " exact : superpixel "])
def test_the_budget_is_read(text):
    budget = Budget.parse(text)
    assert budget.of == "superpixels"
    assert budget.exact == text.strip().startswith("exact")


def test_maps_are_kept_and_made_anew_where_half_written(tmp_path):
    pixels = torch.stack([painted(seed)[0] for seed in range(40)])
    made = []

    def make(some):
        made.append(len(some))
        return clusters(some, 3)

    path = tmp_path / "cache/some.maps"
    first = cached_maps(path, pixels, make, "clustering", show=False).clone()
    assert sum(made) == 40
    assert torch.equal(first, clusters(pixels, 3))  # in order, whatever the threads
    assert torch.equal(cached_maps(path, pixels, make, "clustering", show=False), first)
    assert sum(made) == 40
    os.truncate(path / "maps", 7)
    left = path.with_name(f".seamask-{path.name}-{'0' * 16}.tmp")  # of a process that was killed
    left.mkdir()
    assert torch.equal(cached_maps(path, pixels, make, "clustering", show=False), first)
    assert sum(made) == 80
    assert [p.name for p in path.parent.iterdir()] == ["some.maps"]


OBJECTS = torch.zeros(2, 16, 16, dtype=torch.uint8)
OBJECTS[0, 2:9, 3:8] = 1
OBJECTS[0, 10:14, 6:16] = 2
OBJECTS[1, 5:8, 5:8] = 2
OBJECTS[1, 0, 0] = 255


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("morph", ["none", "erode", "dilate", "box"])
def test_given_masks_are_the_objects(morph, radius):
    masks = GivenMasker(3, morph, radius)(torch.randn(2, 3, 16, 16), OBJECTS)
    square = np.ones((2 * radius + 1,) * 2)
    for image, objects in zip(masks, OBJECTS.numpy(), strict=True):
        for k in (1, 2):
            thing = objects == k
            if morph == "erode":
                thing = ndimage.binary_erosion(thing, square, border_value=1)
            elif morph == "dilate":
                thing = ndimage.binary_dilation(thing, square)
            elif morph == "box" and thing.any():
                (rows,) = np.nonzero(thing.any(1))
                (columns,) = np.nonzero(thing.any(0))
                thing = np.zeros_like(thing)
                thing[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
            np.testing.assert_array_equal(image[k - 1], thing)
        things = image[:2].amax(0)  # the rest, unless nothing would be left of the view
        np.testing.assert_array_equal(image[2], (1 - things) * things.amax())


def test_a_view_without_objects_is_left_as_it_is():
    nothing = torch.zeros(2, 16, 16, dtype=torch.uint8)
    assert not GivenMasker(3)(torch.randn(2, 3, 16, 16), nothing).any()


def test_one_given_mask_is_the_first_object():
    masks = GivenMasker(1)(torch.randn(2, 3, 16, 16), OBJECTS)
    assert torch.equal(masks[:, 0] == 1, OBJECTS == 1)
    with pytest.raises(ValueError, match="objects is None"):
        GivenMasker(1)(torch.randn(2, 3, 16, 16))
