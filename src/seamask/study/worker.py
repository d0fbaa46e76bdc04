"""Running a study: any number of workers on one folder, each job claimed by one of them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seamask.base.errors import UserError, unknown
from seamask.base.output import print_prose
from seamask.base.paths import check_writable
from seamask.base.progress import LOG_SECONDS, duration
from seamask.base.provenance import commit
from seamask.data import load
from seamask.evaluate import TASKS, evaluation
from seamask.study.columns import columns
from seamask.study.figure import write_figure
from seamask.study.folder import StudyFolder
from seamask.study.grid import Job, Study
from seamask.study.results import read_results, results_of, write_results
from seamask.study.table import write_tables
from seamask.training import Stopped, Summary, resume_run, start_run
from seamask.training.cluster import Place
from seamask.training.preflight import preflight

POLL = 1.0  # seconds between looks at what other workers do
SHOWN_JOBS = 3  # named in a line at most
ALONE = Place()  # workers share a study, also those that srun has started: no run


def run_study(study: Study, out: Path | str, results: Path | None = None) -> Path:
    """Run what is missing of a study and write its tables; share the work with other workers.

    Args:
        study: what to run.
        out: its folder, new or of the same study.
        results: a file of the results of finished jobs, which are not done again, kept up to date.

    Returns:
        The path of `table.md`.

    Raises:
        UserError: the folder is of another study; or, after everything else is done and the tables
            are written, jobs failed.
        Stopped: a signal came while pretraining.
    """
    for config in study.methods.values():
        preflight(config)
    if results is not None:
        check_writable(results, "--results", file=True)
    folder, taken = _open(study, out, results)
    if taken:
        print_prose(f"{taken} of {len(study.jobs())} jobs are done already, says {results}")
    check_data(study, folder)
    worker = Worker(study, folder, results)
    worker.work()
    worker.write()
    with folder.lock("table"):
        write_figure(study, folder)
    worker.check_failures()
    worker.check_metrics()
    return folder.table


def tabulate(study: Study, out: Path | str, results: Path | None = None) -> Path:
    """Write the tables and the figure of what is done so far; start nothing.

    Args:
        study: whose results they are.
        out: its folder, new or of the same study.
        results: a file of the results of finished jobs, of which the folder takes what it has not.

    Returns:
        The path of `table.md`.

    Raises:
        UserError: there is no such file of results; or it, or the folder, is of another study or
            cannot be read; or nothing is done.
    """
    if results is not None and not results.exists():
        raise UserError(f"--results {results}: no such file")
    folder = StudyFolder(out)
    begun = folder.study.exists()
    if not begun and (results is None or not results_of(study, folder, results)):
        raise UserError(
            f"--out {folder.path}: nothing of {study.name} is done there; run it without "
            "--table-only, or name --results"
        )
    folder, _ = _open(study, out, results)
    with folder.lock("table"):
        write_tables(study, folder)
        write_figure(study, folder)
    return folder.table


def _open(study: Study, out: Path | str, results: Path | None) -> tuple[StudyFolder, int]:
    """Open the study's folder; say how many jobs it has taken from the file of results."""
    folder = StudyFolder(out)
    folder.open(study)
    folder.check(study)
    if results is None:
        return folder, 0
    with folder.lock("table"):
        return folder, read_results(study, folder, results)


def check_data(study: Study, folder: StudyFolder) -> None:
    """Open the images of every job that is to be done, once: what is missing stops the study here.

    Raises:
        UserError: they are not there, or not what an evaluation needs.
    """
    seen = set()
    for job in folder.open_jobs(study):
        method = study.method(job.row)
        task, config = None, None
        data, size = method.data, method.image_size
        if job.evaluation is not None:
            task = TASKS[job.evaluation.task]
            config = job.evaluation.config(method, job.seed)
            config = replace(config, image_size=config.image_size or size)
            data, size = config.data, config.image_size
        key = (data, size, task.needs if task else ())
        if key in seen:
            continue
        seen.add(key)
        try:
            if task is not None and config is not None:
                evaluation.open_data(task, config)
            else:
                load(data, size, job.seed)
        except UserError as error:
            raise UserError(f"{job}: {error}") from error


