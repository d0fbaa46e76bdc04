"""What is said of masks, against NumPy over plain loops and on masks made to be wrong."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seamask.masks.signs import effective_rank, mask_grams, mask_signs


def draw(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 1, shape))


def np_signs(m):
    """Write the signs out, mask by mask and pixel by pixel."""
    batch, n, height, width = m.shape
    found = {name: [] for name in mask_signs(draw(2, 1, 8, 8))}
    for k in range(n):
        mask = m[:, k]
        areas = [image.mean() for image in mask]
        found["coverage"].append(np.mean(areas))
        found["empty"].append(np.mean([a < 0.01 for a in areas]))
        found["full"].append(np.mean([a > 0.99 for a in areas]))
        found["binary"].append(np.mean((mask < 0.1) | (mask > 0.9)))
        images = np.mean([mask[:, y, x].var(ddof=1) for y in range(height) for x in range(width)])
        uneven = np.var([mask[:, y, x].mean() for y in range(height) for x in range(width)])
        places = max(uneven - (images - np.var(areas, ddof=1)) / batch, 0)
        found["from_image"].append(images / (images + places) if images + places > 1e-6 else 0)
        edge = [
            mask[:, y, x].sum()
            for y in range(height)
            for x in range(width)
            if not (height / 8 <= y < height * 7 / 8 and width / 8 <= x < width * 7 / 8)
        ]
        found["border"].append(sum(edge) / max(mask.sum(), 1e-6))
        others = [m[:, j] for j in range(n) if j != k]
        both = (mask * np.max(others, axis=0)).sum() if others else 0
        found["overlap"].append(both / max(mask.sum(), 1e-6))
    return found


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(2, 5), n=st.integers(1, 4),
       sides=st.tuples(*[st.sampled_from([8, 16, 24])] * 2), sharp=st.booleans())  # fmt: skip
def test_signs_are_those_written_out(seed, batch, n, sides, sharp):
    masks = draw(batch, n, *sides, seed=seed)
    masks = (masks > 0.7).double() if sharp else masks
    found, expected = mask_signs(masks), np_signs(masks.numpy())
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert values.tolist() == pytest.approx(expected[name], abs=1e-9), name


def test_the_share_from_the_image_does_not_depend_on_the_batch():
    # A pattern of places, and what comes from the image: pixels on their own, and whole areas.
    torch.manual_seed(0)
    pattern = torch.rand(1, 1, 16, 16)
    pixels, areas = torch.rand(4096, 1, 16, 16), torch.rand(4096, 1, 1, 1)
    for everything, share in (
        (pixels / 2 + pattern / 2, 1 / 2),
        ((pixels + areas + pattern) / 3, 2 / 3),
    ):
        whole = mask_signs(everything)["from_image"].item()
        parts = [mask_signs(part)["from_image"].item() for part in everything.split(8)]
        assert whole == pytest.approx(share, abs=0.05)
        assert np.mean(parts) == pytest.approx(whole, abs=0.01)


def test_masks_made_to_be_wrong():
    fixed = torch.zeros(16, 1, 16, 16)
    fixed[:, :, :4] = 1  # the same band for every image
    assert mask_signs(fixed)["from_image"].item() == 0
    border = torch.ones(16, 1, 16, 16)
    border[:, :, 2:-2, 2:-2] = 0
    assert mask_signs(border)["border"].item() == 1
    even = torch.full((16, 1, 16, 16), 0.3)
    assert mask_signs(even)["border"].item() == pytest.approx(1 - 0.75**2, rel=1e-5)
    assert mask_signs(even)["from_image"].item() == 0  # constant: nothing comes from the image
    copies = fixed.repeat(1, 2, 1, 1)
    assert mask_signs(copies)["overlap"].tolist() == [1, 1]
    empty = torch.zeros(16, 2, 16, 16)
    assert all(value.isfinite().all() for value in mask_signs(empty).values())
    assert mask_signs(empty)["border"].tolist() == [0, 0]


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_bands_dealt_out_have_a_low_rank(rank):
    # Every image gets one of rank + 1 bands, equally often: from the image by the share, but in
    # `rank` ways alone.
    masks = torch.zeros(8 * (rank + 1), 1, 4 * (rank + 1), 8)
    for image in range(len(masks)):
        band = image % (rank + 1)
        masks[image, :, 4 * band : 4 * band + 4] = 1
    assert mask_signs(masks)["from_image"].item() > 0.9
    assert effective_rank(mask_grams(masks)).item() == pytest.approx(rank, rel=1e-5)


def test_rank_equals_that_of_principal_components():
    masks = draw(12, 2, 8, 8)
    for k, found in enumerate(effective_rank(mask_grams(masks))):
        flat = masks[:, k].flatten(1).numpy()
        variance = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2
        p = variance[variance > 1e-12] / variance.sum()
        assert found.item() == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)
    assert effective_rank(mask_grams(torch.ones(4, 1, 8, 8))).item() == 0
