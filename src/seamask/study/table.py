"""A study's table as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import fnmatch
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamask.base.files import atomic
from seamask.base.progress import duration
from seamask.base.statistics import paired, spread
from seamask.data.held_out import Seen, held_out_by_seed
from seamask.study.columns import Column, columns
from seamask.study.folder import StudyFolder
from seamask.study.grid import Published, Study, flat

GAP = "–"


@dataclass(frozen=True)
class Line:
    """A line of the table: a row's means, or what belongs to the row above it."""

    label: str
    cells: tuple[str, ...]
    main: bool = False


def write_tables(study: Study, folder: StudyFolder) -> None:
    """Write `table.md`, `table.csv` and `table.tex` from the results in the folder."""
    found = columns(study, folder)
    manifests = {
        (job.row, job.seed): manifest
        for job in study.jobs()
        if job.evaluation is None and (manifest := folder.manifest(job)) is not None
    }
    lines = table_lines(study, found)
    notes = _notes(study, found, manifests)
    _write(folder.table, _markdown(study, found, lines, manifests, notes))
    _write(folder.csv, _csv(study, found, manifests))
    _write(folder.latex, _latex(study, found, lines, notes))


Manifests = dict[tuple[str, int], dict[str, Any]]
"""What `manifest.json` says, by method and seed."""


def table_lines(study: Study, found: Sequence[Column]) -> list[Line]:
    """Return for each row its means, its differences to the baseline and the published numbers."""
    lines = []
    for row in study.rows:
        lines.append(Line(row, tuple(_mean(study, c, row) for c in found), main=True))
        if row != study.baseline:
            cells = tuple(_difference(study, column, row) for column in found)
            lines.append(Line(f"difference to {study.baseline}", cells))
        cells = tuple(_published(study, column, row) for column in found)
        if set(cells) != {GAP}:
            lines.append(Line("published (ours − published)", cells))
    return lines


def _mean(study: Study, column: Column, row: str) -> str:
    found = spread(list(column.values(row).values()))
    if found is None:
        return GAP
    text = column.number(found.mean)
    if found.std is not None:
        text += f" ± {column.number(found.std)}"
    return text + _count(found.n, study)


def _difference(study: Study, column: Column, row: str) -> str:
    found = paired(column.values(row), column.values(study.baseline))
    if found is None:
        return GAP
    text = column.number(found.mean, sign=True)
    if found.half is not None:
        low, high = found.mean - found.half, found.mean + found.half
        text += f" [{column.number(low, sign=True)}, {column.number(high, sign=True)}]"
    return text + _count(found.n, study)


def _published(study: Study, column: Column, row: str) -> str:
    mean, std = _published_number(study, column, row)
    if mean is None:
        return GAP
    text = column.number(mean) + (f" ± {column.number(std)}" if std is not None else "")
    ours = spread(list(column.values(row).values()))
    return text + (f" ({column.number(ours.mean - mean, sign=True)})" if ours else "")


def _published_number(study: Study, column: Column, row: str) -> Published | tuple[None, None]:
    if column.metric != column.main_metric:
        return None, None
    return study.published.get(column.evaluation.title, {}).get(row, (None, None))


def _count(n: int, study: Study) -> str:
    return f" (n = {n})" if n != len(study.seeds) else ""


# What is said under the table -------------------------------------------------------------------


def _legend(study: Study) -> str:
    seeds = ", ".join(map(str, study.seeds))
    several = len(study.seeds) > 1
    text = (
        f"Mean ± sample standard deviation over seeds {seeds}. " if several else f"Seed {seeds}. "
    )
    if len(study.rows) > 1:
        text += f"Differences to {study.baseline} are paired by seed" + (
            ", in brackets their 95 % confidence interval (Student's t). " if several else ". "
        )
    if study.source and any(study.published.values()):
        text += f"Published: {study.source}. "
    return text.rstrip()


