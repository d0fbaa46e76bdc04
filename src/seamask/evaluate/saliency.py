"""One map an image, measured as salient object detection and object discovery measure it.

Definitions differ between scripts that are used a lot; these are the ones here:

- `max_f`, F-measure with β² = 0.3 (Achanta et al. 2009) at 255 thresholds k / 255, k = 1 … 255, of
  the map in 256 steps. `max_f_curve`: the F of each threshold, averaged over images, at its best
  threshold, one for all images (PySODMetrics; TokenCut's `metric.py`). `max_f_image`: each image at
  its own best threshold, averaged; never below the former. SelfMask's `f_measure.py`, which FOUND
  took over, squares β² once more (0.09), and what FOUND calls fixed is of each image, too.
- `saliency_iou`, `pixel_accuracy`, the box: of the map at the threshold of a removed pixel (0.5).
- `mae`: of the map as it is. Maps are not stretched to [0, 1] first, as PySODMetrics does by
  default: masks and the rivals' maps are in [0, 1] as they come.
- `s_measure`: Fan et al. 2017, α = 0.5.
- `corloc`: share of images where the box of the largest component (its pixels share sides) has an
  IoU of at least 0.5 with the box of any object, difficult ones included (LOST's `main_lost.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from seamask.data.files.maps import VOID
from seamask.data.whole import Boxes, Whole

BETA_SQUARED = 0.3
STEPS = 256
LOCALISED = 0.5  # IoU of boxes
TINY = float(np.spacing(1))  # as in the authors' code of the S-measure

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MEASURES = (
    "saliency_iou", "max_f_image", "max_f_curve", "pixel_accuracy", "mae", "s_measure", "corloc",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class PixelScores:
    """How the pixels of a map of one image fare.

    Attributes:
        iou: with all objects together.
        f_curve: F-measure at each threshold, `[255]`.
        accuracy: share of pixels that are right.
        mae: mean absolute error.
        s_measure: structure measure.
    """

    iou: float
    f_curve: Floats
    accuracy: float
    mae: float
    s_measure: float


@dataclass(frozen=True, eq=False)
class Scores:
    """How a map of one image fares.

    Attributes:
        localised: IoU of its box with the nearest object's; 0 without a box.
        pixels: None where only boxes are known, or the image has no object.
    """

    localised: float
    pixels: PixelScores | None = None

    @property
    def main(self) -> float:
        """What maps of an image are ordered by: IoU, or of boxes where there are only boxes."""
        return self.localised if self.pixels is None else self.pixels.iou


def score_map(found: Tensor, whole: Whole, threshold: float) -> Scores:
    """Compare a map with an image's objects, at the image's own size.

    Args:
        found: `[h, w]` in [0, 1], of all of the image; resized bilinearly.
        whole: the image and its objects; void pixels count nowhere (in the S-measure, which needs
            rectangles, as background that the map leaves out).
        threshold: from here on a pixel is part of the object.
    """
    values = resized_map(found, whole.pixels.shape[:2])
    localised, iou = overlaps(values >= threshold, whole)
    if iou is None or whole.objects is None:
        return Scores(localised)
    counted = whole.objects != VOID
    truth = (whole.objects > 0) & counted
    seen, thing = values[counted], truth[counted]
    binary = seen >= threshold
    pixels = PixelScores(
        iou,
        f_curve(seen, thing),
        float((binary == thing).mean()),
        float(np.abs(seen - thing).mean()),
        s_measure(values * counted, truth),
    )
    return Scores(localised, pixels)


def overlaps(binary: Bools, whole: Whole) -> tuple[float, float | None]:
    """Return the IoU of a map `[H, W]` with an image's objects: of its box, and of its pixels.

    The latter is None where only boxes are known, or the image has no object.
    """
    box = largest_box(binary)
    localised = 0.0 if box is None else float(box_ious(box, whole.boxes).max(initial=0))
    if whole.objects is None or not len(whole.boxes):
        return localised, None
    counted = whole.objects != VOID
    binary, truth = binary & counted, (whole.objects > 0) & counted
    return localised, float((binary & truth).sum() / (binary | truth).sum())


def averaged(scores: list[Scores]) -> dict[str, float]:
    """Return the measures of `MEASURES` over images; of boxes alone only `corloc`."""
    found = {}
    full = [score.pixels for score in scores if score.pixels is not None]
    if full:
        curves = np.stack([pixels.f_curve for pixels in full])
        found = {
            "saliency_iou": np.mean([pixels.iou for pixels in full]),
            "max_f_image": curves.max(1).mean(),
            "max_f_curve": curves.mean(0).max(),
            "pixel_accuracy": np.mean([pixels.accuracy for pixels in full]),
            "mae": np.mean([pixels.mae for pixels in full]),
            "s_measure": np.mean([pixels.s_measure for pixels in full]),
        }
    found["corloc"] = np.mean([score.localised >= LOCALISED for score in scores])
    return {name: float(value) for name, value in found.items()}


def resized_map(found: Tensor, size: tuple[int, ...]) -> Floats:
    """Return a map `[h, w]` at another size, bilinearly."""
    scaled = F.interpolate(found[None, None].double(), size, mode="bilinear")[0, 0].clamp(0, 1)
    values: Floats = scaled.numpy()
    return values


def f_curve(values: Floats, truth: Bools) -> Floats:
    """Return the F-measure of values ≥ k / 255 for k = 255 … 1, `[255]`.

    Args:
        values: in [0, 1], any shape.
        truth: of the same shape.
    """
    steps = (values * (STEPS - 1)).astype(np.uint8)
    hits = np.bincount(steps[truth], minlength=STEPS)[::-1].cumsum()[:-1]  # without k = 0: all
    taken = np.bincount(steps.ravel(), minlength=STEPS)[::-1].cumsum()[:-1]
    # (1 + β²) P R / (β² P + R) with P = hits / taken and R = hits / objects
    of = BETA_SQUARED * max(int(truth.sum()), 1) + taken
    curve: Floats = (1 + BETA_SQUARED) * hits / of
    return curve


def s_measure(values: Floats, truth: Bools) -> float:
    """Return the structure measure of a map `[H, W]` in [0, 1] (Fan et al. 2017, α = 0.5)."""
    share = truth.mean()
    if share in (0, 1):  # no objects, or nothing else
        return float(values.mean() if share else 1 - values.mean())
    objects = share * _alike(values[truth]) + (1 - share) * _alike(1 - values[~truth])
    y, x = (int(place) + 1 for place in np.argwhere(truth).mean(0).round())
    regions = 0.0
    for rows in (slice(None, y), slice(y, None)):
        for columns in (slice(None, x), slice(x, None)):
            part = values[rows, columns]
            if part.size:
                regions += part.size / truth.size * _ssim(part, truth[rows, columns])
    return float(max(0.0, 0.5 * objects + 0.5 * regions))


def _alike(values: Floats) -> float:
    """Return how near to 1, and how even, values are."""
    mean = values.mean()
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + spread + TINY))


def _ssim(values: Floats, truth: Bools) -> float:
    """Return the structural similarity of two parts of an image."""
    x, y, n = values.mean(), truth.mean(), values.size - 1 + TINY
    dx, dy = values - x, truth - y
    above = 4 * x * y * (dx * dy).sum() / n
    below = (x**2 + y**2) * ((dx**2).sum() / n + (dy**2).sum() / n)
    if above != 0:
        return float(above / (below + TINY))
    return 1.0 if below == 0 else 0.0


def largest_box(binary: Bools) -> Boxes | None:
    """Return the box `[4]` of the largest component of a map `[H, W]`; None: it is empty."""
    from scipy.ndimage import find_objects, label  # slow to import

    labels, count = label(binary)
    if not count:
        return None
    rows, columns = find_objects(labels)[np.bincount(labels.ravel())[1:].argmax()]
    return np.array([columns.start, rows.start, columns.stop, rows.stop], np.int64)


def box_ious(box: Boxes, boxes: Boxes) -> Floats:
    """Return the IoU of a box `[4]` with others `[k, 4]`: `[k]`."""
    left, top = np.maximum(box[:2], boxes[:, :2]).T
    right, bottom = np.minimum(box[2:], boxes[:, 2:]).T
    both = (right - left).clip(0) * (bottom - top).clip(0)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    either = (box[2] - box[0]) * (box[3] - box[1]) + areas - both
    ious: Floats = both / either
    return ious


def best_of(masks: Tensor, whole: Whole, threshold: float) -> int:
    """Return which of an image's masks `[N, h, w]` overlaps most with its objects: the oracle's.

    By `Scores.main`.
    """

    def overlap(mask: Tensor) -> float:
        binary = resized_map(mask, whole.pixels.shape[:2]) >= threshold
        localised, iou = overlaps(binary, whole)
        return localised if iou is None else iou

    return max(range(len(masks)), key=lambda k: overlap(masks[k]))
