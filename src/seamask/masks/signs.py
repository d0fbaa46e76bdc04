"""What masks are like, whatever the objects: the signs by which a game gone wrong is seen."""

from __future__ import annotations

import torch
from torch import Tensor

from seamask.base.precision import at_least_float32, in_float64

EMPTY = 0.01  # a mask that removes less of its image is empty, one that leaves less is everything
BORDER = 1 / 8  # of the side, all round: 44 % of a square image


def mask_signs(masks: Tensor) -> dict[str, Tensor]:
    """Return, by name, one number in [0, 1] for each mask, `[N]`, without waiting for the device.

    Args:
        masks: `[B, N, H, W]` in [0, 1], B at least 2.

    Returns:
        - `coverage`: share of pixels removed, mean over images;
        - `empty`, `full`: share of images of which less than 1 % is removed, or left;
        - `from_image`: share of the variance over images and places that the mean over images does
            not explain: 0 where the mask is the same for all images (or constant), 1 where no place
            is removed more often than another; free of the bias of a small batch;
        - `border`: share of what it removes that lies in the outer eighth of the image, 0 if it
            removes nothing;
        - `overlap`: share of what it removes that the strongest of the others removes too (0 if
            there is no other);
        - `binary`: share of pixels below 0.1 or above 0.9.
    """
    masks = at_least_float32(masks)
    batch, n, height, width = masks.shape
    area = masks.mean((2, 3))  # [B, N]
    removed = masks.sum((0, 2, 3)).clamp(min=1e-6)  # [N]
    mean = masks.mean(0)  # [N, H, W]
    images = (masks - mean).square().sum((0, 2, 3)) / (batch - 1) / (height * width)
    # The mean over a batch varies over places even where that over all images does not: by the
    # variance over images, less what all places share.
    uneven = (mean - mean.mean((1, 2), keepdim=True)).square().mean((1, 2))
    places = (uneven - (images - area.var(0)) / batch).clamp(min=0)
    total = images + places
    by, bx = max(1, round(height * BORDER)), max(1, round(width * BORDER))
    inside = masks[:, :, by : height - by, bx : width - bx].sum((0, 2, 3))
    if n > 1:
        others = torch.stack(
            [torch.cat([masks[:, :k], masks[:, k + 1 :]], dim=1).amax(1) for k in range(n)], dim=1
        )
        overlap = (masks * others).sum((0, 2, 3)) / removed
    else:
        overlap = torch.zeros_like(removed)
    return {
        "coverage": area.mean(0),
        "empty": (area < EMPTY).to(area.dtype).mean(0),
        "full": (area > 1 - EMPTY).to(area.dtype).mean(0),
        "from_image": torch.where(total > 1e-6, images / total.clamp(min=1e-6), 0.0),
        "border": torch.where(removed > 1e-6, 1 - inside / removed, 0.0),
        "overlap": overlap,
        "binary": ((masks < 0.1) | (masks > 0.9)).to(area.dtype).mean((0, 2, 3)),
    }


def mask_grams(masks: Tensor) -> Tensor:
    """Return the Gram matrix of each mask over images, its mean taken off: `[N, B, B]`.

    Args:
        masks: `[B, N, H, W]`.
    """
    flat = masks.float().flatten(2).transpose(0, 1)  # [N, B, H · W]
    flat = flat - flat.mean(1, keepdim=True)
    return flat @ flat.mT


def effective_rank(gram: Tensor) -> Tensor:
    """Return in how many ways masks vary over images: exp of the entropy of the variance's shares.

    Roy & Vetterli 2007, of the variances of principal components: 1 where all masks are blends of
    two pictures, at most B − 1. A few bands dealt out in turn come from the image by
    `from_image` and have a low rank.

    Args:
        gram: of the centred masks, `[..., B, B]`; it waits for the device of `gram`.

    Returns:
        `[...]`; 0 where nothing varies.
    """
    variances = torch.linalg.eigvalsh(in_float64(gram)).clamp(min=0)  # [..., B]
    total = variances.sum(-1, keepdim=True)
    shares = variances / total.clamp(min=1e-12)
    entropy = -torch.special.xlogy(shares, shares).sum(-1)
    return torch.where(total[..., 0] > 1e-6, entropy.exp(), 0.0)
