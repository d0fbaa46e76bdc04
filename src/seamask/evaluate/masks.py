"""How well learned masks follow objects, beside random blocks and clusters of colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from seamask.base.errors import UserError
from seamask.base.settings import Within
from seamask.data import VOID
from seamask.evaluate.following import blocks_like, following, predict, resized
from seamask.evaluate.task import TASKS, Context, EvaluationConfig, Metric, Task
from seamask.masks.signs import effective_rank, mask_grams, mask_signs
from seamask.show.figures import coloured, mask_figure

FIGURE_IMAGES = 8
RANKED = 1000  # images over which the rank of masks is taken, at most


@dataclass(frozen=True)
class MasksEvaluationConfig(EvaluationConfig):
    """How well learned masks follow objects."""

    threshold: Annotated[float, Within(0, 1)] = 0.5
    """A pixel counts as removed from here on."""
    empty: Annotated[float, Within(0, 1)] = 0.01
    """A mask that removes less than this share of the image counts as empty."""


def run(context: Context) -> dict[str, float]:
    """Return `following` of the masks and of their rivals, and `statistics`."""
    config: MasksEvaluationConfig = context.config
    data, size = context.data, context.size
    images = data.probe_test
    if not ((images.objects > 0) & (images.objects != VOID)).any():
        raise UserError(
            f"--data {data.name}: its label images hold no object, only 0 = background and "
            f"{VOID} = void: write 1 for the first object, 2 for the second"
        )
    masks = predict(context.masker, images.pixels, size, *data.normalization)
    objects = resized(images.objects, size)
    rivals = {
        "random": blocks_like(masks >= config.threshold).float(),
        "colour": colour_clusters(images.pixels, masks.shape[1]).float(),
    }
    metrics = following(masks, objects, config.threshold)
    for name, rival in rivals.items():
        found = following(rival, objects)
        metrics |= {f"{measure}_{name}": value for measure, value in found.items()}
    metrics |= statistics(masks, config.threshold, config.empty)
    if context.keep is not None:
        context.keep(partial(draw, images.pixels, masks, objects))
    return metrics


RIVALS = ("random", "colour")
FOLLOWING = [Metric(name) for name in ("iou", "ari", "covering", "mean_covering")]
STATISTICS = ("coverage_*", "empty", "binary", "overlap", "from_image", "rank")

TASKS.register("masks")(
    Task(
        "how learned masks follow objects: shapes or a folder in Pascal VOC layout",
        MasksEvaluationConfig,
        run,
        (
            *FOLLOWING,
            *(Metric(f"{metric.name}_{rival}") for rival in RIVALS for metric in FOLLOWING),
            *map(Metric, STATISTICS),
        ),
        needs=("objects", "masker"),
        draws=True,
        rivals=RIVALS,
    )
)


def statistics(masks: Tensor, threshold: float, empty: float) -> dict[str, float]:
    """Return what masks are like, whatever the objects.

    Args:
        masks: `[n, N, H, W]` in [0, 1].
        threshold: of a removed pixel.
        empty: a mask that removes less than this share of its image counts as empty.

    Returns:
        `coverage_k`: mean of mask k; `empty`: share of empty masks; `binary`: share of pixels below
        0.1 or above 0.9; `overlap`: share of the pixels removed by any mask that several remove;
        means over masks of `from_image` (see `mask_signs`) and of their effective `rank` over up to
        1,000 images.
    """
    removed = masks >= threshold
    times = removed.sum(1)
    found = {f"coverage_{k + 1}": float(masks[:, k].mean()) for k in range(masks.shape[1])}
    found["empty"] = float((removed.float().mean((2, 3)) < empty).float().mean())
    found["binary"] = float(((masks < 0.1) | (masks > 0.9)).float().mean())
    found["overlap"] = float((times > 1).sum() / (times > 0).sum().clamp(min=1))
    if len(masks) > 1:
        found["from_image"] = float(mask_signs(masks)["from_image"].mean())
        found["rank"] = float(effective_rank(mask_grams(masks[:RANKED])).mean())
    return found


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
    for image in pixels.numpy():
        colours = image.reshape(-1, 3).astype(np.float32)
        k = min(count, len(np.unique(colours, axis=0)))
        labels = KMeans(k, n_init=1, random_state=0).fit_predict(colours)
        found.append(labels.reshape(image.shape[:2]))
    return torch.from_numpy(np.stack(found))[:, None] == torch.arange(count)[None, :, None, None]


def draw(pixels: Tensor, masks: Tensor, objects: Tensor, path: Path) -> None:
    """Write a picture of some images, their objects and their masks.

    Args:
        pixels: uint8 `[n, H, W, 3]`.
        masks: `[n, N, H, W]` in [0, 1].
        objects: integer `[n, H, W]`.
        path: of the PNG.
    """
    shown = torch.linspace(0, len(masks) - 1, min(FIGURE_IMAGES, len(masks))).long()
    mask_figure(pixels[shown], masks[shown], path, rows={"objects": coloured(objects[shown])})
