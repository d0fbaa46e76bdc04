"""What the terminal shows at the end: of a run, of an evaluation."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from seamask.base.output import print_prose
from seamask.base.progress import amount, duration, few
from seamask.plugins import command
from seamask.report.words import SIGNS

if TYPE_CHECKING:
    from seamask.evaluate.embed import Embedded
    from seamask.evaluate.mask_files import Written
    from seamask.evaluate.photos import Drawn
    from seamask.evaluate.task import Result
    from seamask.training.report import Summary

NEAR = 0.25  # of the budget: a mask that is so far off has met it
FEW = 50  # held-out images below which an accuracy says little
SHOWN_SKIPPED = 10  # unreadable images named at the end


def print_summary(summary: Summary) -> None:
    """Print how a run ended: scores beside those before it, masks, troubles, and where all lies."""
    results, folder = summary.results, summary.folder
    if not summary.lead:  # another process says it
        return
    print(f"\ntrained in {duration(summary.seconds)}, {few(summary.images_per_second)} images/s")
    if "probe/knn" in results:
        print(
            "held-out accuracy     trained  untrained     chance   "
            f"({amount(summary.held_out, 'image')})"
        )
        chance = results["probe/chance"]
        for label, name in (("kNN", "probe/knn"), ("linear probe", "probe/linear")):
            before = results[f"untrained/{name}"]
            print(f"  {label:<18} {results[name]:8.1f} % {before:8.1f} % {chance:8.1f} %")
    else:
        print_prose(
            "no labels, so no accuracy: look at the masks below; of the numbers, "
            "embeddings should spread near 1 and masks come from the image"
        )
        print(f"with labels: {command('evaluate', folder, 'knn')} --data FOLDER-OF-CLASS-FOLDERS")
    if "mask/iou" in results:
        print("IoU with objects      learned     random")
        print(f"  {'best mask':<18} {results['mask/iou']:8.3f}   {results['mask/iou_random']:8.3f}")
    _print_health(summary)
    print_skipped(summary.skipped, " (all are in manifest.json)")
    for label, path in (
        ("report", folder / "report.html"),
        ("masks", max(folder.glob("masks/*.png"), default=folder)),
        ("curves", folder / "curves.png"),
        ("weights", folder / "encoder.safetensors"),
        ("log", folder / "metrics.jsonl"),
    ):
        if path.exists():  # curves need a few lines of the log
            print(f"{label:<8} {path}")
    print(f"load     {summary.load}")


def _print_health(summary: Summary) -> None:
    """Print how the masks and the embeddings ended, and what is wrong with them."""
    results = summary.results
    n = sum(name.startswith("mask/rank_") for name in results)
    if n:
        print("masks               " + "".join(f"{f'mask {k}':>9}" for k in range(1, n + 1)))
    for sign, (label, factor, digits) in SIGNS.items():
        names = [f"mask/{sign}_{k}" for k in range(1, n + 1)]
        if not n or not set(names) <= set(results):
            continue
        shown = "".join(f"{factor * results[name]:9.{digits}f}" for name in names)
        asked = sign == "coverage" and summary.asked
        print(f"  {label:<18}{shown}{f'   asked {100 * asked:g}' if asked else ''}")
    if "embedding/spread" in results:
        print(
            f"embeddings          spread {results['embedding/spread']:.2f} (healthy: 1), "
            f"rank {results['embedding/rank']:.0f} (in training)"
        )
    if told := masks_in_words(results, n, summary.asked):
        print_prose(f"on {summary.looked_at} {told}")
    for text in summary.warnings:
        print_prose(f"warning: {text}")


def masks_in_words(results: Mapping[str, float], n: int, asked: float | None) -> str:
    """Return how well masks met what was asked, in a sentence or two; empty: nothing is known.

    Args:
        results: `mask/<sign>_<k>` by name.
        n: masks of an image.
        asked: the share that each was to remove, if it is one number.
    """

    def of(sign: str) -> list[float]:
        return [results[f"mask/{sign}_{k}"] for k in range(1, n + 1)]

    if not n or f"mask/coverage_{n}" not in results:
        return ""
    removed = ", ".join(f"{100 * share:.0f}" for share in of("coverage"))
    if asked is None:
        said = f"masks remove {removed} % of an image"
    else:
        near = sum(abs(share - asked) <= NEAR * asked for share in of("coverage"))
        how = {n: "all", 0: "none"}.get(near, str(near))
        said = (
            f"{how} of {amount(n, 'mask')} within a quarter of the budget: {removed} % removed, "
            f"{100 * asked:g} % asked"
        )
    binary, empty = sum(of("binary")) / n, sum(of("empty")) / n
    soft = "nearly black and white" if binary > 0.8 else "half grey" if binary > 0.4 else "grey"
    none = "none empty" if empty == 0 else f"{100 * empty:.1g} % of them empty"
    return f"{said}; they are {soft} ({100 * binary:.0f} % of pixels decided), {none}"


def print_skipped(skipped: Sequence[tuple[str, str]], where: str = "") -> None:
    """Print which images could not be read, and why; `where` says where the others are named."""
    if skipped:
        print(f"skipped {amount(len(skipped), 'unreadable image')}{where}:")
    for name, reason in skipped[:SHOWN_SKIPPED]:
        print(f"  {name}: {reason}")


def print_masks(drawn: Drawn) -> None:
    """Print what `seamask masks` drew, and what it could not read."""
    _print_unreadable(drawn.skipped)
    first, *more = drawn.sheets
    written = f"{amount(len(drawn.sheets), 'sheet')} to {first.parent}" if more else str(first)
    print(f"wrote {written}: rows are the image, its masks (share removed), the masked views")


def print_written(written: Written, folder: str) -> None:
    """Print what `seamask masks --data` wrote, and what it could not read."""
    _print_unreadable(written.skipped)
    before = f", {written.before:,} of them before" if written.before else ""
    print(f"{folder}: masks of {amount(written.images, 'image')}{before}")


def print_embedded(embedded: Embedded, file: str) -> None:
    """Print what `seamask embed` wrote, and what it could not read."""
    _print_unreadable(embedded.skipped)
    print(f"{file}: features of {amount(embedded.images, 'image')}, {embedded.width} numbers each")


def _print_unreadable(skipped: Sequence[tuple[str, str]]) -> None:
    for name, reason in skipped:
        print(f"skipped {name}: {reason}", file=sys.stderr)


def print_result(result: Result) -> None:
    """Print what an evaluation found."""
    from seamask.evaluate import TASKS

    measured = f" ({result.split})" if result.split else ""
    print(f"{result.task} on {result.data}{measured}, {result.encoder}, seed {result.seed}")
    task, images = TASKS[result.task], result.images
    kind = "held-out image" if "held_out" in images else "image"
    count = images.get("held_out") or images.get("not_held_out", 0)
    classes = images.get("classes", 0)
    labelled = "labels" in task.needs
    print(
        f"{amount(count, kind)}"
        + f" of {amount(classes, 'class', 'classes')}" * bool(classes)
        + f", {images.get('learn', 0):,} to learn from" * labelled
        + f"; one image is {few(100 / count)} points" * (labelled and count < FEW)
    )
    # `iou`, `iou_random`, `iou_colour` stand in one line: beside each metric what it must beat.
    rivals = {f"{name}_{rival}" for name in result.metrics for rival in task.rivals}
    width = max(map(len, result.metrics))
    cell = max(10, *(len(rival) + 2 for rival in ("", *task.rivals)))
    if rivals & set(result.metrics):
        print(" " * (width + 2) + "".join(f"{h:>{cell}}" for h in (result.task, *task.rivals)))
    for name in (name for name in result.metrics if name not in rivals):
        names = (name, *(f"{name}_{rival}" for rival in task.rivals))
        values = "".join(
            f"{result.metrics[n]:{cell}.4g}" if n in result.metrics else " " * cell for n in names
        ).rstrip()
        print(f"  {name:<{width}}{values} {task.unit(name)}".rstrip())
    if result.normalization:
        mean, std = (" ".join(f"{v:.3g}" for v in result.normalization[n]) for n in ("mean", "std"))
        whose = {"encoder": "as the encoder was trained", "data": "as is usual for these images"}
        print(f"images normalised {whose[result.normalization['of']]}: mean {mean}, std {std}")
    for note in result.notes:
        print(note)
    print_skipped(result.skipped)
    print(f"in {duration(result.seconds)}")
    for path in filter(None, (result.file, result.figure)):
        print(path)
