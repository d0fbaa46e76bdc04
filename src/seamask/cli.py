"""The command `seamask`: parse, call, print. Nothing here imports torch before it is needed."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import seamask
from seamask.base.errors import UserError, unknown
from seamask.plugins import take_plugins

if TYPE_CHECKING:
    from seamask.config import Config
    from seamask.evaluate import Result
    from seamask.training.launch import Summary
    from seamask.training.loop import Stopped

SHOWN_SKIPPED = 10  # unreadable images named at the end

HELP = """\
seamask: self-supervised visual pretraining with learned, sequential adversarial masks

    seamask pretrain                              pretrain on the built-in images
    seamask pretrain --data DIR --out runs/mine   pretrain on your own, labels not needed
    seamask pretrain RECIPE [--SETTING VALUE ...] start from a recipe and change settings
    seamask pretrain --config FILE                start from settings in a file (config.yaml)
    seamask resume RUN                            go on with a run that was stopped
    seamask masks RUN IMAGE ... [--out PNG]       draw the masks that a run learned, on any image
    seamask evaluate RUN TASK [--data DATA]       knn, linear, finetune, segment, masks, cluster
    seamask study NAME [--out DIR]                methods × seeds × evaluations: a table
    seamask data imagenet100s --imagenet DIR      make ImageNet100s from an ImageNet folder
    seamask bench [RECIPE] [--SETTING VALUE ...]  how fast it trains here, and what is faster
    seamask recipes                               list the recipes

    seamask pretrain [RECIPE] --help              every setting: default, unit, source
    seamask evaluate RUN TASK --help              the same of an evaluation
    seamask COMMAND --plugin FILE.py ...          add penalties, maskers, objectives, evaluations
    seamask --version
"""


EVALUATE_HELP = """\
seamask evaluate RUN TASK [--data DATA] [--SETTING VALUE ...]

RUN is a run's folder, a file encoder.safetensors that a run exported, a timm model with pretrained
weights, or untrained:MODEL or untrained:RUN (the same network before any training).

{tasks}

Without --data, the images of the run. Results are kept in evaluations/ in the run's folder; --json
prints one JSON object. `seamask evaluate RUN TASK --help` lists every setting.
"""


STUDY_USAGE = "seamask study NAME|FILE.yaml [--out DIR] [--seeds N] [--data DATA] [--SETTING VALUE]"
STUDY_HELP = f"""\
{STUDY_USAGE}

A study is a grid: methods × seeds × evaluations. What is missing in DIR (studies/NAME) is run, and
one table is written there as table.md, table.csv and table.tex, beside the published numbers, with
a figure of accuracy against epochs and time. Start the same command again to go on with a study
that was stopped, and any number of times at once, on one machine or several, to share the work.

    --seeds N                     how many seeds; the study's own number if not given
    --data DATA                   the data set of a study that leaves it open
    --results FILE                what finished jobs found, kept up to date; not done again,
                                  also where their weights are missing, on another machine
    --SETTING VALUE               a setting of every pretraining (`seamask pretrain --help`)
    --evaluations.SETTING VALUE   a setting of every evaluation (`seamask evaluate -h`)

