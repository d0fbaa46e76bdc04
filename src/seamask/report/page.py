"""The page: what was read, put into the template, with everything inside."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

import seamask
from seamask.base import settings
from seamask.base.files import atomic
from seamask.base.progress import amount, duration
from seamask.plugins import command
from seamask.report import pictures, words
from seamask.report.command import changed, command_of
from seamask.report.plots import plot
from seamask.report.reading import Told, read_run
from seamask.show.curves import PENALTIES, SHARES, panels

FRAMES = 32  # epochs on a page, of all runs together


def write_report(run: str | os.PathLike[str]) -> Path:
    """Write the report of one run into its folder; return its path.

    Raises:
        UserError: no run there, or a file that cannot be written.
    """
    told = read_run(os.fspath(run), FRAMES)
    return save(render_run(told), told.folder.report)


def save(page: str, path: Path) -> Path:
    """Write a page, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(page, "utf-8")
    return path


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
        evaluations=run.evaluations,
        compare=_how_to_compare(run),
        changed=[
            (p, settings.plain(was), settings.plain(now)) for p, was, now in changed(run.config)
        ],
        facts=_facts(run),
        skipped=(manifest.get("data") or {}).get("skipped") or [],
        command=command_of(run.config, run.folder.path),
        load=manifest.get("load", ""),
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
    budget = run.config.masks.budget
    asked = run.learned and run.config.masks.masker != "simultaneous" and budget.of != "superpixels"
    target = [(0.0, budget.at(0)), (_end(run), budget.at(_done(run)))] if asked else []
    return [
        plot(
            panel.title,
            panel.curves,
            target if panel.title == SHARES else (),
            asinh=panel.title == PENALTIES,
        )
        for panel in panels(run.lines, paid)
    ]


def _done(run: Told) -> float:
    return min(1.0, _end(run) / (run.steps_per_epoch * run.config.epochs))


def _how_to_compare(run: Told) -> str:
    """Return the command after which masks stand beside clusters of colours, if it is of use."""
    scores = words.object_scores(run)
    if scores is None or words.COLOUR in scores:
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
