"""What a run keeps for its report: the masks of the same images through the epochs, features.

    masks/images.npz      images uint8 [n, S, S, 3]
    masks/epoch-0004.npz  masks uint8 [n, N, S, S] of these, 255 = removed; hurts [n, N];
                          of more images, where masks are learned: shares [m, N], mean uint8
                          [N, S, S], overlap [N, N]
    features.npz          features float16 [k, F], images uint8 [k, T, T, 3]; labels int64 [k]

Sides are SIDE and THUMBNAIL pixels at most. It is bounded whatever the length of the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seamask.base.channels import as_channels
from seamask.base.draws import generator
from seamask.base.files import atomic
from seamask.evaluate.features import evaluating, extract, over_images
from seamask.networks.removal import Masked
from seamask.training.report import learned_masks, shown_images, shown_masks
from seamask.training.run import Run
from seamask.views.fill import fill

EPOCHS = 32  # recorded, about, spread evenly
SIDE = 96
EMBEDDED = 400  # images whose features are kept
THUMBNAIL = 48
AVERAGED = 256  # images, at most, that shares and the mean mask are of


def due(epoch: int, epochs: int) -> bool:
    """Say whether an epoch that has just ended, of so many, is one of those that are recorded."""
    return epoch == epochs or epoch % -(-epochs // EPOCHS) == 0


def record(run: Run) -> None:
    """Write what the report shows of the epoch that has just ended."""
    pixels, _ = shown_images(run)
    masks = shown_masks(run)
    found = {"masks": _bytes(_smaller(masks)), "hurts": _hurts(run, pixels, masks).numpy()}
    if (more := learned_masks(run, AVERAGED)) is not None:
        found |= {
            "shares": more.mean((2, 3)).numpy(),
            "mean": _bytes(_smaller(more.mean(0, keepdim=True))[0]),
            "overlap": overlaps(more).numpy(),
        }
    _write(run.folder.shown, images=_images(pixels, SIDE))
    _write(run.folder.recorded(run.epoch), **found)
    _record_features(run)


def overlaps(masks: Tensor) -> Tensor:
    """Return what share of what mask i removes mask j removes too, `[N, N]`, as `signs` do.

    Args:
        masks: `[B, N, H, W]` in [0, 1].
    """
    flat = masks.float().transpose(0, 1).flatten(1)  # [N, B · H · W]
    return flat @ flat.T / flat.sum(1, keepdim=True).clamp(min=1e-6)


def _hurts(run: Run, pixels: Tensor, masks: Tensor) -> Tensor:
    """Return how far each mask moves the features of its image: 1 − cosine, `[n, N]`."""
    backbone = run.networks.encoder.backbone

    def distances(x: Tensor) -> Tensor:
        clean = backbone(x)
        filled = fill(run.config.masks.fill, x, generator(0, "fill"))
        views = [Masked(x, mask, filled).seen() for mask in masks.to(x).split(1, dim=1)]
        moved = [1 - F.cosine_similarity(clean, backbone(view), dim=1) for view in views]
        return torch.stack(moved, dim=1) if moved else x.new_zeros(len(x), 0)

    device = next(backbone.parameters()).device
    size, normalization = run.config.image_size, run.data.normalization
    with evaluating(backbone):
        return over_images(distances, device, pixels, size, normalization)


def _record_features(run: Run) -> None:
    images = run.data.probe_test or run.data.train
    chosen = torch.linspace(0, len(images) - 1, min(EMBEDDED, len(images))).long()
    pixels = images.pixels[chosen]
    features = extract(
        run.networks.encoder.backbone, pixels, run.config.image_size, run.data.normalization
    )
    labels = {} if images.labels is None else {"labels": images.labels[chosen].numpy()}
    thumbnails = _images(pixels, THUMBNAIL)
    _write(run.folder.features, features=features.half().numpy(), images=thumbnails, **labels)


def _images(pixels: Tensor, side: int) -> Any:
    """Return images as bytes, their sides at most `side`: uint8 `[n, s, s, 3]`."""
    small = _smaller(as_channels(pixels, 3).permute(0, 3, 1, 2) / 255, side)
    return _bytes(small).transpose(0, 2, 3, 1)


def _smaller(pictures: Tensor, side: int = SIDE) -> Tensor:
    """Return pictures `[n, C, S, S]` with sides of at most so many pixels."""
    if pictures.shape[-1] <= side or not pictures.shape[1]:
        return pictures
    return F.interpolate(pictures.float(), (side, side), mode="area")


def _bytes(values: Tensor) -> Any:
    return (values.clamp(0, 1) * 255).round().byte().numpy()


def _write(path: Path, **arrays: Any) -> None:
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
