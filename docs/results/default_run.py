"""Make what README shows of the default run: its picture, its numbers, its row of the table.

python docs/results/default_run.py          # 7 to 20 minutes on two idle cores, then README
python docs/results/default_run.py --text   # README again, from what was measured last

Runs that are finished in --runs are not repeated. `tests/test_readme.py` compares what README shows
with `default_run.json`, and the recipes and losses in there with those of today.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import shutil
import statistics
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from seamask.base.documents import read_json
from seamask.base.settings import to_dict
from seamask.recipes import DEFAULT, recipe_config
from seamask.report.troubles import asked
from seamask.runs import RunFolder
from seamask.terminal import print_summary
from seamask.training import pretrain
from seamask.training.report import Summary

ROOT = Path(__file__).parents[2]
MEASURED = Path(__file__).with_suffix(".json")
PICTURE = ROOT / "docs/masks.png"
README = ROOT / "README.md"
LOSSES = ROOT / "tests/training/golden_losses.json"
RECIPES = ("shapes-simclr", DEFAULT)
SEEDS = (0, 1, 2)
PROBES = ("probe/knn", "probe/linear")
ROW = "| built-in scenes, {epochs} epochs (the default run), {seeds} seeds |"


def main() -> None:
    """Measure unless that was done, then write README."""
    parser = argparse.ArgumentParser(description="Make what README shows of the default run.")
    parser.add_argument("--text", action="store_true", help="train nothing, write README alone")
    parser.add_argument("--runs", type=Path, default=Path("runs/default-run"))
    given = parser.parse_args()
    if not given.text:
        measure(given.runs)
    measured = read_json(MEASURED)
    text = README.read_text()
    text = re.sub(r"```text\ntrained in .*?```\n", lambda _: block(measured), text, flags=re.DOTALL)
    head = row(measured).partition(" | ")[0]
    text = re.sub(rf"{re.escape(head)} \|.*", lambda _: row(measured), text)
    README.write_text(text)


def measure(runs: Path) -> None:
    """Train what is missing; write the picture, and the numbers beside what they were made with."""
    found = []
    for recipe in RECIPES:
        for seed in SEEDS:
            folder = RunFolder(runs / f"{recipe}-{seed}")
            if not (folder.manifest.exists() and folder.read_manifest()["results"]):
                pretrain(recipe=recipe, seed=seed, out=folder.path, overwrite=True)
            manifest = folder.read_manifest()
            about = {n: manifest[n] for n in ("commit", "machine", "seconds", "results")}
            threads = folder.read_config().threads
            found.append({"recipe": recipe, "seed": seed, "threads": threads, **about})
    pictures = RunFolder(runs / f"{DEFAULT}-{SEEDS[0]}").masks.glob("*.png")
    shutil.copy(max(pictures), PICTURE)
    losses = read_json(LOSSES)
    measured = {
        "settings": {recipe: to_dict(recipe_config(recipe)) for recipe in RECIPES},
        "picture": digest(PICTURE),
        "losses": {recipe: losses[recipe] for recipe in RECIPES},
        "runs": found,
    }
    MEASURED.write_text(json.dumps(measured, indent=1, allow_nan=False) + "\n")


def digest(file: Path) -> str:
    """Return the sha256 of a file, in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def block(measured: dict[str, Any]) -> str:
    """Return what the default run says in the end, up to what masks remove, as README has it."""
    (run,) = (r for r in measured["runs"] if (r["recipe"], r["seed"]) == (DEFAULT, SEEDS[0]))
    config = recipe_config(DEFAULT)
    images = config.epochs * (config.data.shapes_train // config.batch_size) * config.batch_size
    said = io.StringIO()
    with redirect_stdout(said):
        print_summary(
            Summary(
                folder=Path(),
                seconds=run["seconds"],
                images_per_second=images / run["seconds"],
                backbone=config.encoder.backbone,
                results=run["results"],
                skipped=(),
                load="",
                held_out=config.data.shapes_test,
                asked=asked(config),
            )
        )
    shown = said.getvalue().strip().partition("  effective rank")[0]
    return f"```text\n{shown.rstrip()}\n```\n"


def row(measured: dict[str, Any]) -> str:
    """Return the row of README's table."""

    def of(prefix: str, recipe: str) -> str:
        runs = [r["results"] for r in measured["runs"] if r["recipe"] == recipe]
        return " / ".join(spread(r[prefix + name] for r in runs) for name in PROBES)

    head = ROW.format(epochs=recipe_config(DEFAULT).epochs, seeds=len(SEEDS))
    cells = [of("untrained/", DEFAULT), *(of("", recipe) for recipe in RECIPES)]
    return f"{head} {' | '.join(cells)} |"


def spread(values: Iterable[float]) -> str:
    """Return mean ± standard deviation."""
    known = list(values)
    return f"{statistics.mean(known):.1f} ± {statistics.stdev(known):.1f}"


if __name__ == "__main__":
    main()
