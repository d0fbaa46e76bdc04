"""The runs below a folder: how far each is, what it found, how it differs from its recipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from seamask.base.errors import UserError, printable
from seamask.base.locks import is_held
from seamask.base.output import aligned
from seamask.base.paths import local
from seamask.base.settings import plain
from seamask.plugins import command
from seamask.report.command import changed
from seamask.report.reading import Told, read_run

SCORES = {"probe/knn": ("kNN", 1), "probe/linear": ("linear", 1), "mask/iou": ("IoU", 2)}
DEEPEST = 4  # folders below the one that is named
NOTHING = "–"


def listed(folder: Path | str) -> str:
    """Return a table of the runs below a folder.

    Raises:
        UserError: no such folder, or no run in it.
    """
    root = local(folder)
    if not root.is_dir():
        raise UserError(f"no folder at {printable(root)}; name the one that your runs are in")
    rows = [("run", "state", *(label for label, _ in SCORES.values()))]
    given: list[list[str]] = []
    below: list[str] = []
    for path in _runs(root):
        try:
            run = read_run(path, 0)
        except UserError as error:
            rows.append((printable(path), "cannot be read", *(NOTHING for _ in SCORES)))
            given.append([])
            below.append(str(error))
            continue
        state, more = _state(run)
        rows.append((printable(path), state, *_scores(run)))
        given.append(_given(run))
        below.append(more)
    if len(rows) == 1:
        raise UserError(f"no run in {printable(root)}: a run's folder has a config.yaml")
    of_all = [text for text in given[0] if all(text in g for g in given)] * (len(given) > 1)
    head, *lines = aligned(rows, left=2)
    said = [head]
    for line, texts, more in zip(lines, given, below, strict=True):
        own = ", ".join(text for text in texts if text not in of_all)
        said += [line, *[f"    {own}"] * bool(own)]
        said += [f"    {more}"] * bool(more)
    if of_all:
        said += ["all of them:", f"    {', '.join(of_all)}"]
    return "\n".join(said)


def _runs(root: Path) -> Iterator[Path]:
    """Yield the folders of runs, the root itself among them; what is in a run is no run."""
    for folder, inner, files in os.walk(root):
        path = Path(folder)
        if "config.yaml" in files:
            inner.clear()
            yield path
        elif len(path.relative_to(root).parts) >= DEEPEST:
            inner.clear()
        inner[:] = sorted(name for name in inner if not name.startswith("."))


def _state(run: Told) -> tuple[str, str]:
    """Return how far a run is, and how to go on with it."""
    if is_held(run.folder.lock):
        return f"training, epoch {run.epoch} of {run.config.epochs}", ""
    if run.finished:
        return "finished", ""
    if run.folder.latest_checkpoint() is None:
        return "no checkpoint", ""
    again = command("resume", run.folder.path)
    return f"epoch {run.epoch} of {run.config.epochs}", f"go on with: {again}"


def _scores(run: Told) -> Iterator[str]:
    for name, (_, digits) in SCORES.items():
        value = run.results.get(name)
        yield NOTHING if value is None else f"{value:.{digits}f}"


def _given(run: Told) -> list[str]:
    """Return the recipe, and the settings that differ from it, as texts."""
    found = [run.config.recipe]
    for path, _, now in changed(run.config):
        value = plain(now)
        words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        found.append(f"{path} {words}")
    return found
