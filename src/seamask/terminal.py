"""What the terminal shows at the end: of a run, of an evaluation."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from seamask.base.output import in_columns, print_prose
from seamask.base.progress import amount, duration, few
from seamask.plugins import command
from seamask.report.words import SIGNS, before

if TYPE_CHECKING:
    from seamask.evaluate.embed import Embedded
    from seamask.evaluate.mask_files import Written
    from seamask.evaluate.photos import Drawn
    from seamask.evaluate.task import Result, Task
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
        print_prose(f"scored on {amount(summary.held_out, 'held-out image')}")
        when, _ = before(results, "probe/knn") or ("before: not known", 0.0)
        rows: list[tuple[str, ...]] = [("accuracy", "trained", when, "chance")]
        for label, name in (("kNN", "probe/knn"), ("linear probe", "probe/linear")):
            _, was = before(results, name) or ("", None)
            found = (results[name], was, results["probe/chance"])
            rows.append((f"  {label}", *("" if v is None else f"{v:.1f} %" for v in found)))
        print(in_columns(rows))
    else:
        print_prose(
            "no labels, so no accuracy: look at the masks below; of the numbers, "
            "embeddings should spread near 1 and masks come from the image"
        )
        print_prose(
            f"with labels: {command('evaluate', folder, 'knn')} --data FOLDER-OF-CLASS-FOLDERS"
        )
    if "mask/iou" in results:
        names = {"learned": "mask/iou", "random": "mask/iou_random", "colours": "mask/iou_colour"}
        iou = {label: f"{results[name]:.3f}" for label, name in names.items() if name in results}
        print(in_columns([("IoU with objects", *iou), ("  best mask", *iou.values())]))
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
    print_prose(f"load     {summary.load}")


def _print_health(summary: Summary) -> None:
    """Print how the masks and the embeddings ended, and what is wrong with them."""
    results = summary.results
    n = sum(name.startswith("mask/rank_") for name in results)
    rows: list[tuple[str, ...]] = [("masks", *(f"mask {k}" for k in range(1, n + 1)), "asked")]
    for sign, (label, factor, digits) in SIGNS.items():
        names = [f"mask/{sign}_{k}" for k in range(1, n + 1)]
        if n and set(names) <= set(results):
            asked = f"{100 * summary.asked:g}" if sign == "coverage" and summary.asked else ""
            shown = [f"{factor * results[name]:.{digits}f}" for name in names]
            rows.append((f"  {label}", *shown, asked))
    if n:
        print(in_columns(rows if summary.asked else [row[:-1] for row in rows]))
    if "embedding/spread" in results:
        print_prose(
            f"embeddings spread {results['embedding/spread']:.2f} (healthy: 1), "
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
    none = "none empty" if empty == 0 else f"{few(100 * empty)} % of them empty"
    return f"{said}; they are {soft} ({100 * binary:.0f} % of pixels decided), {none}"


def print_skipped(skipped: Sequence[tuple[str, str]], where: str = "") -> None:
    """Print which images could not be read, and why; `where` says where the others are named."""
    if skipped:
        print_prose(f"skipped {amount(len(skipped), 'unreadable image')}{where}:")
    for name, reason in skipped[:SHOWN_SKIPPED]:
        print_prose(f"  {name}: {reason}")


def print_masks(drawn: Drawn, overlay: bool) -> None:
    """Print what `seamask masks` drew, and what it could not read."""
    _print_unreadable(drawn.skipped)
    first, *more = drawn.sheets
    written = f"{amount(len(drawn.sheets), 'sheet')} to {first.parent}" if more else str(first)
    shown = "rows are the image, its masks (share removed), the masked views"
    if overlay:
        shown = "a row an image: it, and with the masks of each run laid on it (share removed)"
    print_prose(f"wrote {written}: {shown}")


def print_written(written: Written, folder: str) -> None:
    """Print what `seamask masks --data` wrote, and what it could not read."""
    _print_unreadable(written.skipped)
    before = f", {written.before:,} of them before" if written.before else ""
    print_prose(f"{folder}: masks of {amount(written.images, 'image')}{before}")


def print_embedded(embedded: Embedded, file: str) -> None:
    """Print what `seamask embed` wrote, and what it could not read."""
    _print_unreadable(embedded.skipped)
    images = amount(embedded.images, "image")
    print_prose(f"{file}: features of {images}, {embedded.width} numbers each")


def _print_unreadable(skipped: Sequence[tuple[str, str]]) -> None:
    for name, reason in skipped:
        print_prose(f"skipped {name}: {reason}", sys.stderr)


def print_result(result: Result) -> None:
    """Print what an evaluation found."""
    from seamask.evaluate import TASKS

    measured = f" ({result.split})" if result.split else ""
    how = f", protocol {result.protocol['protocol']}" if "protocol" in result.protocol else ""
    print_prose(
        f"{result.task} on {result.data}{measured}{how}, {result.encoder}, seed {result.seed}"
    )
    task, images = TASKS[result.task], result.images
    kind = "held-out image" if "held_out" in images else "image"
    count = images.get("held_out") or images.get("not_held_out", 0)
    classes = images.get("classes", 0)
    labelled = "labels" in task.needs
    print_prose(
        f"{amount(count, kind)}"
        + f" of {amount(classes, 'class', 'classes')}" * bool(classes)
        + f", {images.get('learn', 0):,} to learn from" * labelled
        + f"; one image is {few(100 / count)} points" * (labelled and count < FEW)
    )
    print(in_columns(_metrics(result, task)))
    if result.normalization:
        mean, std = (" ".join(f"{v:.3g}" for v in result.normalization[n]) for n in ("mean", "std"))
        whose = {"encoder": "as the encoder was trained", "data": "as is usual for these images"}
        of = whose[result.normalization["of"]]
        print_prose(f"images normalised {of}: mean {mean}, std {std}")
    for note in result.notes:
        print_prose(note)
    print_skipped(result.skipped)
    print(f"in {duration(result.seconds)}")
    for path in filter(None, (result.file, result.figure)):
        print(path)


def _metrics(result: Result, task: Task) -> list[tuple[str, ...]]:
    """Return rows of metrics, each beside what it must beat: `iou`, `iou_random`, `iou_colour`."""
    found = result.metrics
    rivals = [r for r in task.rivals if any(f"{name}_{r}" in found for name in found)]
    rows = [("", result.task, *rivals)] if rivals else []
    for name in found:
        if any(name == f"{other}_{rival}" for other in found for rival in rivals):
            continue
        names = (name, *(f"{name}_{rival}" for rival in rivals))
        values = (f"{found[n]:.4g}" if n in found else "" for n in names)
        unit = task.unit(name)
        rows.append((f"{name}, {unit}" if unit else name, *values))
    return rows


def print_study_table(markdown: str) -> None:
    """Print a study's table, the Markdown of which is in its folder, as wide as the terminal."""
    for table, lines in groupby(markdown.splitlines(), lambda line: line.startswith("|")):
        if table:
            head, _, *rows = [line[2:-2].split(" | ") for line in lines]
            for row in rows:  # what belongs to the row above it is not bold
                row[0] = row[0].strip("*") if row[0][:2] == "**" else f"  {row[0]}"
            print(in_columns([head, *rows]))
        else:
            print_prose("\n".join(lines))
