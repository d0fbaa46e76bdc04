"""The columns of a study's table: only results that mean the same stand in one."""

from __future__ import annotations

import fnmatch
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from seamask.data.held_out import Seen, held_out_by_seed
from seamask.evaluate import TASKS, Result, task_config
from seamask.study.folder import StudyFolder, with_new
from seamask.study.grid import Evaluation, Job, Study, flat


@dataclass(frozen=True)
class Column:
    """One metric of one task, on the same images, by the same protocol.

    Attributes:
        title: of the evaluation, numbered if it fell into several columns, and of a metric that is
            not the task's main one.
        evaluation: that was asked for.
        results: {row: {seed: result}}.
        metric: that is shown.
        held_out_by_seed: each seed holds out other images of the same folder.
    """

    title: str
    evaluation: Evaluation
    results: Mapping[str, Mapping[int, Result]]
    metric: str = ""
    held_out_by_seed: bool = False

    @property
    def example(self) -> Result | None:
        """Any of its results: all agree in task, data and protocol (new: at its default)."""
        return next((r for by_seed in self.results.values() for r in by_seed.values()), None)

    @property
    def main_metric(self) -> str:
        """The task's main metric, which published numbers are of."""
        if self.example:
            return next(iter(self.example.metrics))
        return TASKS[self.evaluation.task].metrics[0].name

    @property
    def unit(self) -> str:
        """The unit of the metric that is shown, empty if it has none."""
        return TASKS[self.evaluation.task].unit(self.metric)

    def values(self, row: str) -> dict[int, float]:
        """Return {seed: metric} of a row, of the seeds that have it."""
        of_row = self.results.get(row, {})
        return {s: r.metrics[self.metric] for s, r in of_row.items() if self.metric in r.metrics}

    def known(self) -> list[str]:
        """Return the names of all metrics of its results."""
        return [name for by in self.results.values() for r in by.values() for name in r.metrics]

    def number(self, value: float, sign: bool = False) -> str:
        """Write a value, or a difference with its sign, with as many digits as it deserves."""
        digits = 2 if self.unit == "%" else 3
        return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")

    def protocol(self) -> str:
        """Say in words what the numbers are: all settings that are not the task's defaults.

        Among them what the task leaves to the protocol.
        """
        result = self.example
        if result is None:
            return "no result yet"
        defaults = flat(task_config(result.task))
        first = ("protocol", "image_size", "epochs")
        shown = [path for path in first if path in result.protocol]
        shown += [
            path
            for path, value in result.protocol.items()
            if path not in first and value != defaults.get(path)
        ]
        unit = f" in {self.unit}" if self.unit else ""
        words = [f"{path} {_words(result.protocol[path])}" for path in shown]
        results = [r for by in self.results.values() for r in by.values()]
        chance = {r.metrics.get(f"{self.metric}_chance") for r in results}
        if len(chance) == 1 and (same := chance.pop()) is not None:  # of these images
            words.append(f"chance {same:.4g}{unit.removeprefix(' in')}")
        marks = sorted({r.fingerprint[:8] for r in results})
        images = f"images {' '.join(marks)}"
        if self.held_out_by_seed:
            images += ", other ones held out for each seed"
        return "; ".join([f"{self.metric}{unit}, {result.task} on {result.data}", *words, images])


def columns(study: Study, folder: StudyFolder) -> list[Column]:
    """Read all results; an evaluation whose results differ in meaning gives several columns."""
    found: dict[str, list[tuple[Job, Result]]] = defaultdict(list)
    for job in study.jobs():
        if job.evaluation is not None:
            found[job.evaluation.title] += [(job, result) for result in folder.results(job)]
    return [
        column
        for evaluation in study.evaluations.values()
        for column in _split(evaluation, found[evaluation.title])
    ]


def _split(evaluation: Evaluation, found: list[tuple[Job, Result]]) -> list[Column]:
    """Sort results into columns by what they mean, the largest first."""
    by_seed = held_out_by_seed(_seen(job, result) for job, result in found)
    groups: dict[Any, dict[str, dict[int, Result]]] = defaultdict(lambda: defaultdict(dict))
    named = {setting for _, r in found for setting in r.protocol}
    defaults = flat(task_config(evaluation.task).resolved())
    for job, r in found:
        images = "" if by_seed else r.fingerprint
        protocol = json.dumps(with_new(r.protocol, defaults, named), sort_keys=True)
        key = r.task, r.data, protocol, next(iter(r.metrics)), images
        groups[key][job.row][job.seed] = r
    largest = sorted(groups.values(), key=lambda rows: -sum(map(len, rows.values())))
    titles = [evaluation.title] + [f"{evaluation.title} ({n})" for n in range(2, len(largest) + 1)]
    shown = []
    for title, rows in zip(titles, largest or [{}], strict=True):
        column = Column(title, evaluation, rows, held_out_by_seed=by_seed)
        main, known = column.main_metric, dict.fromkeys(column.known())
        asked = evaluation.metrics or (main,)
        # `coverage_*` is a column for each of them, and one that is empty where there is none.
        for metric in dict.fromkeys(m for a in asked for m in fnmatch.filter(known, a) or [a]):
            name = title if metric == main else f"{title}: {metric}"
            shown.append(replace(column, title=name, metric=metric))
    return shown


def _seen(job: Job, result: Result) -> Seen:
    return Seen.of(job.seed, {**vars(result), "name": result.data})


def _words(value: Any) -> str:
    return "–".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
