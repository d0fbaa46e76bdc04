"""What the benchmarks share: their options, the machine, and one row of the table each or more.

Every file here runs alone (`python benchmarks/startup.py --help`); `run.py` makes the whole table.
Nothing is asserted: a machine that does something else meanwhile changes a figure, and ratios of
what was measured in turns in one run are what is compared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from seamask.base.devices import torch_device
from seamask.base.provenance import PACKAGES, provenance
from seamask.base.settings import override
from seamask.config import Config
from seamask.recipes import policies, recipe_config
from seamask.recipes.sourced import value_of
from seamask.training.workload import Workload

LIGHT = {name: value_of(given) for name, given in policies.LIGHT.items()}  # of `-seamask` recipes


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        what: is measured.
        goal: in words.
        measured: in words, medians.
        reached: whether the goal is; None where there is none.
    """

    what: str
    goal: str
    measured: str
    reached: bool | None

    def markdown(self) -> str:
        mark = {True: "yes", False: "no", None: "–"}[self.reached]
        return f"| {self.what} | {self.goal} | {self.measured} | {mark} |"


HEAD = "| what | goal | measured | reached |\n|---|---|---|---|"


def machine(device: torch.device) -> str:
    """Return one line: machine, threads, versions, commit."""
    found = provenance()
    versions = found["versions"]
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
    shown = ", ".join(f"{name} {versions[name]}" for name in ("python", *PACKAGES))
    return f"{found['machine']}{threads}; {shown}; commit {found['commit'][:12]}"


def benchmark(about: str, measure: Callable[[argparse.Namespace], list[Row]], **defaults) -> None:
    """Parse options, measure, print rows.

    Args:
        about: first line of the help.
        measure: given the options, which hold `device` as a torch device.
        **defaults: values of the common options; `extra`, if given, adds options to the parser.
    """
    parser = argparse.ArgumentParser(
        description=about.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    extra = defaults.pop("extra", None)
    parser.add_argument("--size", type=int, nargs="+", default=[64], help="sides in pixels")
    parser.add_argument("--batch", type=int, default=64, help="images")
    parser.add_argument("--rounds", type=int, default=5, help="at most, after a warm-up")
    parser.add_argument("--threads", type=int, default=0, help="on a CPU; 0: the free cores")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    if extra is not None:
        extra(parser)
    parser.set_defaults(**defaults)
    options = parser.parse_args()
    options.device = torch_device(options.device, options.threads)
    where = machine(options.device)
    print(where, flush=True)
    rows = measure(options)
    print(f"\n{HEAD}")
    for row in rows:
        print(row.markdown())
    if options.json:
        text = json.dumps({"machine": where, "rows": [asdict(row) for row in rows]}, indent=2)
        options.json.write_text(text)


def recipe(options: argparse.Namespace, size: int, **changed: object) -> Config:
    """Return the paper's settings for ResNet-18 and N = 4 at a size, with some changed."""
    settings = {"image_size": size, "batch_size": options.batch, "n_masks": 4}
    settings |= {"precision": options.precision}
    return override(recipe_config("imagenet100s-sequential"), {**settings, **changed})


def whole_cycle(work: Workload) -> Callable[[], object]:
    """Return as many steps as masks have one move in."""
    return lambda: [work.step() for _ in range(work.config.masks.every)]
