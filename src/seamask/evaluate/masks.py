"""How well learned masks find objects: all of an image's masks, and one of them, beside rivals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from seamask.base.errors import UserError
from seamask.base.progress import amount
from seamask.base.settings import Within
from seamask.data import VOID
from seamask.evaluate.board import (
    RIVALS,
    Board,
    Methods,
    measure_squares,
    measure_whole,
    whole_squares,
)
from seamask.evaluate.following import predict
from seamask.evaluate.one_map import AUTO, check_rule
from seamask.evaluate.published import published
from seamask.evaluate.saliency import MEASURES
from seamask.evaluate.task import TASKS, Context, EvaluationConfig, Metric, Task
from seamask.masks.signs import effective_rank, mask_grams, mask_signs

RANKED = 1000  # images over which the rank of masks is taken, at most


@dataclass(frozen=True)
class MasksEvaluationConfig(EvaluationConfig):
    """How well learned masks find objects.

    All N masks of an image, on squares at the size that the masker sees (of others, the centre):
    iou (of each object with the best of N: an oracle), ari (FG-ARI), covering, mean_covering (mBO).
    One map an image, on whole images at their own sizes where there are files: saliency_iou, F
    (best threshold of each image, or one for all), accuracy, MAE, S-measure, CorLoc.
    """

    threshold: Annotated[float, Within(0, 1)] = 0.5
    """A pixel counts as removed from here on."""
    empty: Annotated[float, Within(0, 1)] = 0.01
    """A mask that removes less than this share of the image counts as empty."""
    rule: str = AUTO
    """Which one map of an image is measured, chosen without its truth: `border` (the mask that
    touches the border least), `union` (of all masks) or a mask's number; `auto`: of these what does
    best on training images that have object masks (shapes), else `border`. Rivals have the same
    choice. `oracle`: the best of N, for comparison."""

    def check(self) -> None:
        """Refuse what is no rule."""
        check_rule(self.rule)


FOLLOWING = ("iou", "ari", "covering", "mean_covering")
STATISTICS = ("coverage_*", "empty", "binary", "overlap", "from_image", "rank")


def run(context: Context) -> dict[str, float]:
    """Return the measures of the masks and of their rivals, and `statistics`."""
    config: MasksEvaluationConfig = context.config
    data, size = context.data, context.size
    squares = data.probe_test if data.probe_test is not None else data.train
    masks = predict(context.masker, squares.pixels, size, data.normalization)
    if config.rule.isdecimal() and int(config.rule) > masks.shape[1]:
        raise UserError(f"--rule {config.rule}: an image has {amount(masks.shape[1], 'mask')}")
    methods = Methods(context)
    board = Board(methods, methods.fix_rules(), data.whole or whole_squares(squares))
    if squares.objects is not None and ((squares.objects > 0) & (squares.objects != VOID)).any():
        measure_squares(board, squares, masks, one=data.whole is None)
    if data.whole is not None:
        measure_whole(board, data.whole)
    found = board.metrics()
    if not found:
        raise UserError(
            f"--data {data.name}: its label images hold no object, only 0 = background and "
            f"{VOID} = void: write 1 for the first object, 2 for the second"
        )
    for line in published(data.name):
        context.note(line)
    if context.keep is not None:
        context.keep(board.draw)
    return found | statistics(masks, config.threshold, config.empty)


TASKS.register("masks")(
    Task(
        "how learned masks find objects: shapes, ecssd, duts-te, dut-omron, voc2007-trainval, "
        "voc2012-trainval, voc2012 or a folder in Pascal VOC layout",
        MasksEvaluationConfig,
        run,
        (
            *map(Metric, (*FOLLOWING, *MEASURES)),
            *(Metric(f"{name}_{rival}") for rival in RIVALS for name in MEASURES),
            *(Metric(f"{name}_{rival}") for rival in RIVALS[1:] for name in FOLLOWING),
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
