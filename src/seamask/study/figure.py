"""Held-out accuracy while pretraining, against epochs and against wall-clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seamask.base.files import atomic
from seamask.report.words import before
from seamask.study.folder import StudyFolder
from seamask.study.grid import Study

PROBES = {"probe/knn": "kNN", "probe/linear": "linear probe"}
UNITS = ((7200, 3600, "hours"), (120, 60, "minutes"), (0, 1, "seconds"))  # from, seconds each


@dataclass(frozen=True)
class Curve:
    """One run's accuracy in %, at epochs and at seconds of training; the first is before it."""

    epochs: list[float]
    seconds: list[float]
    accuracy: list[float]


@dataclass(frozen=True)
class Band:
    """A method's curves over seeds: `[points]` each; the spread is NaN for a single seed."""

    epochs: npt.NDArray[np.float64]
    seconds: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]


def write_figure(study: Study, folder: StudyFolder) -> None:
    """Write `accuracy.png`, if the runs were probed: means, the spread over seeds shaded.

    Points need `log.probe_every`; without it there are two, before and after training.
    """
    bands: dict[str, dict[str, Band]] = {probe: {} for probe in PROBES}
    for row, config in study.methods.items():
        for probe in PROBES:
            curves = []
            for job in study.jobs():
                if job.row == row and job.evaluation is None and (m := folder.manifest(job)):
                    lines = folder.run(row, job.seed).read_metrics()
                    curves.append(curve(lines, m["results"], probe, config.batch_size))
            if found := band([c for c in curves if c.accuracy]):
                bands[probe][row] = found
    bands = {probe: rows for probe, rows in bands.items() if rows}
    if bands:
        _draw(study.title, bands, folder)


def curve(
    lines: Sequence[Mapping[str, Any]], results: Mapping[str, float], probe: str, batch_size: int
) -> Curve:
    """Read a run's accuracy as it trained.

    Args:
        lines: the objects of `metrics.jsonl`.
        results: of `manifest.json`: the scores before and after training.
        probe: `probe/knn` or `probe/linear`.
        batch_size: images per step.
    """
    found = Curve([], [], [])

    def add(epoch: float, at: float, accuracy: float) -> None:
        found.epochs.append(epoch)
        found.seconds.append(at)
        found.accuracy.append(accuracy)

    if (was := before(results, probe)) is not None:
        add(0, 0, was[1])
    step, epoch, seconds = 0, 0.0, 0.0
    for line in lines:
        if "images_per_second" in line:  # a line of training covers the steps since the last one
            seconds += (line["step"] - step) * batch_size / line["images_per_second"]
            step, epoch = line["step"], line["epoch"]
        if probe in line:
            add(line["epoch"], seconds, line[probe])
    if probe in results and (not found.epochs or found.epochs[-1] < epoch):
        add(epoch, seconds, results[probe])  # killed just before its last probe
    return found


def band(curves: Sequence[Curve]) -> Band | None:
    """Summarise the curves of several seeds at the epochs that all of them have."""
    if not curves:
        return None
    common = sorted(set.intersection(*(set(c.epochs) for c in curves)))
    at = [[c.epochs.index(epoch) for epoch in common] for c in curves]
    accuracy = np.array([[c.accuracy[i] for i in ii] for c, ii in zip(curves, at, strict=True)])
    seconds = np.array([[c.seconds[i] for i in ii] for c, ii in zip(curves, at, strict=True)])
    several = len(curves) > 1
    std = accuracy.std(axis=0, ddof=1) if several else np.full(len(common), np.nan)
    return Band(np.array(common, float), seconds.mean(axis=0), accuracy.mean(axis=0), std)


def _draw(title: str, bands: Mapping[str, Mapping[str, Band]], folder: StudyFolder) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6 * len(bands)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    panels = figure.subplots(len(bands), 2, sharey="row", squeeze=False)
    for (probe, rows), (by_epoch, by_time) in zip(bands.items(), panels, strict=True):
        longest = max(float(found.seconds[-1]) for found in rows.values())
        each, unit = next((each, unit) for least, each, unit in UNITS if longest >= least)
        for row, found in rows.items():
            for axes, x in ((by_epoch, found.epochs), (by_time, found.seconds / each)):
                (line,) = axes.plot(x, found.mean, label=row, marker="." if len(x) < 20 else "")
                low, high = found.mean - found.std, found.mean + found.std
                axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        by_epoch.set_ylabel(f"held-out accuracy (%), {PROBES[probe]}")
        by_epoch.set_xlabel("epochs")
        by_time.set_xlabel(f"wall-clock of training ({unit})")
        by_epoch.legend(fontsize="small")
        for axes in (by_epoch, by_time):
            axes.grid(alpha=0.3)
    figure.supxlabel(
        "Probed while training; at 0, before it. The table's evaluations have protocols of their "
        "own, so its numbers, those of the untrained network too, are others.",
        fontsize="small",
    )
    with atomic(folder.figure) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
