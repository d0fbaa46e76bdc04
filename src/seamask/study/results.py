"""What a study has found, as one file: it travels without weights, to go on on another machine.

A line a finished job, JSON; the first line is the study, every setting resolved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seamask.base import settings
from seamask.base.documents import parse_json
from seamask.base.errors import UserError
from seamask.base.files import atomic, cannot_write, lock_of, make_folder
from seamask.base.locks import locked
from seamask.base.paths import slug
from seamask.evaluate import Result
from seamask.study.folder import Done, StudyFolder, first_change
from seamask.study.grid import Job, Study

HERE_ONLY = ("data.root", "data.cache", "data.objects")  # paths of one machine


def write_results(study: Study, folder: StudyFolder, path: Path) -> None:
    """Write what is done to `path`; lines of seeds that are not asked for now stay.

    Raises:
        UserError: the file is there and cannot be read, or it cannot be written.
    """
    with ExitStack() as stack:
        try:
            make_folder(path.parent)
            stack.enter_context(locked(lock_of(path)))  # two folders may share a file
        except OSError as error:
            raise cannot_write(path, error) from error
        _, lines = _read(path) if path.exists() else ({}, {})
        known = {_without_seed(job.slug) for job in study.jobs()}
        lines = {name: line for name, line in lines.items() if _without_seed(name) in known}
        for job in study.jobs():
            if folder.done(job):
                lines[job.slug] = _pack(study, folder, job)
            elif job.needs is not None and folder.has_run(job.needs):
                lines.pop(job.slug, None)  # it is of an encoder from before
        texts = [json.dumps({"study": _portable(study.resolved())}, ensure_ascii=False)]
        texts += [json.dumps({"job": name, **line}) for name, line in lines.items()]
        with atomic(path) as temporary:
            temporary.write_text("\n".join(texts) + "\n")


def results_of(study: Study, folder: StudyFolder, path: Path) -> dict[str, dict[str, Any]]:
    """Return {slug: what it found} of jobs that `path` says are done and the folder has not.

    A run that was begun here goes on here: neither it nor its evaluations are among them.

    Raises:
        UserError: the file cannot be read, or is of another study.
    """
    if not path.exists():
        return {}
    header, lines = _read(path)
    changed = first_change(header, _portable(study.resolved()), added_only=False)
    if changed:
        raise UserError(f"--results {path}: holds another study ({changed}); name another file")
    return {
        job.slug: lines[job.slug]
        for job in study.jobs()
        if job.slug in lines
        and not folder.run(job.row, job.seed).config.exists()
        and not folder.done(job)
    }


def seconds_of(name: str, line: Mapping[str, Any], path: Path) -> float:
    """Return how long the job of a line took, in seconds.

    Raises:
        UserError: the line is damaged.
    """
    with _reading(path, name):
        if "summary" in line:
            return settings.record(Done, line["summary"], f"the summary of {name}").seconds
        return settings.record(Result, line["results"][0], f"the result of {name}").seconds


def read_results(study: Study, folder: StudyFolder, path: Path) -> int:
    """Put into the folder what `results_of` finds; return how many jobs.

    Raises:
        UserError: the file cannot be read, is of another study, or damaged.
    """
    found = results_of(study, folder, path)
    taken = 0
    for job in study.jobs():
        if job.slug not in found:
            continue
        with folder.claim(Job(job.row, job.seed)) as ours:
            if not ours:  # another worker trains it again, and all that is known is of before
                continue
            with _reading(path, job.slug):
                _unpack(folder, job, found[job.slug])
            taken += 1
    return taken


@contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    """Say of which line it is that a part is missing, or is of another kind."""
    try:
        yield
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(f"cannot read {path}: the line of {name} is damaged") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the study, and what is said of each job."""
    try:
        texts = path.read_text("utf-8").splitlines()
        first, *rest = [
            parse_json(text, f"{path}: line {n}") for n, text in enumerate(texts, start=1)
        ]
        return first["study"], {line.pop("job"): line for line in rest}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as error:
        more = f" ({error})" if isinstance(error, UserError) else ""
        raise UserError(
            f"cannot read {path}: not the results of a study, or damaged{more}"
        ) from error


def _portable(resolved: dict[str, Any]) -> dict[str, Any]:
    """Return a study without what is of one machine: of data in a folder, its last name stays."""

    def portable(path: str, value: Any) -> Any:
        return Path(value).name if path == "data.source" else value

    kept = dict(resolved)
    for part in ("methods", "evaluations"):
        kept[part] = {
            name: {p: portable(p, value) for p, value in about.items() if p not in HERE_ONLY}
            for name, about in resolved[part].items()
        }
    return kept


def _without_seed(name: str) -> str:
    return re.sub(r"\.seed\d+", "", name, count=1)


def _pack(study: Study, folder: StudyFolder, job: Job) -> dict[str, Any]:
    if job.evaluation is not None:
        encoder = f"{slug(job.row)}/seed{job.seed}"
        return {
            "results": [
                {**asdict(result), "encoder": encoder, "file": None, "figure": None}
                for result in folder.results(job)
            ]
        }
    run = folder.run(job.row, job.seed)
    batch = study.methods[job.row].batch_size
    return {
        "summary": folder.summary(job),
        "manifest": run.read_manifest(),
        "metrics": list(_thinned(run.read_metrics(), batch)),
    }


def _unpack(folder: StudyFolder, job: Job, line: Mapping[str, Any]) -> None:
    run = folder.run(job.row, job.seed)
    run.path.mkdir(parents=True, exist_ok=True)
    if job.evaluation is not None:
        where = folder.evaluations(job.row, job.seed, job.evaluation)
        for about in line["results"]:
            result = settings.record(Result, about, f"the result of {job}")
            with atomic(where / f"{result.name}.json") as temporary:
                temporary.write_text(result.to_json() + "\n")
        return
    run.write_manifest(line["manifest"])
    with atomic(run.metrics) as temporary:
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in line["metrics"]))
    settings.record(Done, line["summary"], f"the summary of {job}")
    folder.finish(job, line["summary"])  # last: it says that all is there


def _thinned(lines: Sequence[Mapping[str, Any]], batch_size: int) -> Iterator[dict[str, Any]]:
    """Yield the probes of a log, and before each the last line of training, its rate that since.

    So the curves against epochs and wall-clock are what they were.
    """
    step, seconds, last = 0, 0.0, None
    start = 0
    for index, line in enumerate(lines):
        if "images_per_second" in line:
            seconds += (line["step"] - step) * batch_size / line["images_per_second"]
            step, last = line["step"], line
        if last is not None and ("images_per_second" not in line or index == len(lines) - 1):
            rate = (step - start) * batch_size / max(seconds, 1e-9)
            yield _rounded({**last, "images_per_second": rate})
            start, seconds, last = step, 0.0, None
        if "images_per_second" not in line:
            yield dict(line)


def _rounded(line: Mapping[str, Any]) -> dict[str, Any]:
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in line.items()}
