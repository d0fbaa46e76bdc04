"""What learned masks must beat."""

import timm
import torch

from seamask.data import Normalization
from seamask.evaluate.rivals import (
    activation_maps,
    centre_prior,
    colour_clusters,
    slic_clusters,
)

FLAT = Normalization((0.5,) * 3, (0.25,) * 3)


def blue_corner():
    """Red at the left, a blue corner, black below it: uint8 [1, 24, 24, 3]."""
    image = torch.zeros(1, 24, 24, 3, dtype=torch.uint8)
    image[0, :, :12] = torch.tensor([250, 0, 0], dtype=torch.uint8)
    image[0, :12, 12:] = torch.tensor([0, 0, 250], dtype=torch.uint8)
    return image


def test_colour_clusters_find_flat_colours():
    clusters = colour_clusters(blue_corner(), 3)
    assert clusters.shape == (1, 3, 24, 24)
    assert (clusters.sum(1) == 1).all()
    assert sorted(clusters.sum((2, 3))[0].tolist()) == [144, 144, 288]
    assert colour_clusters(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), 3)[0, 0].all()


def test_clusters_of_superpixels_come_with_the_largest_first():
    clusters = slic_clusters(blue_corner(), 3)
    assert (clusters.sum(1) == 1).all()
    assert clusters[0, 0, :, :10].all()
    assert clusters[0, :, 12:, 14:].float().mean((1, 2)).amax() == 1


def test_the_centre_prior_is_a_gaussian_of_a_quarter_of_the_side():
    prior = centre_prior(2, 101)
    assert prior.shape == (2, 1, 101, 101)
    assert prior[0, 0, 50, 50] == prior.max() == 1
    off = 101 / 4  # one standard deviation
    torch.testing.assert_close(prior[1, 0, 50, 75], torch.tensor(-((25 / off) ** 2) / 2).exp())
    assert 0.26 < (prior >= 0.5).float().mean() < 0.28


def test_activations_are_those_of_the_deepest_stage_that_still_shows_places():
    torch.manual_seed(0)
    backbone = timm.create_model("test_resnet", num_classes=0).eval()
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    maps = activation_maps(backbone, pixels, 32, FLAT)
    images = ((pixels / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)
    with torch.no_grad():
        stages = backbone.forward_intermediates(images, intermediates_only=True)
    stage = next(stage for stage in reversed(stages) if stage.shape[-1] >= 4)
    assert stage.shape[-1] == 4
    length = stage.square().sum(1).sqrt()
    low, high = length.amin((1, 2), keepdim=True), length.amax((1, 2), keepdim=True)
    stretched = ((length - low) / (high - low))[:, None]
    expected = torch.nn.functional.interpolate(stretched, (32, 32), mode="bilinear")
    torch.testing.assert_close(maps, expected)
    assert activation_maps(torch.nn.Linear(1, 1), pixels, 32, FLAT) is None