def _notes(study: Study, found: Sequence[Column], manifests: Manifests) -> list[str]:
    """Say what a reader could be misled by."""
    notes = []
    expected = [
        (row, seed, title)
        for title, evaluation in study.evaluations.items()
        for row in study.rows
        for seed in study.seeds
        if study.has(row, evaluation)
    ]
    present = {
        (row, seed, c.evaluation.title)
        for c in found
        for row in c.results
        for seed in c.results[row]
    }
    if gaps := len(expected) - len(present):
        notes.append(f"{gaps} of {len(expected)} results are missing.")
    for title, evaluation in study.evaluations.items():
        of_title = [column for column in found if column.evaluation.title == title]
        has = dict.fromkeys(metric for column in of_title for metric in column.known())
        for metric in evaluation.metrics if has else ():
            if not fnmatch.filter(has, metric):
                notes.append(f"{title} has no metric {metric}: it has {', '.join(has)}.")
        parts: dict[int, str] = {}  # columns of the same results are one part, named by its first
        for column in of_title:
            parts.setdefault(id(column.results), column.title)
        if len(parts) > 1:
            notes.append(
                f"Results of {title} differ in protocol or images and are kept apart: "
                f"{', '.join(parts.values())}."
            )
    return notes + _notes_on_pretraining(study, manifests)


def _notes_on_pretraining(study: Study, manifests: Manifests) -> list[str]:
    """Say in what runs differ that their settings do not say."""
    notes = []
    for row in study.methods:
        data = [Seen.of(seed, m["data"]) for (name, seed), m in manifests.items() if name == row]
        if len({one.fingerprint for one in data}) > 1 and not held_out_by_seed(data):
            notes.append(f"{row} was pretrained on images that changed between its seeds.")
    alike: dict[str, set[str]] = defaultdict(set)
    asked: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (row, seed), m in manifests.items():
        config = study.methods[row]
        of_images = {n: v for n, v in flat(config).items() if n.startswith("data.")}
        key = json.dumps([seed, config.image_size, of_images], sort_keys=True)
        alike[key].add(m["data"]["fingerprint"])
        if "precision" in m:  # not noted before
            asked[config.precision][m["precision"]].append(f"{row} (seed {seed})")
        if abs(m["epochs_done"] - config.epochs) > 0.5:
            notes.append(
                f"{row}, seed {seed}, has been trained for {m['epochs_done']:g} epochs, not "
                f"{config.epochs}: what was found of it before may be of other weights."
            )
    if any(len(marks) > 1 for marks in alike.values()):
        notes.append("Methods were pretrained on different images with the same seed and settings.")
    for found in asked.values():
        if len(found) > 1:
            said = "; ".join(f"{name}: {', '.join(runs)}" for name, runs in found.items())
            notes.append(f"Runs were trained in different precisions, {said}: set --precision.")
    return notes


def _provenance(found: Sequence[Column], manifests: Manifests) -> list[str]:
    results = [r for c in found for by_seed in c.results.values() for r in by_seed.values()]
    commits = {str(m["commit"]) for m in manifests.values()} | {r.commit for r in results}
    machines = {str(m["machine"]) for m in manifests.values()} | {r.machine for r in results}
    # The machine of an evaluation is its processor, which that of a pretraining begins with.
    longest = {m for m in machines if not any(o != m and o.startswith(m) for o in machines)}
    return [
        f"{name}{'s' * (len(values) > 1)}: {'; '.join(sorted(values)) or GAP}"
        for name, values in (("Commit", commits), ("Machine", longest))
    ]


# Markdown ---------------------------------------------------------------------------------------


