"""The page: what was read, put into the template, with everything inside."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

import seamask
from seamask.base import settings
from seamask.base.errors import UserError, printable
from seamask.base.files import atomic
from seamask.base.paths import local
from seamask.base.progress import amount, duration
from seamask.plugins import command
from seamask.report import pictures, words
from seamask.report.command import changed, command_of
from seamask.report.comparing import (
    Group,
    differing,
    groups_of,
    is_study,
    plots,
    table,
    title_of,
)
from seamask.report.measured import columns_of, measured
from seamask.report.plots import plot
from seamask.report.reading import Told, read_run
from seamask.report.troubles import asked_until
from seamask.show.curves import PENALTIES, SHARES, panels

FRAMES = 32  # epochs on the page of a run
FEWER_FRAMES = 12  # of each, where there are several
MOST_RUNS = 16  # whose masks stand side by side


def write_report(
    *paths: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, refresh: int = 0
) -> Path:
    """Write the report of a run, or of several beside each other; return its path.

    Args:
        paths: folders of runs and of studies.
        out: the file; None: `report.html` in the folder, or, of several, where we are.
        refresh: seconds after which a browser reads it anew; 0: never.

    Raises:
        UserError: no run there, or a file that cannot be written.
    """
    path = where(paths, out)
    first = local(paths[0])
    if len(paths) == 1 and not is_study(first):
        page = render_run(read_run(first, FRAMES), refresh)
    else:
        page = render_runs(list(map(local, paths)), refresh)
    with atomic(path) as temporary:
        temporary.write_text(page, "utf-8", "backslashreplace")  # names of files may be no text
    return path


def where(
    paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] | None = None
) -> Path:
    """Return where the report of some runs goes; see `write_report`."""
    if out is not None:
        return local(out, "--out")
    return (local(paths[0]) if len(paths) == 1 else Path()) / "report.html"


def render_runs(paths: Sequence[Path], refresh: int = 0) -> str:
    """Return the page of several runs.

    Args:
        paths: folders of runs and of studies.
        refresh: see `render_run`.

    Raises:
        UserError: no run there.
    """
    groups = groups_of(paths, FEWER_FRAMES)
    trained = [group for group in groups if group.runs]
    if not trained:
        raise UserError(f"{', '.join(map(printable, paths))}: no run here has begun")
    columns, lines = table(groups)
    data = {
        "runs": _side_by_side(trained),
        "embedding": None,
        "stepsPerEpoch": 1,  # curves are against epochs
        "plots": plots(trained),
    }
    runs = [(group.name, seed, run) for group in trained for seed, run in group.runs.items()]
    names = ", ".join(group.name for group in groups)
    return template("runs.html").render(
        title=title_of(paths[0]) if len(paths) == 1 else names,
        version=seamask.__version__,
        refresh=refresh,
        about=_how_many(groups),
        columns=columns,
        lines=lines,
        baseline=groups[0].name,
        several=any(len(group.runs) + len(group.elsewhere) > 1 for group in groups),
        trained=[group.name for group in trained],
        differing=differing(groups),
        runs=[
            (name, seed, printable(run.folder.path), words.verdict(run), words.warnings(run))
            for name, seed, run in runs
        ],
        data=data,
    )


def _how_many(groups: Sequence[Group]) -> str:
    """Say how many methods and runs there are; of a study, also how many runs are elsewhere."""
    methods = [group for group in groups if group.trained]
    runs = sum(len(group.runs) for group in methods)
    elsewhere = sum(len(group.elsewhere) for group in methods)
    about = f"{amount(len(methods), 'method')}, {amount(runs, 'run')}"
    return about + (f", and the results of {elsewhere} more" if elsewhere else "")


def _side_by_side(trained: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the first run of each group whose recorded images are those of the first."""
    firsts = [(group.name, next(iter(group.runs.values()))) for group in trained]
    images = [(n, run, run.images) for n, run in firsts if run.images is not None and run.epochs]
    same = [(name, run) for name, run, shown in images if np.array_equal(shown, images[0][2])]
    found = [{"name": name, **pictures.shown_masks(run)} for name, run in same[:MOST_RUNS]]
    return [run for run in found if run["masks"]]


