"""How well learned masks follow objects."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seamask.data import Images
from seamask.masks import random_blocks
from seamask.views import normalize

THRESHOLD = 0.5  # a pixel counts as removed from here on


@torch.no_grad()
def predict(
    masker: nn.Module,
    pixels: Tensor,
    size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    batch: int = 256,
) -> Tensor:
    """Return the masks of whole images, without augmentation.

    Args:
        masker: `[B, 3, H, W]` → `[B, N, H, W]`.
        pixels: uint8 `[n, S, S, 3]`.
        size: side at which the masker sees them.
        mean: per channel, of values in [0, 1].
        std: per channel.
        batch: images at once.

    Returns:
        float32 `[n, N, size, size]` on the CPU.
    """
    device = next((p.device for p in masker.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)  # for maskers that draw
    found = []
    for start in range(0, len(pixels), batch):
        images = pixels[start : start + batch].to(device).permute(0, 3, 1, 2)
        found.append(masker(normalize(images, mean, std, size), generator).float().cpu())
    return torch.cat(found)


def object_scores(masks: Tensor, objects: Tensor) -> dict[str, float]:
    """Return the IoU of the best mask with each object, averaged over objects.

    Beside it the same for random blocks, one for each mask and of its area.

    Args:
        masks: `[n, N, H, W]` in [0, 1].
        objects: integer `[n, H, W]`: 0 background, k = object k.

    Returns:
        `mask/iou` and `mask/iou_random` in [0, 1].
    """
    removed = masks >= THRESHOLD
    height, width = masks.shape[-2:]
    areas = removed.float().mean((2, 3))  # [n, N]
    blocks = random_blocks(areas, height, width, torch.Generator().manual_seed(0))
    return {
        "mask/iou": mean_best_iou(removed, objects),
        "mask/iou_random": mean_best_iou(blocks, objects),
    }


def mean_best_iou(removed: Tensor, objects: Tensor) -> float:
    """Return, averaged over all objects of all images, the IoU with the best of the image's masks.

    Args:
        removed: bool `[n, N, H, W]`.
        objects: integer `[n, H, W]`: 0 background, k = object k.
    """
    scores = []
    for k in range(1, int(objects.max()) + 1):
        thing = (objects == k)[:, None]  # [n, 1, H, W]
        present = thing.any(dim=(2, 3))[:, 0]  # [n]
        both = (removed & thing).sum((2, 3)).float()  # [n, N]
        either = (removed | thing).sum((2, 3)).float()
        scores.append((both / either.clamp(min=1)).amax(dim=1)[present])
    return float(torch.cat(scores).mean()) if scores else float("nan")


def score(
    masker: nn.Module,
    images: Images | None,
    size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> dict[str, float]:
    """Return `object_scores` of a learned masker on images with object masks, else nothing."""
    if not masker.learned or images is None or images.objects is None:
        return {}
    masks = predict(masker, images.pixels, size, mean, std)
    objects = images.objects
    if objects.shape[-1] != size:
        scale = objects[:, None].float()
        objects = nn.functional.interpolate(scale, (size, size), mode="nearest-exact")[:, 0].long()
    return object_scores(masks, objects)