class Worker:
    """One process that works on a study.

    Args:
        study: what to run.
        folder: of the study, opened.
        results: the file that results are also written to, if any.
    """

    def __init__(self, study: Study, folder: StudyFolder, results: Path | None = None) -> None:
        self.study, self.folder, self.results = study, folder, results
        commit()  # of the code that is in memory now
        self.jobs = study.jobs()
        for job in self.jobs:  # whoever starts again has mended something
            folder.forget_failure(job)
        self.last_line = -LOG_SECONDS

    def work(self) -> None:
        """Do jobs until none is open, waiting for those of others."""
        while still_open := self._open_jobs():
            if not any(self._try(job) for job in still_open):
                self._wait(still_open)

    def _open_jobs(self) -> list[Job]:
        """Return the jobs that are to be done, as the folder is now."""
        failed = {job.slug for job in self.jobs if self.folder.error(job) is not None}
        return self.folder.open_jobs(self.study, failed)

    def _try(self, job: Job) -> bool:
        """Do a job; return False if it is not its turn, or another worker's."""
        if job.needs is not None and not self.folder.has_run(job.needs):
            return False
        with self.folder.claim(job) as ours:
            if ours and job in self._open_jobs():  # else someone did it since we looked
                self._do(job)
            return ours

    def _do(self, job: Job) -> None:
        position = f"[{self.jobs.index(job) + 1}/{len(self.jobs)}]"
        print_prose(f"{position} {job}{self._work_left()}")
        try:
            if job.evaluation is None:
                self._pretrain(job)
            else:
                self._evaluate(job)
        except Stopped as stopped:
            kept = f"stopped in {job}; what is done is kept: start the same command again to go on"
            raise Stopped(stopped.signal_number, kept) from None
        except Exception as error:  # one job's mishap is not the others'
            if not isinstance(error, UserError):
                traceback.print_exc()
            if isinstance(error, evaluation.NotKept):  # the hours are not lost
                print(error.result.to_json(), flush=True)
            reason = str(error) if isinstance(error, UserError) else repr(error)
            self.folder.fail(job, reason)
            print_prose(f"{position} {job} failed: {reason}")
        self.write()

    def _pretrain(self, job: Job) -> None:
        """Train, from the last checkpoint if a killed worker left one."""
        run = self.folder.run(job.row, job.seed)
        if self.folder.done(job):  # elsewhere: evaluations that are made anew are of one encoder
            self.folder.clear(job)
        if run.latest_checkpoint() is not None:
            summary = resume_run(run.path, ALONE)
        else:
            config = self.study.methods[job.row]
            config = replace(config, seed=job.seed, out=str(run.path), overwrite=True)
            summary = start_run(config, ALONE)
        self.folder.finish(job, _plain(summary))

    def _evaluate(self, job: Job) -> None:
        assert job.evaluation is not None
        out = self.folder.evaluations(job.row, job.seed, job.evaluation)
        config = job.evaluation.config(self.study.method(job.row), job.seed, out)
        evaluation.run_evaluation(self.folder.encoder(job), job.evaluation.task, config)

    def _wait(self, jobs: Sequence[Job]) -> None:
        """Let the others work for a moment."""
        now = time.monotonic()
        if now - self.last_line >= LOG_SECONDS:
            self.last_line = now
            print_prose(f"waiting for other workers: {_some(jobs)}{self._work_left()}")
        time.sleep(POLL)

    def _work_left(self) -> str:
        """Estimate the time of the open jobs from those done, as far as there are any."""
        left = self.study.expected(self._open_jobs(), self.folder.took(self.study))
        known = [seconds for seconds in left if seconds is not None]
        if not known:
            return ""
        about = "about" if len(known) == len(left) else "at least"
        return f"; {about} {duration(sum(known))} of work left"

    def write(self) -> None:
        """Write the tables of what is there so far."""
        with self.folder.lock("table"):
            write_tables(self.study, self.folder)
            if self.results is not None:
                write_results(self.study, self.folder, self.results)

    def check_failures(self) -> None:
        """Refuse to call a study done in which jobs failed.

        Raises:
            UserError: they are named.
        """
        failed = [job for job in self.jobs if self.folder.error(job) is not None]
        if failed:
            kept = f"the table has gaps: {self.folder.table}; the same command tries again"
            raise UserError(
                f"{len(failed)} of {len(self.jobs)} jobs failed: {_some(failed)}; {kept}"
            )

    def check_metrics(self) -> None:
        """Refuse to call a study done of which a metric that is asked for was never found.

        Raises:
            UserError: it is named, with those that there are.
        """
        for column in columns(self.study, self.folder):
            known = sorted(set(column.known()))
            if known and column.metric not in known:
                raise UserError(
                    f"{unknown(f'metric of {column.evaluation.title!r}', column.metric, known)}; "
                    f"the rest is in {self.folder.table}"
                )


def _some(jobs: Sequence[Job]) -> str:
    named = "; ".join(map(str, jobs[:SHOWN_JOBS]))
    return named + (f" and {len(jobs) - SHOWN_JOBS} more" if len(jobs) > SHOWN_JOBS else "")


def _plain(summary: Summary) -> dict[str, object]:
    return {
        "seconds": summary.seconds,
        "images_per_second": summary.images_per_second,
        "results": summary.results,
    }
