"""What the terminal shows at the end: of a run, of an evaluation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seamask.base.progress import amount, duration, few

if TYPE_CHECKING:
    from seamask.evaluate.photos import Drawn
    from seamask.evaluate.task import Result
    from seamask.training.report import Summary

SHOWN_SKIPPED = 10  # unreadable images named at the end
MASK_SIGNS = (  # of a run's results: sign, words, factor, digits
    ("coverage", "removed, %", 100, 0),
    ("from_image", "from the image, %", 100, 0),
    ("rank", "effective rank", 1, 2),
    ("binary", "black or white, %", 100, 0),
    ("overlap", "overlap, %", 100, 0),
    ("empty", "empty images, %", 100, 0),
    ("full", "removed whole, %", 100, 0),
    ("adds", "adds to the loss", 1, 2),
)


def print_summary(summary: Summary) -> None:
    """Print how a run ended: scores beside those before it, masks, troubles, and where all lies."""
    results, folder = summary.results, summary.folder
    print(f"\ntrained in {duration(summary.seconds)}, {few(summary.images_per_second)} images/s")
    if "probe/knn" in results:
        print("held-out accuracy     trained  untrained")
        for label, name in (("kNN", "probe/knn"), ("linear probe", "probe/linear")):
            before = results[f"untrained/{name}"]
            print(f"  {label:<18} {results[name]:8.1f} % {before:8.1f} %")
    if "mask/iou" in results:
        print("IoU with objects      learned     random")
        print(f"  {'best mask':<18} {results['mask/iou']:8.3f}   {results['mask/iou_random']:8.3f}")
    _print_health(summary)
    print_skipped(summary.skipped, " (all are in manifest.json)")
    for label, path in (
        ("masks", max(folder.glob("masks/*.png"), default=folder)),
        ("curves", folder / "curves.png"),
        ("weights", folder / "encoder.safetensors"),
        ("log", folder / "metrics.jsonl"),
    ):
        print(f"{label:<8} {path}")
    print(f"load     {summary.load}")


def _print_health(summary: Summary) -> None:
    """Print how the masks and the embeddings ended, and what is wrong with them."""
    results = summary.results
    n = sum(name.startswith("mask/rank_") for name in results)
    if n:
        print("masks               " + "".join(f"{f'mask {k}':>9}" for k in range(1, n + 1)))
    for sign, label, factor, digits in MASK_SIGNS:
        names = [f"mask/{sign}_{k}" for k in range(1, n + 1)]
        if not n or not set(names) <= set(results):
            continue
        shown = "".join(f"{factor * results[name]:9.{digits}f}" for name in names)
        asked = sign == "coverage" and summary.asked
        print(f"  {label:<18}{shown}{f'   asked {100 * asked:g}' if asked else ''}")
    if "embedding/spread" in results:
        print(
            f"embeddings          spread {results['embedding/spread']:.2f} (healthy: 1), "
            f"rank {results['embedding/rank']:.0f}"
        )
    for text in summary.warnings:
        print(f"warning: {text}")


def print_skipped(skipped: Sequence[tuple[str, str]], where: str = "") -> None:
    """Print which images could not be read, and why; `where` says where the others are named."""
    if skipped:
        print(f"skipped {amount(len(skipped), 'unreadable image')}{where}:")
    for name, reason in skipped[:SHOWN_SKIPPED]:
        print(f"  {name}: {reason}")


def print_masks(drawn: Drawn, full: str) -> None:
    """Print what `seamask masks` wrote, and what it could not read."""
    for name, reason in drawn.skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    for sheet in drawn.sheets:
        print(f"wrote {sheet}: rows are the image, its masks (share removed), the masked views")
    if full:
        print(f"wrote {amount(drawn.masks, 'mask')} at the size of their photos to {full}")


def print_result(result: Result) -> None:
    """Print what an evaluation found."""
    from seamask.evaluate import TASKS

    print(f"{result.task} on {result.data}, {result.encoder}, seed {result.seed}")
    task = TASKS[result.task]
    # `iou`, `iou_random`, `iou_colour` stand in one line: beside each metric what it must beat.
    rivals = {f"{name}_{rival}" for name in result.metrics for rival in task.rivals}
    width = max(map(len, result.metrics))
    if rivals & set(result.metrics):
        print(" " * (width + 2) + "".join(f"{h:>10}" for h in (result.task, *task.rivals)))
    for name in (name for name in result.metrics if name not in rivals):
        names = (name, *(f"{name}_{rival}" for rival in task.rivals))
        values = "".join(f"{result.metrics[n]:10.4g}" for n in names if n in result.metrics)
        print(f"  {name:<{width}}{values} {task.unit(name)}".rstrip())
    print(f"in {duration(result.seconds)}")
    for path in filter(None, (result.file, result.figure)):
        print(path)
