"""How well masks follow objects: measures, of any masks."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.data import VOID, Images, Normalization
from seamask.evaluate import features
from seamask.evaluate.features import evaluating, over_images
from seamask.game.look import Look
from seamask.masks import masks_of, random_blocks

THRESHOLD = 0.5  # a pixel counts as removed from here on


def predict(
    masker: nn.Module,
    pixels: Tensor,
    size: int,
    normalization: Normalization,
    maps: Tensor | None = None,
    encoder: nn.Module | None = None,
    share: float | None = None,
) -> Tensor:
    """Return the masks `[n, N, size, size]` of whole images; see `over_images`.

    A masker maps images `[B, C, H, W]` to masks `[B, N, H, W]`; it is given the maps of the images,
    integer `[n, S, S]`, if there are any, and may look at the encoder, which is asked in evaluation
    mode: what it says of an image then depends on no other, and it waits for no other process.
    `share`: what each mask removes, of a masker whose budget is exact; None: what it ends with.
    """
    weights = chain(masker.parameters(), encoder.parameters() if encoder else ())
    device = next((p.device for p in weights), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)  # for maskers that draw
    parts = iter([] if maps is None else resized(maps, size).to(device).split(features.BATCH))

    def masks(x: Tensor) -> Tensor:
        look = Look(encoder, x) if encoder else None
        shares = None if share is None else x.new_full((len(x), 1), share)
        return masks_of(
            masker, x, generator=generator, objects=next(parts, None), encoder=look, shares=shares
        )

    with evaluating(encoder) if encoder else nullcontext():
        return over_images(masks, device, pixels, size, normalization)


def object_scores(masks: Tensor, objects: Tensor) -> dict[str, float]:
    """Return the IoU of the best mask with each object, averaged over objects.

    Beside it the same for random blocks, one for each mask and of its area.

    Args:
        masks: `[n, N, H, W]` in [0, 1].
        objects: integer `[n, H, W]`: 0 background, k = object k, 255 = void.

    Returns:
        `mask/iou` and `mask/iou_random` in [0, 1].
    """
    removed = masks >= THRESHOLD
    return {
        "mask/iou": mean_best_iou(removed, objects),
        "mask/iou_random": mean_best_iou(blocks_like(removed), objects),
    }


def mean_best_iou(removed: Tensor, objects: Tensor) -> float:
    """Return, averaged over all objects of all images, the IoU with the best of the image's masks.

    Args:
        removed: bool `[n, N, H, W]`.
        objects: integer `[n, H, W]`: 0 background, k = object k, 255 = void.
    """
    areas, best = _best_overlaps(removed, objects)
    return float(best[areas > 0].mean())  # nan without objects


def following(masks: Tensor, objects: Tensor, threshold: float = THRESHOLD) -> dict[str, float]:
    """Return how well masks follow objects, by the measures that ADIOS reports on CLEVR.

    A pixel belongs to its strongest mask if that reaches the threshold, else to none: so an image
    falls into N + 1 segments. Void pixels count nowhere.

    Args:
        masks: `[n, N, H, W]` in [0, 1].
        objects: integer `[n, H, W]`: 0 background, k = object k, 255 = void.
        threshold: of a removed pixel.

    Returns:
        - `iou`: of each object with the best of the masks as they are, mean over objects;
        - `ari`: adjusted Rand index of segments and objects over the pixels of objects, mean over
          images with at least two objects (left out where no image has two): FG-ARI, which others
          also average over images of one object, where it is 1 or 0;
        - `covering`, `mean_covering`: IoU of each object with the best segment, mean over objects
          weighted by their area and unweighted, mean over images (Engelcke et al. 2020, SC, mSC);
          the latter is mBO (Seitzer et al. 2023, DINOSAUR).
    """
    gathered = Following(threshold)
    gathered.add(masks, objects)
    return gathered.metrics()


class Following:
    """Gathers `following` over images, some at a time.

    Args:
        threshold: of a removed pixel.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self._best: list[Tensor] = []
        self._weighted: list[Tensor] = []
        self._plain: list[Tensor] = []
        self._rand: list[float] = []

    def add(self, masks: Tensor, objects: Tensor) -> None:
        """Take in some images; see `following`."""
        from sklearn.metrics import adjusted_rand_score  # slow to import

        strongest, which = masks.max(dim=1)
        segments = torch.where(strongest >= self.threshold, which, masks.shape[1])  # [n, H, W]
        indices = torch.arange(masks.shape[1] + 1)[None, :, None, None]
        areas, best = _best_overlaps(masks >= self.threshold, objects)
        self._best.append(best[areas > 0])
        areas, best = _best_overlaps(segments[:, None] == indices, objects)
        present = areas > 0  # [n, K]
        seen = present.any(1)
        self._weighted.append((areas * best).sum(1)[seen] / areas.sum(1)[seen])
        self._plain.append((present * best).sum(1)[seen] / present.sum(1)[seen])
        self._rand += [
            adjusted_rand_score(thing[inside].numpy(), segment[inside].numpy())
            for thing, segment, several in zip(objects, segments, present.sum(1) > 1, strict=True)
            if several
            for inside in [(thing > 0) & (thing != VOID)]
        ]

    def metrics(self) -> dict[str, float]:
        """Return what `following` does, of all images so far; nan without objects."""
        found = {"iou": float(torch.cat(self._best).mean())}
        if self._rand:
            found["ari"] = float(np.mean(self._rand))
        found["covering"] = float(torch.cat(self._weighted).mean())
        found["mean_covering"] = float(torch.cat(self._plain).mean())
        return found


