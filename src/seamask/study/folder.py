"""A study's folder: where its files lie, what is done, and who works on what.

study.yaml                              the study, every setting resolved
table.md, table.csv, table.tex, accuracy.png
<method>/seed<n>/                       a run's folder, as `seamask pretrain` leaves it
<method>/seed<n>/summary.json           the pretraining is done
<method>/seed<n>/evaluations/<column>/  results as `seamask evaluate` leaves them
.jobs/                                  locks, and why jobs failed
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml

from seamask.base import settings
from seamask.base.documents import read_json, read_yaml
from seamask.base.errors import UserError
from seamask.base.files import atomic, cannot_write, make_folder
from seamask.base.locks import Held, give_up, locked
from seamask.base.paths import check_writable, local, slug
from seamask.base.settings import Within
from seamask.config import Config
from seamask.evaluate import Result, task_config
from seamask.evaluate.task import UNTRAINED as UNTRAINED_RUN
from seamask.runs import NO_OTHER_RUN, RunFolder
from seamask.study.grid import UNTRAINED, Evaluation, Job, Study, flat

# No result depends on these; the last two: for which rows something is computed, and what is shown.
MAY_CHANGE = (*NO_OTHER_RUN, "methods", "metrics")


R = TypeVar("R", "Done", Result)


class StudyFolder:
    """The files of one study."""

    def __init__(self, path: Path | str) -> None:
        self.path = local(path, "--out")
        self.study = self.path / "study.yaml"
        self.table = self.path / "table.md"
        self.csv = self.path / "table.csv"
        self.latex = self.path / "table.tex"
        self.figure = self.path / "accuracy.png"
        self.jobs = self.path / ".jobs"

    def open(self, study: Study) -> None:
        """Write the study into the folder; refuse a folder of another one.

        Raises:
            UserError: it holds another study or something else, or cannot be written.
        """
        try:
            # The study is written before anything else, so a look at the rest comes first.
            others = self.path.exists() and any(p.name[0] != "." for p in self.path.iterdir())
            if others and not self.study.exists():
                raise UserError(
                    f"--out {self.path}: holds files that are not a study; name another folder"
                )
            check_writable(self.path, "--out")
            make_folder(self.jobs)
            with self.lock("study"):
                if self.study.exists():
                    self._check_same(study)
                with atomic(self.study) as temporary:
                    text = yaml.safe_dump(study.resolved(), sort_keys=False, allow_unicode=True)
                    temporary.write_text(text)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _check_same(self, study: Study) -> None:
        """Refuse a study that is not the one here, with perhaps more of everything."""
        try:
            changed = first_change(read_yaml(self.study, "the study"), study.resolved())
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"cannot read {self.study}: damaged; name another folder for the study"
            ) from error
        if changed:
            raise UserError(
                f"--out {self.path}: holds another study ({changed}); only methods, seeds and "
                "evaluations can be added to it: name another folder"
            )

    def run(self, row: str, seed: int) -> RunFolder:
        """Return the folder of a method's run; of the untrained row, that of its evaluations."""
        return RunFolder(self.path / slug(row) / f"seed{seed}")

    def encoder(self, job: Job) -> str:
        """Return what an evaluation evaluates, as `seamask evaluate` names it."""
        assert job.needs is not None
        run = str(self.run(job.needs.row, job.needs.seed).path)
        return UNTRAINED_RUN + run if job.row == UNTRAINED else run

    def evaluations(self, row: str, seed: int, evaluation: Evaluation) -> Path:
        """Return the folder for the result of one evaluation."""
        return self.run(row, seed).evaluations / slug(evaluation.title)

    # What is done ---------------------------------------------------------------------------

    def done(self, job: Job) -> bool:
        """Say whether the result of a job exists."""
        return bool(self._files(job))

    def _files(self, job: Job) -> list[Path]:
        """Return the files that make a job done; they appear whole.

        The folder is listed rather than a name looked up: on a network's file system that names
        do not exist is remembered for a while, and what another machine has just done is missed.
        """
        if job.evaluation is None:
            folder, ending = self.run(job.row, job.seed).path, "summary.json"
        else:
            folder = self.evaluations(job.row, job.seed, job.evaluation)
            ending = f"-seed{job.seed}.json"
        try:
            return sorted(
                p for p in folder.iterdir() if p.name.endswith(ending) and p.name[0] != "."
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def finish(self, job: Job, summary: Mapping[str, Any]) -> None:
        """Note that a pretraining is done."""
        with atomic(self.run(job.row, job.seed).path / "summary.json") as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")

    def has_run(self, job: Job) -> bool:
        """Say whether the run of a pretraining that is done is here, with its weights.

        It is not where its results came from elsewhere.
        """
        run = self.run(job.row, job.seed)
        return self.done(job) and run.config.exists() and run.encoder.exists()

    def at_hand(self, study: Study) -> set[str]:
        """Return the slugs of the pretrainings whose runs are here."""
        runs = (job for job in study.jobs() if job.evaluation is None)
        return {run.slug for run in runs if self.has_run(run)}

    def open_jobs(self, study: Study, failed: Container[str] = ()) -> list[Job]:
        """Return the jobs that are to be done, as the folder is now; see `Study.open_jobs`."""
        done = {job.slug for job in study.jobs() if self.done(job)}
        return study.open_jobs(done, self.at_hand(study), failed)

    def clear(self, job: Job) -> None:
        """Remove all that is here of a pretraining and its evaluations."""
        run = self.run(job.row, job.seed)
        with run.claimed():
            shutil.rmtree(run.path)

    def summary(self, job: Job) -> dict[str, Any]:
        """Return what was noted of a pretraining that is done; see `finish`."""
        return asdict(_read(self._files(job)[0], Done))

    def results(self, job: Job) -> list[Result]:
        """Return what an evaluation found: one result, or more if its meaning has changed since."""
        return [_read(path, Result) for path in self._files(job)]

    def manifest(self, job: Job) -> dict[str, Any] | None:
        """Return what `manifest.json` says of a pretraining that is done."""
        return self.run(job.row, job.seed).read_manifest() if self.done(job) else None

    def seconds(self, job: Job) -> float | None:
        """Return how long a job took, if it is done."""
        if not (files := self._files(job)):
            return None
        if job.evaluation is None:
            return _read(files[0], Done).seconds
        return _read(files[0], Result).seconds

    def took(self, study: Study) -> dict[str, float]:
        """Return the seconds that each job took that is done, by its slug."""
        seconds = {job.slug: self.seconds(job) for job in study.jobs()}
        return {name: known for name, known in seconds.items() if known is not None}

    def check(self, study: Study) -> None:
        """Refuse a folder in which a file that says that a job is done cannot be read.

        Raises:
            UserError: with the file, and what is wrong in it.
        """
        self.took(study)

    # Who works on what ----------------------------------------------------------------------

    def lock(self, name: str) -> AbstractContextManager[bool]:
        """Return a lock that no two processes hold; it falls with the process that holds it."""
        return locked(self._lock(name))

    def _lock(self, name: str) -> Path:
        return self.jobs / f"{name}.lock"

    @contextmanager
    def claim(self, job: Job) -> Iterator[bool]:
        """Hold a job for the length of the block; yield False if someone else holds it."""
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self._lock(job.slug), give_up))
            except Held:
                yield False
                return
            yield True

    def error(self, job: Job) -> str | None:
        """Return why a job failed, if it did."""
        try:
            return self._failure(job).read_text().strip()
        except FileNotFoundError:
            return None

    def fail(self, job: Job, reason: str) -> None:
        """Note that a job failed, for all workers."""
        with atomic(self._failure(job)) as temporary:
            temporary.write_text(reason + "\n")

    def forget_failure(self, job: Job) -> None:
        """Let a job that failed be tried again."""
        self._failure(job).unlink(missing_ok=True)

    def _failure(self, job: Job) -> Path:
        return self.jobs / f"{job.slug}.failed"


