"""What a study would do, before anything starts: jobs, images to be seen, hours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from seamask.base import settings
from seamask.base.output import in_columns
from seamask.base.progress import amount, duration, few
from seamask.config import Config
from seamask.study.folder import StudyFolder
from seamask.study.grid import Job, Study
from seamask.study.results import results_of
from seamask.training.preflight import preflight

UNKNOWN = "?"


@dataclass(frozen=True)
class Planned:
    """The pretrainings of one method that are still to be done.

    Attributes:
        method: its name.
        runs: of it.
        epochs: of each.
        images: that each sees; None: how many there are is not known before they are there.
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
        return None if self.images is None or not self.rate else self.runs * self.images / self.rate


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
        UserError: a method that cannot be trained, or a file of results that cannot be read or is
            of another study, in one line.
    """
    for config in study.methods.values():
        preflight(config)
    folder = StudyFolder(out)
    jobs = study.jobs()
    open_jobs = _open(study, folder, results)
    rates: dict[str, float] = {}

    def rate(config: Config) -> float:
        """Measure once what differs only in how long it trains, or on what."""
        alike = replace(config, epochs=1, seed=0, data=Config().data, log=Config().log)
        key = json.dumps(settings.to_dict(alike), sort_keys=True)
        if key not in rates:
            rates[key] = measure(config)
        return rates[key]

    methods = []
    for name, config in study.methods.items():
        runs = sum(job.row == name and job.evaluation is None for job in open_jobs)
        images = count(config)
        if images is not None:
            images = images // config.batch_size * config.batch_size * config.epochs
        methods.append(Planned(name, runs, config.epochs, images, rate(config) if runs else None))
    return _text(jobs, open_jobs, methods, folder)


def _open(study: Study, folder: StudyFolder, results: Path | None) -> list[Job]:
    """Return the jobs that a worker would do."""
    jobs = study.jobs()
    done = {job.slug for job in jobs if folder.done(job)}
    if results is not None:
        done |= set(results_of(study, folder, results))
    # For what is missing of a run whose weights stayed elsewhere it is trained, and scored, again.
    again = {
        job.needs.slug
        for job in jobs
        if job.slug not in done and job.needs is not None and not folder.has_run(job.needs)
    }
    return [job for job in jobs if job.slug not in done or Job(job.row, job.seed).slug in again]


def _text(
    jobs: list[Job], open_jobs: list[Job], methods: list[Planned], folder: StudyFolder
) -> str:
    pretrainings = sum(job.evaluation is None for job in open_jobs)
    evaluations = len(open_jobs) - pretrainings
    rows = [("", "runs", "epochs", "images seen", "images/s", "time")]
    for m in methods:
        images = UNKNOWN if m.images is None else f"{m.runs * m.images:,}"
        seconds = UNKNOWN if m.seconds is None else duration(m.seconds)
        rows.append(
            (m.method, str(m.runs), str(m.epochs), images, few(m.rate) if m.rate else "", seconds)
        )
    known = [m.seconds for m in methods if m.seconds is not None]
    seen = [m.runs * m.images for m in methods if m.images is not None]
    partly = "at least " if len(known) < len(methods) else ""
    rows.append(("in all", str(pretrainings), "", f"{sum(seen):,}", "", duration(sum(known))))
    done = len(jobs) - len(open_jobs)
    first = (
        f"{amount(len(jobs), 'job')}, {done} done; to do: "
        f"{amount(pretrainings, 'pretraining')}, {amount(evaluations, 'evaluation')}"
    )
    if not pretrainings:
        return "\n".join([first, _of_evaluations(open_jobs, jobs, folder)])
    return "\n".join(
        [
            first,
            in_columns(rows),
            f"pretraining alone takes {partly}{duration(sum(known))}, as just measured on this "
            "machine, one job at a time",
            _of_evaluations(open_jobs, jobs, folder),
        ]
    )


def _of_evaluations(open_jobs: list[Job], jobs: list[Job], folder: StudyFolder) -> str:
    """Say what is known of the time of evaluations: from those that are done."""
    took: dict[str, list[float]] = {}
    for job in jobs:
        if job.evaluation is not None and (seconds := folder.seconds(job)) is not None:
            took.setdefault(job.kind, []).append(seconds)
    left = [job for job in open_jobs if job.evaluation is not None]
    if not left:
        return "no evaluation is left"
    known = [fmean(took[job.kind]) for job in left if job.kind in took]
    if len(known) < len(left):
        missing = len(left) - len(known)
        return (
            f"{amount(missing, 'evaluation')} of {len(left)} not counted: none like it is done here"
        )
    return f"the evaluations take {duration(sum(known))}, by those that are done"
