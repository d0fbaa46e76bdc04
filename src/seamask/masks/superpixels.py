"""Clusters of superpixels: budgets that follow the image ([Seq] §5, its future work)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seamask.base.channels import as_channels

VERSION = 2  # of `clusters`: part of the name under which they are kept
COMPACTNESS = 10.0  # of SLIC, its authors' choice for CIELAB
LABELS = 256  # of `segments`
SMALLEST = 1e-4  # a budget stays this far inside (0, 1), where an exact one can be met


def clusters(pixels: Tensor, count: int, superpixels: int = 100) -> Tensor:
    """Cluster each image's superpixels (SLIC, Achanta et al. 2012) by their average colour.

    Args:
        pixels: uint8 `[n, H, W, 3]`, RGB, or `[n, H, W, 1]`, grey.
        count: clusters of an image, K, below 255.
        superpixels: of an image, about.

    Returns:
        uint8 `[n, H, W]`: labels 1 … K, the largest cluster first; an image of fewer colours has
        fewer labels.
    """
    found = [_cluster(image, count, superpixels)[1] for image in _rgb(pixels)]
    return torch.from_numpy(np.stack(found))


def segments(pixels: Tensor, superpixels: int = 100) -> Tensor:
    """Segment each image into superpixels (SLIC).

    Args:
        pixels: uint8 `[n, H, W, 3]`, RGB, or `[n, H, W, 1]`, grey.
        superpixels: of an image, about.

    Returns:
        uint8 `[n, H, W]`: labels from 0 on; of more than 256 segments some share one.
    """
    found = [_segment(_stretched(image), superpixels) % LABELS for image in _rgb(pixels)]
    return torch.from_numpy(np.stack(found).astype(np.uint8))


def superpixel_colours(pixels: Tensor, count: int, superpixels: int = 100) -> Tensor:
    """Return images painted in the average colour of each superpixel; see `clusters`."""
    found = [_cluster(image, count, superpixels)[0] for image in _rgb(pixels)]
    return torch.from_numpy(np.stack(found))


def areas(maps: Tensor, count: int) -> Tensor:
    """Return the share of each label 1 … K, kept within [0.0001, 0.9999]: float32 `[B, K]`.

    Args:
        maps: integer `[B, H, W]`.
        count: K.
    """
    labels = torch.arange(1, count + 1, device=maps.device)[:, None, None]
    return (maps[:, None] == labels).float().mean((2, 3)).clamp(SMALLEST, 1 - SMALLEST)


def clusters_of_views(images: Tensor, count: int, superpixels: int = 100) -> Tensor:
    """Return `clusters` of images `[B, C, H, W]`, the same whatever their normalisation."""
    return clusters(_pixels(images), count, superpixels).to(images.device)


def segments_of_views(images: Tensor, superpixels: int = 100) -> Tensor:
    """Return `segments` of images `[B, C, H, W]`, the same whatever their normalisation."""
    return segments(_pixels(images), superpixels).to(images.device)


def _rgb(pixels: Tensor) -> npt.NDArray[np.uint8]:
    found: npt.NDArray[np.uint8] = as_channels(pixels, 3).numpy()
    return found


def _pixels(images: Tensor) -> Tensor:
    """Return images `[B, C, H, W]` as uint8 `[B, H, W, C]` on the CPU."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    pixels = ((images - low) / (high - low).clamp(min=1e-6) * 255).round().byte()
    return pixels.permute(0, 2, 3, 1).cpu()


def _stretched(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return each channel stretched to the full range: segments of the image however normalised."""
    low, high = image.min((0, 1)).astype(np.float32), image.max((0, 1))
    stretched: npt.NDArray[np.float32] = (image - low) / np.maximum(high - low, 1)
    return stretched


def _segment(stretched: npt.NDArray[np.float32], superpixels: int) -> npt.NDArray[np.int64]:
    """Return labels `[H, W]` from 0 on of an image `[H, W, 3]`."""
    from skimage.segmentation import slic  # slow to import, and seldom needed

    found: npt.NDArray[np.int64] = slic(stretched, superpixels, COMPACTNESS, start_label=0)
    return found


def _cluster(
    image: npt.NDArray[np.uint8], count: int, superpixels: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the image in its superpixels' colours `[H, W, 3]`, and the labels `[H, W]`."""
    from sklearn.cluster import KMeans  # slow to import, and seldom needed

    stretched = _stretched(image)
    places = _segment(stretched, superpixels)  # [H, W]
    size = np.bincount(places.ravel())  # [s]

    def averages(picture: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        sums = [np.bincount(places.ravel(), picture[..., c].ravel()) for c in range(3)]
        return (np.stack(sums, axis=1) / np.maximum(size, 1)[:, None]).astype(np.float32)  # [s, 3]

    colours = averages(stretched)
    k = min(count, len(np.unique(colours[size > 0], axis=0)))
    label = KMeans(k, n_init=1, random_state=0).fit(colours, sample_weight=size).labels_
    order = np.argsort(-np.bincount(label, size, minlength=k), kind="stable")
    rank = np.empty(k, np.uint8)
    rank[order] = np.arange(1, k + 1)
    return averages(image)[places].round().astype(np.uint8), rank[label[places]]