def render_run(run: Told, refresh: int = 0) -> str:
    """Return the page of one run.

    Args:
        run: that it is of.
        refresh: seconds after which a browser reads it anew; 0: never.
    """
    masks = pictures.shown_masks(run)
    data = {
        "runs": [{"name": run.folder.path.name, **masks}],
        "embedding": pictures.embedding(run),
        "stepsPerEpoch": run.steps_per_epoch,
        "plots": _plots(run),
    }
    manifest = run.manifest
    return template("run.html").render(
        title=run.folder.path.resolve().name,
        version=seamask.__version__,
        refresh=refresh,
        about=_about(run),
        verdict=words.verdict(run),
        warnings=words.warnings(run),
        scores=words.scores_table(run),
        signs=words.signs_table(run.results),
        evaluations=_evaluations(run),
        compare=_how_to_compare(run),
        changed=[
            (p, settings.plain(was), settings.plain(now)) for p, was, now in changed(run.config)
        ],
        facts=_facts(run),
        skipped=(manifest.get("data") or {}).get("skipped") or [],
        command=command_of(run.config, run.folder.path),
        load=manifest.get("load", ""),
        masked=run.masked,
        learned=run.learned,
        mask_count=masks["masks"],
        data=data,
    )


@cache
def template(name: str) -> Template:
    """Return a template of this room; it may say nothing that it is not given."""
    loader = PackageLoader("seamask.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["inline"] = lambda file: Markup(loader.get_source(environment, file)[0])
    return environment.get_template(name)


def _end(run: Told) -> float:
    """Return the last step of the log."""
    return float(run.lines[-1]["step"]) if run.lines else 1.0


def _about(run: Told) -> str:
    data = run.manifest.get("data") or {}
    images = f"{data['images']:,} images of {data['name']}" if "images" in data else ""
    took = duration(run.manifest["seconds"]) if "seconds" in run.manifest else ""
    size = f"{run.config.image_size} px"
    epochs = amount(run.config.epochs, "epoch")
    return " · ".join(filter(None, [run.config.recipe, images, size, epochs, took]))


def _plots(run: Told) -> list[dict[str, Any]]:
    """Return the curves of a run, as the script draws them."""
    paid = [name for name, weight in vars(run.config.penalties).items() if weight]
    total = run.steps_per_epoch * run.config.epochs
    target = asked_until(run.config, _end(run), total) if run.learned else []
    return [
        plot(
            panel.title,
            panel.curves,
            _colours(panel.curves),
            target if panel.title == SHARES else (),
            asinh=panel.title == PENALTIES,
        )
        for panel in panels(run.lines, paid)
    ]


def _colours(labels: Collection[str]) -> dict[str, int]:
    """Return the number of each curve's colour: of a mask its own, as on all of the page."""
    found = {m: int(m.removeprefix("mask ")) - 1 for m in labels if m.startswith("mask ")}
    free = iter(sorted(set(range(len(labels))) - set(found.values())))
    return {label: found[label] if label in found else next(free) for label in labels}


def _evaluations(run: Told) -> list[tuple[str, int, str]]:
    """Return (what and by which protocol, seed, what was found) of each evaluation of a run."""
    found = [one for result in run.evaluations if (one := measured(result)) is not None]
    return [
        (name, one.seen.seed, f"{one.value:.4g}")
        for name, one in zip(columns_of(found), found, strict=True)
    ]


def _how_to_compare(run: Told) -> str:
    """Return the command after which masks stand beside clusters of colours, if it is of use."""
    _, scores = words.object_scores(run)
    if not scores or words.COLOUR in scores:
        return ""
    return command("evaluate", run.folder.path, "masks")


def _facts(run: Told) -> list[tuple[str, str]]:
    """Return what else there is to know of where a run comes from."""
    manifest, data = run.manifest, run.manifest.get("data") or {}
    held = data.get("held_out") or {}
    facts = [
        ("data", data.get("name", "")),
        ("training images", f"{data['images']:,}" if "images" in data else ""),
        ("held out", f"{held['images']:,} ({held['split']})" if held.get("images") else ""),
        ("fingerprint of the images", data.get("fingerprint", "")),
        *(("note", note) for note in data.get("notes") or []),
        ("encoder", manifest.get("backbone", "")),
        ("images seen", f"{manifest['images_seen']:,}" if "images_seen" in manifest else ""),
        ("training time", duration(manifest["seconds"]) if "seconds" in manifest else ""),
        ("machine", manifest.get("machine", "")),
        ("commit", manifest.get("commit", "")),
        *(manifest.get("versions") or {}).items(),
    ]
    return [(name, str(value)) for name, value in facts if value]
