"""What a report says in words: the verdict, what is wrong, numbers in tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from seamask.base.progress import amount
from seamask.report.reading import Told
from seamask.report.troubles import troubles

PROBES = {"probe/linear": "linear probe", "probe/knn": "kNN"}
OBJECTS = {
    "mask/iou": "IoU of masks with objects", "mask/iou_random": "IoU of random blocks",
    "mask/iou_colour": "IoU of colour clusters",
}  # fmt: skip
COLOUR = "colour clusters"


class Sign(NamedTuple):
    """How a sign of masks is shown: in words, times a factor, with so many digits."""

    words: str
    factor: int
    digits: int


SIGNS = {  # by name in the log
    "coverage": Sign("removed, %", 100, 0),
    "from_image": Sign("from the image, %", 100, 0),
    "rank": Sign("effective rank", 1, 1),
    "binary": Sign("black or white, %", 100, 0),
    "overlap": Sign("overlap, %", 100, 0),
    "empty": Sign("empty images, %", 100, 0),
    "full": Sign("removed whole, %", 100, 0),
    "border": Sign("in outer eighth, %", 100, 0),  # 44: as much as elsewhere
    "adds": Sign("adds to the loss", 1, 2),  # in training
}


class Verdict(NamedTuple):
    """What became of a run, in a line; and how it stands: `good`, `bad` (warnings, or nothing
    gained), `mixed` (some rival is better), `open` (not finished)."""

    state: str
    text: str


def verdict(run: Told) -> Verdict:
    """Say in a line what a run has come to."""
    results = run.results
    said, better = [], []
    for name, label in PROBES.items():
        if name in results and (was := before(results, name)) is not None:
            when, accuracy = was
            better.append(results[name] > accuracy)
            said.append(f"{label} {results[name]:.1f} % ({when} {accuracy:.1f} %)")
    where, rivals = object_scores(run)
    if rivals:
        better.append(rivals["learned"] > max(v for n, v in rivals.items() if n != "learned"))
        others = [f"{name} {value:.2f}" for name, value in rivals.items() if name != "learned"]
        said.append(f"masks on objects{where}: IoU {rivals['learned']:.2f} ({', '.join(others)})")
    wrong = warnings(run)
    said.append(amount(len(wrong), "warning") if wrong else "no warnings")
    if not run.finished:
        done = f"epoch {run.epoch} of {run.config.epochs}"
        return Verdict("open", "; ".join([f"not finished: {done}", *said]))
    if not better:
        said.insert(0, "no labels and no objects to measure by: look at masks and neighbours")
    state = "bad" if wrong or (better and not any(better)) else "good" if all(better) else "mixed"
    return Verdict(state, "; ".join(said))


def object_scores(run: Told) -> tuple[str, dict[str, float]]:
    """Return the IoU of masks with objects: learned, random blocks, clusters of colours if known.

    Those that `seamask evaluate RUN masks` found last, and before them of which images, in words;
    else those of the run itself, of its own. Empty: there are none.
    """
    for result in reversed(run.evaluations):
        m = result["metrics"]
        if result["task"] == "masks" and {"iou", "iou_random", "iou_colour"} <= m.keys():
            found = {
                "learned": m["iou"],
                "random blocks": m["iou_random"],
                COLOUR: m["iou_colour"],
            }
            return f" of {result['data']}", found
    results = run.results
    names = {"mask/iou": "learned", "mask/iou_random": "random blocks", "mask/iou_colour": COLOUR}
    found = {label: results[name] for name, label in names.items() if name in results}
    return "", found if "random blocks" in found else {}


def warnings(run: Told) -> list[str]:
    """Return what is wrong with the game as it ended, or as it stands."""
    if not run.finished and run.epoch < 2:  # masks have yet to settle
        return []
    return [trouble.text for trouble in troubles(run.results, run.config, run.learned).values()]


def signs_table(results: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return (words, a number for each mask) of what is known of the masks."""
    n = sum(name.startswith("mask/coverage_") for name in results)
    found = []
    for sign, (words, factor, digits) in SIGNS.items():
        names = [f"mask/{sign}_{k}" for k in range(1, n + 1)]
        if n and set(names) <= results.keys():
            found.append((words, [_digits(factor * results[name], digits) for name in names]))
    return found


def scores_table(run: Told) -> list[tuple[str, str, str]]:
    """Return (what, trained, before) of what was measured of the encoder."""
    results = run.results
    rows = [
        (f"{label}, %", f"{results[name]:.1f}", _before(results, name))
        for name, label in PROBES.items()
        if name in results
    ]
    if "embedding/spread" in results:
        rows.append(("spread of embeddings (healthy: 1)", f"{results['embedding/spread']:.2f}", ""))
    if "embedding/rank" in results:
        rows.append(("effective rank of embeddings", f"{results['embedding/rank']:.0f}", ""))
    where, rivals = object_scores(run)
    for name, value in rivals.items():
        rows.append((f"best mask’s IoU with objects{where}, {name}", f"{value:.3f}", ""))
    return rows


def _digits(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _before(results: Mapping[str, Any], name: str) -> str:
    was = before(results, name)
    return "" if was is None else f"{was[1]:.1f}"


def before(results: Mapping[str, float], name: str) -> tuple[str, float] | None:
    """Return what a score was before the training, and when that is, in words; None: unknown."""
    for prefix, when in (("untrained", "untrained"), ("start", "at its start")):
        if f"{prefix}/{name}" in results:
            return when, results[f"{prefix}/{name}"]
    return None