@dataclass(frozen=True)
class Done:
    """What is noted of a pretraining that is done.

    Attributes:
        seconds: spent training.
        images_per_second: while training.
        results: see `seamask.training.report.Summary`.
    """

    seconds: Annotated[float, Within(0)]
    images_per_second: Annotated[float, Within(0)] = 0.0
    results: dict[str, Any] = field(default_factory=dict)


def _read(path: Path, kind: type[R]) -> R:
    try:
        return settings.record(kind, read_json(path), str(path))
    except UserError as error:
        reason = str(error).removeprefix(f"cannot read {path}: damaged: ")
        raise UserError(
            f"cannot read {path}: damaged; delete it to have it made again ({reason})"
        ) from error


def first_change(here: dict[str, Any], now: dict[str, Any], added_only: bool = True) -> str | None:
    """Name the first difference that would make results another study's.

    Args:
        here: the study whose results there are, resolved.
        now: the study that is asked for, resolved.
        added_only: it must have all that the other has.
    """
    if here["baseline"] != now["baseline"]:
        return f"its baseline is {here['baseline']}"
    missing = [str(seed) for seed in here["seeds"] if seed not in now["seeds"]]
    if missing and added_only:
        return f"it has seed {missing[0]} too"
    for part in ("methods", "evaluations"):
        for name, then in here[part].items():
            if name not in now[part]:
                if added_only:
                    return f"it has the {part[:-1]} {name} too"
                continue
            given = now[part][name]
            defaults, unused = (flat(Config()), ()) if part == "methods" else _of_task(given)
            then = with_new(then, defaults, given)
            for path in dict.fromkeys([*then, *given]):
                if path not in (*MAY_CHANGE, *unused) and then.get(path) != given.get(path):
                    return f"{name}: {path} is {then.get(path)}, not {given.get(path)}"
    return None


def with_new(
    then: Mapping[str, Any], defaults: Mapping[str, Any], named: Container[str]
) -> dict[str, Any]:
    """Return settings of before with those of `named` that are new since: at their defaults."""
    return {path: was for path, was in defaults.items() if path in named} | dict(then)


def _of_task(about: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the defaults of an evaluation, and which of its settings do not matter.

    Not among them those of its images, which are the pretraining's where nothing is said.
    """
    start = task_config(about["task"])
    given = {path: value for path, value in about.items() if path in flat(start)}
    defaults = {k: v for k, v in flat(start.resolved()).items() if not k.startswith("data.")}
    return defaults, settings.override(start, given).unused()
