import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamask.data.sets import scenes


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**63),
    indices=st.lists(st.integers(0, 2 * scenes.TEST_START), min_size=1, max_size=6),
    size=st.sampled_from([8, 17, 32]),
)
def test_an_image_depends_on_seed_index_and_size_only(seed, indices, size):
    indices = np.array(indices)
    together = scenes.generate(seed, indices, size)
    for row, index in enumerate(indices):
        alone = scenes.generate(seed, np.array([index]), size)
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], many[row])


def test_types_shapes_and_ranges():
    pixels, labels, objects = scenes.generate(0, np.arange(24), 40)
    assert (pixels.shape, pixels.dtype) == ((24, 40, 40, 3), np.uint8)
    assert (objects.shape, objects.dtype) == ((24, 40, 40), np.uint8)
    assert (labels.shape, labels.dtype) == ((24,), np.int64)
    assert objects.max() <= scenes.OBJECTS


def test_classes_are_balanced():
    _, labels, _ = scenes.generate(0, np.arange(100, 180), 8)
    assert np.bincount(labels).tolist() == [10] * len(scenes.CLASSES)


@pytest.mark.parametrize("other", [(1, 0), (0, 8), (0, scenes.TEST_START)])
def test_seeds_and_indices_give_other_images(other):
    seed, index = other
    a = scenes.generate(0, np.array([0]), 32)[0]
    b = scenes.generate(seed, np.array([index]), 32)[0]
    assert (a != b).mean() > 0.5


def test_the_main_object_is_always_there_largest_and_nearly_whole():
    _, _, objects = scenes.generate(0, np.arange(256), 64)
    areas = np.stack([(objects == k).sum((1, 2)) for k in range(1, scenes.OBJECTS + 1)])
    assert (areas[0] > 0.03 * 64 * 64).all()
    assert (areas[0] > areas[1:]).all()
    border = np.concatenate([objects[:, [0, -1]], objects[:, :, [0, -1]].swapaxes(1, 2)], axis=1)
    touching = (border == 1).sum((1, 2))  # pixels along the four sides, of 4 · 64
    assert (touching == 0).mean() > 0.7
    assert touching.max() < 32
    counts = (areas > 0).sum(0)
    assert set(counts) <= {1, 2, 3, 4}  # the main object may hide all others
    assert (counts >= 2).mean() > 0.9


def test_masks_match_pixels():
    """Inside a mask colours are another set than outside: the edges of both coincide."""
    pixels, _, objects = scenes.generate(0, np.arange(128), 64)
    grey = pixels.astype(float)
    step = np.abs(np.diff(grey, axis=2)).max(-1)
    edge = np.diff(objects == 1, axis=2)
    assert np.median(step[edge]) > 4 * np.median(step[~edge])
    circle = objects[0] == 1  # class 0
    y, x = np.nonzero(circle)
    radius = np.hypot(x - x.mean(), y - y.mean()).max()
    assert circle.sum() == pytest.approx(np.pi * radius**2, rel=0.1)


def test_areas_follow_the_outlines():
    """Share of the bounding circle that each shape covers, from geometry."""
    _, labels, objects = scenes.generate(0, np.arange(64), 96)
    for label, name in enumerate(scenes.CLASSES):
        shares = []
        for mask in objects[labels == label] == 1:
            y, x = np.nonzero(mask)
            centre = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
            radius = np.hypot(x - centre[0], y - centre[1]).max()
            shares.append(mask.sum() / (np.pi * radius**2))
        low, high = {
            "circle": (0.85, 1.02), "square": (0.55, 0.68), "triangle": (0.3, 0.5),
            "star": (0.25, 0.42), "ring": (0.65, 0.76), "cross": (0.55, 0.7),
            "hexagon": (0.72, 0.86), "heart": (0.5, 0.9),
        }[name]  # fmt: skip
        assert low < np.mean(shares) < high, name


def test_colour_statistics_do_not_tell_the_class():
    pixels, labels, _ = scenes.generate(0, np.arange(2048), 16)
    means = pixels.reshape(2048, -1, 3).mean(1)
    per_class = np.stack([means[labels == k].mean(0) for k in range(len(scenes.CLASSES))])
    assert np.abs(per_class - means.mean(0)).max() < 4 * means.std() / np.sqrt(256)


def test_normalization_constants():
    pixels = scenes.generate(0, np.arange(512), 32)[0] / 255
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), scenes.MEAN, atol=0.02)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), scenes.STD, atol=0.02)


def test_random_numbers_are_uniform_and_uncorrelated():
    draws = scenes._uniform(0, np.arange(4000), 20)
    assert (draws >= 0).all()
    assert (draws < 1).all()
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=0.03)
    np.testing.assert_allclose(draws.std(0), 12**-0.5, atol=0.02)
    assert np.abs(np.corrcoef(draws.T) - np.eye(20)).max() < 0.08