A FILE.yaml has the form of src/seamask/study/studies/*.yaml; an evaluation in it may name `methods`
(the rows that have it) and `metrics` (a column for each, not the main one alone). Shipped:
"""


BENCH_HELP = """\
seamask bench [RECIPE] [--seconds 60] [--figure bench.png] [--SETTING VALUE ...]

Trains on random images for about a minute, with the settings that `seamask pretrain` would take,
and says how many images a second that is, where the time of a step goes, how far it is from the
time of its encoder passes alone, how much memory it takes, which settings would be faster (and what
they do to the training), and how long the whole run would be.

    --seconds S     to spend, about; with less, the batch that is measured is smaller
    --figure PNG    the same as bars
    --SETTING VALUE as for `seamask pretrain`
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit code 2 and one line for what a user can mend."""
    # Idle OpenMP threads spin for 0.1 ms instead of for ever: as fast on free cores, and several
    # times faster when something else takes one. It must be set before torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "100000")
    try:
        code = run(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"seamask: error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("seamask: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader of our output has gone
        code = 0
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    name, *rest = arguments
    if name == "--version":
        print(f"seamask {seamask.__version__}")
        return 0
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    return COMMANDS[name](take_plugins(rest))


def pretrain(arguments: list[str]) -> int:
    """`seamask pretrain [RECIPE] [--config FILE] [--SETTING VALUE ...]`."""
    config = parse_pretrain(arguments)
    if config is None:
        return 0
    from seamask.training import start
    from seamask.training.loop import Stopped

    try:
        summary = start(config)
    except Stopped as stopped:
        return _stopped(stopped)
    _print_summary(summary)
    return 0


def parse_pretrain(arguments: list[str]) -> Config | None:
    """Return the `Config` that arguments ask for, or None after printing the help."""
    from seamask.base.options import parse
    from seamask.base.settings import read_yaml
    from seamask.config import check
    from seamask.recipes import default_recipe, recipe_config

    recipe = None
    if arguments and not arguments[0].startswith("-"):
        recipe, *arguments = arguments
    start = recipe_config(recipe or default_recipe(_source(arguments)))
    if any(a.startswith("--config=") for a in arguments):
        arguments = [
            p for a in arguments for p in (a.split("=", 1) if a[:9] == "--config=" else [a])
        ]
    if "--config" in arguments:
        at = arguments.index("--config")
        if at + 1 == len(arguments):
            raise UserError("--config needs the name of a file")
        if recipe is not None:
            raise UserError("give a recipe or --config, not both")
        start = read_yaml(Path(arguments[at + 1]), start)
        arguments = arguments[:at] + arguments[at + 2 :]
    config = parse(
        start,
        arguments,
        prog=f"seamask pretrain {recipe or '[RECIPE] [--config FILE]'}",
        description=f"Pretrain an encoder. The defaults below are those of {start.recipe}.",
    )
    return config and check(config)


def _source(arguments: list[str]) -> str | None:
    """Return the value of `--data`, which decides the recipe where none is named."""
    words = [part for a in arguments for part in (a.split("=", 1) if a[:2] == "--" else [a])]
    for option, value in itertools.pairwise(words):
        if option in ("--data", "--data.source"):
            return value
    return None


def resume(arguments: list[str]) -> int:
    """`seamask resume RUN`."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        return _usage("seamask resume RUN", arguments)
    from seamask.training import resume as resume_run
    from seamask.training.loop import Stopped

    try:
        summary = resume_run(arguments[0])
    except Stopped as stopped:
        return _stopped(stopped)
    _print_summary(summary)
    return 0


def masks(arguments: list[str]) -> int:
    """`seamask masks RUN IMAGE ... [--out PNG]`."""
    parser = _Parser(
        prog="seamask masks", description="Draw the masks that a run learned, on any image."
    )
    parser.add_argument("run", help="a run's folder")
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image files of any size and mode"
    )
    parser.add_argument("--out", default="masks.png", help="the picture to write (masks.png)")
    asked = parser.parse_args(arguments)
    from seamask.evaluate.photos import draw_masks_of_photos

    path = draw_masks_of_photos(asked.run, asked.images, Path(asked.out))
    print(f"wrote {path}: rows are the image, its masks (share removed), the masked views")
    return 0


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are ours: one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def _usage(usage: str, arguments: list[str]) -> int:
    """Print how a command is used, if that was asked; refuse the arguments otherwise."""
    if arguments not in (["-h"], ["--help"]):
        raise UserError(f"usage: {usage}")
    print(f"usage: {usage}")
    return 0


def evaluate(arguments: list[str]) -> int:
    """`seamask evaluate RUN TASK [--SETTING VALUE ...]`."""
    if arguments in (["-h"], ["--help"]):
        from seamask.evaluate import TASKS

        lines = (f"    {name:<10} {task.about}" for name, task in TASKS.items())
        print(EVALUATE_HELP.format(tasks="\n".join(lines)), end="")
        return 0
    if len(arguments) < 2 or arguments[0].startswith("-") or arguments[1].startswith("-"):
        raise UserError("usage: seamask evaluate RUN TASK [--data DATA]; see `seamask evaluate -h`")
    encoder, task, *arguments = arguments
    from seamask.base.options import parse
    from seamask.evaluate import TASKS, task_config
    from seamask.evaluate.evaluation import start

    named = _source(arguments) is not None
    asked_for_help = bool({"-h", "--help"} & set(arguments))
    config = parse(
        task_config(task, None if named or asked_for_help else encoder),
        arguments,
        prog=f"seamask evaluate {encoder} {task}",
        description=f"{TASKS[task].about}.",
    )
    if config is None:
        return 0
    result = start(encoder, task, config)
    if config.json:
        print(result.to_json())
    else:
        _print_result(result)
    return 0


def study(arguments: list[str]) -> int:
    """`seamask study NAME|FILE [--data D] [--seeds N] [--out DIR] [--SETTING VALUE ...]`."""
    if not arguments or arguments[0].startswith("-"):
        if arguments and arguments not in (["-h"], ["--help"]):
            raise UserError("usage: seamask study NAME|FILE.yaml; see `seamask study --help`")
        from seamask.study.shipped import shipped

        print(STUDY_HELP)
        for name, title in shipped().items():
            print(f"    {name:<12} {title}")
        return 0
    name, *arguments = arguments
    parser = _Parser(prog="seamask study", usage=STUDY_USAGE, allow_abbrev=False)
    parser.add_argument("--data", help="the data set of a study that leaves it open")
    parser.add_argument("--seeds", type=int, help="how many; the study's own number if not given")
    path = Path(name)  # the study.yaml of a study's folder is that study
    own = path.parent if path.name == "study.yaml" else Path("studies") / path.stem
    parser.add_argument("--out", default=str(own), help="folder of the study")
    parser.add_argument("--results", type=Path, help="file of results of finished jobs")
    asked, rest = parser.parse_known_args(arguments)
    from seamask.base.options import free_settings
    from seamask.study.study import read_study
    from seamask.study.worker import run_study
    from seamask.training.loop import Stopped

    chosen = read_study(name, asked.data, asked.seeds, free_settings(rest))
    try:
        table = run_study(chosen, asked.out, asked.results)
    except Stopped as stopped:
        return _stopped(stopped)
    print(f"\n{table.read_text()}")
    for path in sorted(table.parent.glob("*.*")):
        print(path)
    return 0


def bench(arguments: list[str]) -> int:
    """`seamask bench [RECIPE] [--seconds S] [--figure PNG] [--SETTING VALUE ...]`."""
    if arguments in (["-h"], ["--help"]):
        print(BENCH_HELP, end="")
        return 0
    parser = _Parser(prog="seamask bench", add_help=False, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--figure", default="bench.png")
    asked, rest = parser.parse_known_args(arguments)
    if not 0 < asked.seconds < float("inf"):
        raise UserError(f"--seconds is {asked.seconds}: it must be above 0")
    config = parse_pretrain(rest)
    if config is None:
        return 0
    from seamask.speed.bench import bench as run_bench

    run_bench(config, asked.seconds, Path(asked.figure))
    return 0


def data(arguments: list[str]) -> int:
    """`seamask data imagenet100s --imagenet DIR --out DIR`."""
    parser = _Parser(prog="seamask data", description="Make a data set from another.")
    parser.add_argument("name", choices=["imagenet100s"], help="100 classes of ImageNet at 96×96")
    parser.add_argument("--imagenet", required=True, help="folder with train/<wnid>/, val/<wnid>/")
    parser.add_argument("--out", default="data/imagenet100s", help="(data/imagenet100s)")
    parser.add_argument("--size", type=int, default=96, help="side in pixels (96)")
    asked = parser.parse_args(arguments)
    from seamask.data import make_imagenet100s

    made = make_imagenet100s(Path(asked.imagenet), Path(asked.out), asked.size)
    print(f"{made.folder}: {made.written:,} images written, {made.kept:,} were there already")
    _print_skipped(made.skipped)
    print(f"use them with --data imagenet100s --data.root {made.folder}")
    return 0


def recipes(arguments: list[str]) -> int:
    """`seamask recipes`."""
    if arguments:
        return _usage("seamask recipes", arguments)
    from seamask.recipes import DEFAULT, RECIPES

    width = max(map(len, RECIPES))
    for name, (line, _) in RECIPES.items():
        print(f"{name:<{width}}  {line}{' (the default)' if name == DEFAULT else ''}")
    return 0


def _print_summary(summary: Summary) -> None:
    from seamask.base.progress import clock

    results, folder = summary.results, summary.folder
    print(f"\ntrained in {clock(summary.seconds)}, {summary.images_per_second:,.0f} images/s")
    if "probe/knn" in results:
        print("held-out accuracy     trained  untrained")
        for label, name in (("kNN", "probe/knn"), ("linear probe", "probe/linear")):
            before = results[f"untrained/{name}"]
            print(f"  {label:<18} {results[name]:8.1f} % {before:8.1f} %")
    if "mask/iou" in results:
        print("IoU with objects      learned     random")
        print(f"  {'best mask':<18} {results['mask/iou']:8.3f}   {results['mask/iou_random']:8.3f}")
    _print_health(summary)
    _print_skipped(summary.skipped, " (all are in manifest.json)")
    for label, path in (
        ("masks", max(folder.glob("masks/*.png"), default=folder)),
        ("curves", folder / "curves.png"),
        ("weights", folder / "encoder.safetensors"),
        ("log", folder / "metrics.jsonl"),
    ):
        print(f"{label:<8} {path}")
    print(f"load     {summary.load}")


MASK_SIGNS = (  # of a run's results, in the words of its end
    ("coverage", "removed, %", 100),
    ("from_image", "from the image, %", 100),
    ("rank", "effective rank", 1),
    ("binary", "black or white, %", 100),
    ("overlap", "overlap, %", 100),
    ("empty", "empty images, %", 100),
    ("full", "removed whole, %", 100),
    ("adds", "adds to the loss", 1),
)


def _print_health(summary: Summary) -> None:
    """Print how the masks and the embeddings ended, and what is wrong with them."""
    results = summary.results
    n = sum(name.startswith("mask/rank_") for name in results)
    if n:
        heads = "".join(f"{f'mask {k}':>9}" for k in range(1, n + 1))
        print(f"masks               {heads}")
        for sign, label, factor in MASK_SIGNS:
            values = [results.get(f"mask/{sign}_{k}") for k in range(1, n + 1)]
            if None not in values:
                shown = "".join(
                    f"{factor * v:9.{0 if factor > 1 else 2}f}" for v in values if v is not None
                )
                target = (
                    f"   asked {100 * summary.asked:g}"
                    if sign == "coverage" and summary.asked
                    else ""
                )
                print(f"  {label:<18}{shown}{target}")
    if "embedding/spread" in results:
        print(
            f"embeddings          spread {results['embedding/spread']:.2f} (healthy: 1), "
            f"rank {results['embedding/rank']:.0f}"
        )
    for text in summary.warnings:
        print(f"warning: {text}")


def _print_skipped(skipped: Sequence[tuple[str, str]], where: str = "") -> None:
    if skipped:
        print(f"skipped {len(skipped)} unreadable images{where}:")
    for name, reason in skipped[:SHOWN_SKIPPED]:
        print(f"  {name}: {reason}")


def _print_result(result: Result) -> None:
    from seamask.base.progress import clock
    from seamask.evaluate import TASKS

    print(f"{result.task} on {result.data}, {result.encoder}, seed {result.seed}")
    task = TASKS[result.task]
    # `iou`, `iou_random`, `iou_colour` stand in one line: beside each metric what it must beat.
    rivals = {f"{name}_{rival}" for name in result.metrics for rival in task.rivals}
    width = max(map(len, result.metrics))
    if rivals & set(result.metrics):
        print(" " * (width + 2) + "".join(f"{h:>10}" for h in (result.task, *task.rivals)))
    for name in (name for name in result.metrics if name not in rivals):
        names = (name, *(f"{name}_{rival}" for rival in task.rivals))
        values = "".join(f"{result.metrics[n]:10.4g}" for n in names if n in result.metrics)
        print(f"  {name:<{width}}{values} {task.unit(name)}".rstrip())
    print(f"in {clock(result.seconds)}")
    for path in filter(None, (result.file, result.figure)):
        print(path)


def _stopped(stopped: Stopped) -> int:
    print(f"\nseamask: {stopped.message}", file=sys.stderr)
    return 128 + int(stopped.signal_number)


COMMANDS = {
    "pretrain": pretrain,
    "resume": resume,
    "masks": masks,
    "evaluate": evaluate,
    "study": study,
    "bench": bench,
    "data": data,
    "recipes": recipes,
}

if __name__ == "__main__":
    main()
