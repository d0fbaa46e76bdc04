"""What a study is: methods × seeds × evaluations, every setting resolved, and its jobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from seamask.base import settings
from seamask.base.paths import slug
from seamask.config import Config
from seamask.evaluate import EvaluationConfig, check, task_config

UNTRAINED = "untrained"
"""The row of the baseline's encoder before any training."""
OWN = {  # settings that the study gives itself, and what to say instead
    "seed": "seeds", "out": "--out", "overwrite": "--out", "json": "nothing",
}  # fmt: skip
Published = tuple[float, float | None]
"""Mean and standard deviation."""


@dataclass(frozen=True)
class Evaluation:
    """A column of the table, or one for each of several metrics.

    Attributes:
        title: of the column.
        task: one of `seamask.evaluate.TASKS`.
        settings: by dotted path; without `data.source`, the images are those of the pretraining.
        methods: the rows that have it; all if empty.
        metrics: of the task, that are shown; its main one if empty.
    """

    title: str
    task: str
    settings: Mapping[str, Any]
    methods: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    def config(self, method: Config, seed: int = 0, out: Path | str = "") -> EvaluationConfig:
        """Return all settings of the evaluation of one encoder.

        It computes where its pretraining did, unless its own settings say otherwise.

        Args:
            method: settings of the pretraining.
            seed: of the evaluation.
            out: folder for the result.
        """
        config = task_config(self.task)
        data = replace(method.data, limit=0, size=0)
        if "data.source" in self.settings:
            kept = {name: getattr(data, name) for name in ("cache", "resident", "on_bad_image")}
            data = replace(config.data, **kept)
        config = replace(config, data=data, device=method.device, threads=method.threads)
        config = settings.override(config, self.settings)
        return check(replace(config, seed=seed, out=str(out)))


@dataclass(frozen=True)
class Job:
    """One pretraining or one evaluation.

    Attributes:
        row: name of the method, or `UNTRAINED`.
        seed: of it.
        evaluation: None for a pretraining.
        needs: what must be done before.
    """

    row: str
    seed: int
    evaluation: Evaluation | None = None
    needs: Job | None = None

    @property
    def kind(self) -> str:
        """`pretraining`, or the title of the evaluation."""
        return self.evaluation.title if self.evaluation else "pretraining"

    @property
    def slug(self) -> str:
        """Its name as part of a file's."""
        parts = [slug(self.row), f"seed{self.seed}"]
        return ".".join(parts + ([slug(self.evaluation.title)] if self.evaluation else []))

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}: {self.kind}"


@dataclass(frozen=True)
class Study:
    """A grid of methods × seeds × evaluations.

    Attributes:
        name: as it was asked for.
        title: of the table.
        source: of the published numbers.
        methods: {row: settings of its pretraining}.
        baseline: the row that the others are compared with.
        evaluations: {title: column}.
        seeds: of each pretraining and its evaluations.
        published: {title: {row: mean and standard deviation}}.
        untrained: evaluate the baseline's encoder before any training too.
    """

    name: str
    title: str
    source: str
    methods: Mapping[str, Config]
    baseline: str
    evaluations: Mapping[str, Evaluation]
    seeds: tuple[int, ...]
    published: Mapping[str, Mapping[str, Published]]
    untrained: bool

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows, in the order of the table."""
        return (UNTRAINED,) * self.untrained + tuple(self.methods)

    def has(self, row: str, evaluation: Evaluation) -> bool:
        """Say whether a row has an evaluation."""
        return not evaluation.methods or row in evaluation.methods

    def method(self, row: str) -> Config:
        """Return the settings of the pretraining that a row comes from."""
        return self.methods[self.baseline if row == UNTRAINED else row]

    def jobs(self) -> list[Job]:
        """Return all jobs, seed by seed, each evaluation after its pretraining.

        The untrained row comes right after the run whose settings it takes, which is then at hand.
        """
        found = []
        for seed in self.seeds:
            for name in self.methods:
                run = Job(name, seed)
                found.append(run)
                for row in (name, *(UNTRAINED,) * (self.untrained and name == self.baseline)):
                    found += [
                        Job(row, seed, evaluation, run)
                        for evaluation in self.evaluations.values()
                        if self.has(row, evaluation)
                    ]
        return found

    def open_jobs(
        self, done: Container[str], at_hand: Container[str], failed: Container[str] = ()
    ) -> list[Job]:
        """Return the jobs that are to be done, in the order of `jobs`.

        For an evaluation that is missing of a run whose weights stayed elsewhere the run is
        trained, and all else of its row evaluated, again: its results are of one encoder.

        Args:
            done: slugs of the jobs whose results there are.
            at_hand: slugs of the pretrainings whose weights there are.
            failed: slugs of the jobs that failed; neither they nor what needs them is to be done.
        """
        jobs = [
            job
            for job in self.jobs()
            if job.slug not in failed and not (job.needs and job.needs.slug in failed)
        ]
        again = {
            (job.needs.row, job.needs.seed)
            for job in jobs
            if job.slug not in done and job.needs and job.needs.slug not in at_hand
        }
        return [job for job in jobs if job.slug not in done or (job.row, job.seed) in again]

    def expected(self, jobs: Iterable[Job], took: Mapping[str, float]) -> list[float | None]:
        """Return the seconds that each of `jobs` will take, by those that are done.

        By the same of its row with other seeds, else by its kind in other rows; None: nothing of
        its kind is done.

        Args:
            jobs: that are asked about.
            took: seconds of the jobs that are done, by their slugs.
        """
        alike: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for job in self.jobs():
            if job.slug in took:
                for key in ((job.kind, job.row), (job.kind,)):
                    alike[key].append(took[job.slug])
        found = [alike.get((job.kind, job.row)) or alike.get((job.kind,)) for job in jobs]
        return [fmean(seconds) if seconds else None for seconds in found]

    def resolved(self) -> dict[str, Any]:
        """Return the study as plain values, every setting spelt out: itself a study's YAML."""
        return {
            "title": self.title,
            "source": self.source,
            "baseline": self.baseline,
            "untrained": self.untrained,
            "seeds": list(self.seeds),
            "methods": {
                name: {path: value for path, value in flat(config).items() if path not in OWN}
                for name, config in self.methods.items()
            },
            "evaluations": {
                title: {"task": column.task}
                | ({"methods": list(column.methods)} if column.methods else {})
                | ({"metrics": list(column.metrics)} if column.metrics else {})
                | settings.plain(dict(column.settings))
                for title, column in self.evaluations.items()
            },
            "published": {
                title: {row: list(numbers) for row, numbers in rows.items()}
                for title, rows in self.published.items()
            },
        }


def flat(config: Any) -> dict[str, Any]:
    """Return {dotted path: plain value} of settings."""
    return {
        path: settings.plain(settings.get(config, path))
        for path, _ in settings.leaves(type(config))
    }
