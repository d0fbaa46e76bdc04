"""What a study would do, before anything starts: jobs, images to be seen, hours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from seamask.base import settings
from seamask.base.output import in_columns
from seamask.base.progress import amount, duration, few
from seamask.config import Config
from seamask.runs import RunFolder
from seamask.study.folder import StudyFolder
from seamask.study.grid import Job, Study
from seamask.study.results import results_of, seconds_of
from seamask.training.preflight import preflight

UNKNOWN = "?"


@dataclass(frozen=True)
class Planned:
    """The pretrainings of one method that are still to be done.

    Attributes:
        method: its name.
        runs: of it.
        epochs: of each.
        images: that they have yet to see, from their last checkpoints on; None: how many there are
            is not known before they are there.
        rate: images a second; None: not measured, since there is nothing to do.
    """

    method: str
    runs: int
    epochs: int
    images: int | None
    rate: float | None

    @property
    def seconds(self) -> float | None:
        """Of all its runs, one after the other."""
        if not self.runs:
            return 0.0
        return None if self.images is None or not self.rate else self.images / self.rate


def planned(
    study: Study,
    out: Path | str,
    count: Callable[[Config], int | None],
    measure: Callable[[Config], float],
    results: Path | None = None,
) -> str:
    """Say what is to be done of a study; nothing is written.

    Args:
        study: that is asked about.
        out: its folder, which need not be there.
        count: says how many images an epoch holds; None: not known.
        measure: says how many images a second are trained on here.
        results: file of what finished jobs found; they are not done again.

    Raises:
        UserError: a method that cannot be trained; or a result, or the file of results, that
            cannot be read, or is of another study.
    """
    for config in study.methods.values():
        preflight(config)
    folder = StudyFolder(out)
    jobs = study.jobs()
    took = _done(study, folder, results)
    open_jobs = study.open_jobs(took, folder.at_hand(study))
    rates: dict[str, float] = {}

    def rate(config: Config) -> float:
        """Measure once what differs only in how long it trains, or on what."""
        data = replace(Config().data, size=config.data.size, channels=config.data.channels)
        alike = replace(config, epochs=1, seed=0, data=data, log=Config().log)
        key = json.dumps(settings.to_dict(alike), sort_keys=True)
        if key not in rates:
            rates[key] = measure(config)
        return rates[key]

    methods = []
    for name, config in study.methods.items():
        runs = [job for job in open_jobs if job.row == name and job.evaluation is None]
        images = count(config)
        if images is not None:
            steps = images // config.batch_size * config.epochs
            left = sum(max(steps - _taken(folder, job), 0) for job in runs)
            images = left * config.batch_size
        measured = rate(config) if runs else None
        methods.append(Planned(name, len(runs), config.epochs, images, measured))
    evaluations = [job for job in open_jobs if job.evaluation is not None]
    expected = study.expected(evaluations, took)
    return _text(len(jobs), methods, expected)


def _taken(folder: StudyFolder, job: Job) -> int:
    """Return how many steps of a pretraining that is to be done are kept in a checkpoint."""
    latest = folder.run(job.row, job.seed).latest_checkpoint()
    return 0 if latest is None or folder.done(job) else RunFolder.step_of(latest)


def _done(study: Study, folder: StudyFolder, results: Path | None) -> dict[str, float]:
    """Return the seconds that each job took that is done, by its slug."""
    took = folder.took(study)
    if results is None:
        return took
    found = results_of(study, folder, results)
    return took | {name: seconds_of(name, line, results) for name, line in found.items()}


def _text(jobs: int, methods: list[Planned], evaluations: list[float | None]) -> str:
    """Say what is to be done of `jobs`: pretrainings, and evaluations by their seconds."""
    pretrainings = sum(m.runs for m in methods)
    first = (
        f"{amount(jobs, 'job')}, {jobs - pretrainings - len(evaluations)} done; to do: "
        f"{amount(pretrainings, 'pretraining')}, {amount(len(evaluations), 'evaluation')}"
    )
    if not pretrainings:
        return "\n".join([first, _of_evaluations(evaluations)])
    rows = [("", "runs", "epochs", "images seen", "images/s", "time")]
    for m in methods:
        images = UNKNOWN if m.images is None else f"{m.images:,}"
        seconds = UNKNOWN if m.seconds is None else duration(m.seconds)
        rows.append(
            (m.method, str(m.runs), str(m.epochs), images, few(m.rate) if m.rate else "", seconds)
        )
    known = [m.seconds for m in methods if m.seconds is not None]
    seen = [m.images for m in methods if m.images is not None]
    partly = "at least " if len(known) < len(methods) else ""
    rows.append(("in all", str(pretrainings), "", f"{sum(seen):,}", "", duration(sum(known))))
    return "\n".join(
        [
            first,
            in_columns(rows),
            f"pretraining alone takes {partly}{duration(sum(known))}, as just measured on this "
            "machine, one job at a time",
            _of_evaluations(evaluations),
        ]
    )


def _of_evaluations(expected: list[float | None]) -> str:
    """Say what is known of the time of evaluations: from those that are done."""
    if not expected:
        return "no evaluation is left"
    known = [seconds for seconds in expected if seconds is not None]
    missing = len(expected) - len(known)
    least = "at least " if missing else ""
    said = f"the evaluations take {least}{duration(sum(known))}, by those that are done"
    left = f"{amount(missing, 'evaluation')} of {len(expected)} not counted: none like it is done"
    return "; ".join([said] * bool(known) + [left] * bool(missing))