def _best_overlaps(regions: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Return each object's area in pixels and its IoU with the best region of its image.

    Both are `[n, K]`, with 0 where an image has no object k.

    Args:
        regions: bool `[n, R, H, W]`.
        objects: integer `[n, H, W]`: 0 background, k = object k, 255 = void.
    """
    counted = objects != VOID
    regions = regions & counted[:, None]
    most = int(objects.masked_fill(~counted, 0).max())
    areas = torch.zeros(len(objects), most)
    best = torch.zeros(len(objects), most)
    for k in range(1, most + 1):
        thing = (objects == k)[:, None]  # [n, 1, H, W]
        both = (regions & thing).sum((2, 3)).float()  # [n, R]
        either = (regions | thing).sum((2, 3)).float()
        areas[:, k - 1] = thing.sum((1, 2, 3))
        best[:, k - 1] = (both / either.clamp(min=1)).amax(dim=1)
    return areas, best


def blocks_like(removed: Tensor, seed: int = 0) -> Tensor:
    """Return random blocks, one for each mask and of its area: bool `[n, N, H, W]`.

    Args:
        removed: bool `[n, N, H, W]`.
        seed: of the blocks.
    """
    areas = removed.float().mean((2, 3))  # [n, N]
    height, width = removed.shape[-2:]
    return random_blocks(areas, height, width, torch.Generator().manual_seed(seed))


def score(
    masker: nn.Module,
    images: Images | None,
    size: int,
    normalization: Normalization,
    share: float | None = None,
) -> dict[str, float]:
    """Return `object_scores` of a learned masker on images with object masks, else nothing.

    `share`: see `predict`.
    """
    if not masker.learned or images is None or images.objects is None:
        return {}
    objects = resized(images.objects, size)
    if not ((objects > 0) & (objects != VOID)).any():
        return {}
    masks = predict(masker, images.pixels, size, normalization, share=share)
    return object_scores(masks, objects)


def resized(objects: Tensor, size: int) -> Tensor:
    """Return object maps `[n, S, S]` at another size, int64 `[n, size, size]`: nearest pixel."""
    if objects.shape[-1] == size:
        return objects.long()
    scaled = F.interpolate(objects[:, None].float(), (size, size), mode="nearest-exact")
    return scaled[:, 0].long()
