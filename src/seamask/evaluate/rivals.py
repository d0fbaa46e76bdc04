"""What learned masks must beat to be worth their cost: maps that take no training of masks."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.channels import as_channels
from seamask.data import Normalization
from seamask.evaluate.features import over_images
from seamask.masks.superpixels import clusters

SPREAD = 1 / 4  # of the side: the centre prior reaches 0.5 within 27 % of the image
FEWEST = 4  # places of a side: a coarser map of activations shows no object


def centre_prior(count: int, size: int) -> Tensor:
    """Return the same Gaussian around the centre for each image, `[count, 1, size, size]`."""
    place = (torch.arange(size) + 0.5) / size - 0.5
    fall = torch.exp(-place.square() / (2 * SPREAD**2))
    return (fall[:, None] * fall).expand(count, 1, size, size)


def colour_clusters(pixels: Tensor, count: int) -> Tensor:
    """Return each image's pixels clustered by colour (k-means on RGB), as disjoint masks.

    Args:
        pixels: uint8 `[n, H, W, 3]`.
        count: clusters of an image.

    Returns:
        bool `[n, count, H, W]`.
    """
    from sklearn.cluster import KMeans  # slow to import

    found = []
    for image in as_channels(pixels, 3).numpy():
        colours = image.reshape(-1, 3).astype(np.float32)
        k = min(count, len(np.unique(colours, axis=0)))
        labels = KMeans(k, n_init=1, random_state=0).fit_predict(colours)
        found.append(labels.reshape(image.shape[:2]))
    return torch.from_numpy(np.stack(found))[:, None] == torch.arange(count)[None, :, None, None]


def slic_clusters(pixels: Tensor, count: int) -> Tensor:
    """Return each image's superpixels clustered by colour, the largest cluster first; as above."""
    labels = clusters(pixels, count)
    return labels[:, None] == torch.arange(1, count + 1)[None, :, None, None]


def activation_maps(
    backbone: nn.Module, pixels: Tensor, size: int, normalization: Normalization
) -> Tensor | None:
    """Return where an encoder responds: the length of its features at each place, in [0, 1].

    Of the deepest stage with at least 4 × 4 places (else of the finest), stretched to [0, 1] over
    each image.

    Args:
        backbone: a timm model.
        pixels: uint8 `[n, S, S, 3]`.
        size: at which the backbone sees them.
        normalization: of the images.

    Returns:
        `[n, 1, size, size]`; None: the backbone does not give its stages.
    """
    if not hasattr(backbone, "forward_intermediates"):
        return None
    strides = [stage["reduction"] for stage in cast(Any, backbone.feature_info)]
    fine = [k for k, stride in enumerate(strides) if size // stride >= FEWEST]
    stage = fine[-1] if fine else 0

    def respond(images: Tensor) -> Tensor:
        (maps,) = cast(Any, backbone).forward_intermediates(
            images, indices=[stage], norm=True, output_fmt="NCHW", intermediates_only=True
        )
        length = maps.float().norm(dim=1, keepdim=True)
        low, high = length.amin((2, 3), keepdim=True), length.amax((2, 3), keepdim=True)
        stretched = (length - low) / (high - low).clamp(min=1e-12)
        return F.interpolate(stretched, (size, size), mode="bilinear")

    device = next(backbone.parameters()).device
    return over_images(respond, device, pixels, size, normalization)
