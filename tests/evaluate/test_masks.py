"""What masks are like, and the clusters of colours that they must beat."""

import pytest
import torch

from seamask.evaluate.masks import colour_clusters, statistics


def test_statistics_by_hand():
    masks = torch.zeros(2, 2, 2, 2)
    masks[0, 0] = 1
    masks[0, 1, 0, 0] = 0.6
    masks[1, 1, 0] = 0.5
    found = statistics(masks, threshold=0.5, empty=0.3)
    assert found == {
        "coverage_1": 0.5,
        "coverage_2": pytest.approx((0.6 + 1.0) / 8),
        "empty": 0.5,  # mask 2 of image 1 removes a quarter, mask 1 of image 2 nothing
        "binary": pytest.approx(13 / 16),
        "overlap": pytest.approx(1 / 6),
        # Mask 1 is all or nothing: all comes from the image. Of mask 2 the sample variance over
        # images is 0.13 / 4 = 0.0325; that of its mean over places 0.05125, less half of the
        # former.
        "from_image": pytest.approx((1 + 0.0325 / (0.0325 + 0.05125 - 0.0275 / 2)) / 2),
        "rank": pytest.approx(1.0),  # two images differ in one way
    }


def test_colour_clusters_find_flat_colours():
    image = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    image[0, :, :4] = torch.tensor([250, 0, 0], dtype=torch.uint8)
    image[0, :4, 4:] = torch.tensor([0, 0, 250], dtype=torch.uint8)
    clusters = colour_clusters(image, 3)
    assert clusters.shape == (1, 3, 8, 8)
    assert (clusters.sum(1) == 1).all()
    assert sorted(clusters.sum((2, 3))[0].tolist()) == [16, 16, 32]
    assert colour_clusters(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), 3)[0, 0].all()