def _markdown(
    study: Study,
    found: Sequence[Column],
    lines: Sequence[Line],
    manifests: Manifests,
    notes: Sequence[str],
) -> str:
    rows = [[f"**{_cell(n.label)}**" if n.main else _cell(n.label), *n.cells] for n in lines]
    parts = [
        f"# {study.title}",
        _markdown_table(["", *(_cell(column.title) for column in found)], rows),
        _legend(study),
        *(f"**Note**: {note}" for note in notes),
        "## Protocols",
        "\n".join(f"- **{c.title}**: {c.protocol()}" for c in found),
        "## Pretraining",
        _markdown_table(
            ["", "recipe", "data", "images", "epochs", "images seen", "wall-clock"],
            [_pretraining(study, row, manifests) for row in study.methods],
        ),
        "\n".join(f"- {line}" for line in _provenance(found, manifests)),
        "Every setting is in `study.yaml`; every number with where it comes from in `table.csv`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _pretraining(study: Study, row: str, manifests: Manifests) -> list[str]:
    of_row = [manifest for (name, _), manifest in manifests.items() if name == row]
    time = spread([float(m["seconds"]) for m in of_row])
    wall = GAP if time is None else duration(time.mean)
    if time is not None and time.std is not None:
        wall += f" ± {duration(time.std)}"

    def one(values: Iterable[Any]) -> str:
        return ", ".join(dict.fromkeys(f"{v:,}" if isinstance(v, int) else f"{v}" for v in values))

    return [
        _cell(row),
        study.methods[row].recipe,
        one(m["data"]["name"] for m in of_row) or GAP,
        one(m["data"]["images"] for m in of_row) or GAP,
        one(f"{m['epochs_done']:g}" for m in of_row) or GAP,
        one(m["images_seen"] for m in of_row) or GAP,
        wall,
    ]


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# CSV --------------------------------------------------------------------------------------------


def _csv(study: Study, found: Sequence[Column], manifests: Manifests) -> str:
    """Write one line per row, column and seed, with all that its number comes from."""
    lines = [
        {
            "method": row,
            "column": column.title,
            "seed": seed,
            "metric": column.metric,
            "value": result.metrics[column.metric],
            "metrics": json.dumps(result.metrics),
            **_published_fields(study, column, row),
            "task": result.task,
            "data": result.data,
            "images": result.fingerprint,
            "protocol": json.dumps(result.protocol),
            "seconds": result.seconds,
            "commit": result.commit,
            "machine": result.machine,
            **_pretraining_fields(manifests.get((row, seed))),
        }
        for column in found
        for row in study.rows
        for seed, result in sorted(column.results.get(row, {}).items())
        if column.metric in result.metrics
    ]
    text = io.StringIO()
    if lines:
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()


def _published_fields(study: Study, column: Column, row: str) -> dict[str, Any]:
    mean, std = _published_number(study, column, row)
    return {"published_mean": mean, "published_std": std}


def _pretraining_fields(manifest: dict[str, Any] | None) -> dict[str, Any]:
    """Return fields of the pretraining, empty for the untrained row."""
    m = manifest or {"data": {}}
    return {
        "pretraining_recipe": m.get("recipe"),
        "pretraining_data": m["data"].get("name"),
        "pretraining_images": m["data"].get("fingerprint"),
        "pretraining_epochs": m.get("epochs_done"),
        "pretraining_precision": m.get("precision"),
        "images_seen": m.get("images_seen", 0),
        "pretraining_seconds": m.get("seconds", 0.0),
        "pretraining_commit": m.get("commit"),
        "pretraining_machine": m.get("machine"),
    }


# LaTeX ------------------------------------------------------------------------------------------


def _latex(
    study: Study, found: Sequence[Column], lines: Sequence[Line], notes: Sequence[str]
) -> str:
    """Write a `tabular` with booktabs' rules; what is said under the table is in comments."""
    body = []
    for index, line in enumerate(lines):
        if line.main and index:
            body.append(r"\addlinespace")
        label = escape(line.label)
        label = label if line.main else rf"\quad {{\small {label}}}"
        cells = [
            escape(cell) if line.main else rf"{{\small {escape(cell)}}}" for cell in line.cells
        ]
        body.append(" & ".join([label, *cells]) + r" \\")
    comments = [
        study.title,
        _legend(study),
        *notes,
        *(f"{column.title}: {column.protocol()}" for column in found),
    ]
    parts = [
        *(f"% {comment}" for comment in comments),
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'c' * len(found)}}}",
        r"\toprule",
        " & ".join(["", *(escape(column.title) for column in found)]) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(parts) + "\n"


_ESCAPES = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "±": r"$\pm$", "−": "$-$", "+": "$+$", "–": "--", "×": r"$\times$",
    }
)  # fmt: skip


def escape(text: str) -> str:
    """Return text as LaTeX shows it."""
    return text.translate(_ESCAPES)


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text)
