"""The command `seamask`: parse, call, print. Nothing here imports torch before it is needed."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import seamask
from seamask.errors import UserError, unknown

HELP = """\
seamask: self-supervised visual pretraining with learned, sequential adversarial masks

    seamask pretrain                              pretrain on the built-in images
    seamask pretrain --data DIR --out runs/mine   pretrain on your own, labels not needed
    seamask pretrain RECIPE [--SETTING VALUE ...] start from a recipe and change settings
    seamask pretrain --config FILE                start from settings in a file (config.yaml)
    seamask resume RUN                            go on with a run that was stopped
    seamask masks RUN IMAGE ... [--out PNG]       draw the masks that a run learned, on any image
    seamask recipes                               list the recipes

    seamask pretrain [RECIPE] --help              every setting: default, unit, source
    seamask --version
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit code 2 and one line for what a user can mend."""
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
    return COMMANDS[name](rest)


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


def parse_pretrain(arguments: list[str]):  # type: ignore[no-untyped-def]
    """Return the `Config` that arguments ask for, or None after printing the help."""
    import tyro

    from seamask.config import Config, check, read_yaml
    from seamask.recipes import DEFAULT, recipe_config

    recipe = None
    if arguments and not arguments[0].startswith("-"):
        recipe, *arguments = arguments
    start = recipe_config(recipe or DEFAULT)
    if "--config" in arguments:
        at = arguments.index("--config")
        if at + 1 == len(arguments):
            raise UserError("--config needs the name of a file")
        if recipe is not None:
            raise UserError("give a recipe or --config, not both")
        start = read_yaml(Path(arguments[at + 1]), start)
        arguments = arguments[:at] + arguments[at + 2 :]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            config = tyro.cli(
                Config,
                args=arguments,
                default=start,
                prog=f"seamask pretrain {recipe or '[RECIPE] [--config FILE]'}",
                description=f"Pretrain an encoder. The defaults below are those of {start.recipe}.",
            )
    except SystemExit as stop:
        if not stop.code:
            print(said.getvalue(), end="")
            return None
        raise _usage_error(said.getvalue(), arguments) from None
    return check(config)


def _usage_error(said: str, arguments: list[str]) -> UserError:
    """Turn tyro's boxed message into one line that names the setting and the nearest one."""
    from seamask.config import Config, _leaves, flag, short_names

    text = " ".join(re.sub(r"[╭╮╰╯│─]+", " ", said).split())
    names = {f"--{p}".replace("_", "-") for p, _ in _leaves(Config)}
    names |= {f"--{n}".replace("_", "-") for n in short_names()}
    for argument in arguments:
        option = argument.split("=")[0].replace("_", "-")
        known = names | {n.replace("--", "--no-", 1) for n in names}
        if option.startswith("--") and option not in known:
            return unknown("setting", option, sorted(names | {flag(p) for p, _ in _leaves(Config)}))
    text = text.split("For full helptext")[0].strip()
    return UserError(f"{text}; see `seamask pretrain --help`")


def resume(arguments: list[str]) -> int:
    """`seamask resume RUN`."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: seamask resume RUN")
        return 0 if arguments in (["-h"], ["--help"]) else 2
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
    import argparse

    parser = argparse.ArgumentParser(
        prog="seamask masks", description="Draw the masks that a run learned, on any image."
    )
    parser.add_argument("run", help="a run's folder")
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="image files, or folders of them"
    )
    parser.add_argument("--out", default="masks.png", help="the picture to write (masks.png)")
    asked = parser.parse_args(arguments)
    from seamask.show.photos import draw_masks_of_photos

    path = draw_masks_of_photos(asked.run, asked.images, Path(asked.out))
    print(f"wrote {path}: rows are the image, its masks (share removed), the masked views")
    return 0


def recipes(arguments: list[str]) -> int:
    """`seamask recipes`."""
    if arguments:
        print("usage: seamask recipes")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    from seamask.recipes import DEFAULT, RECIPES

    width = max(map(len, RECIPES))
    for name, (line, _) in RECIPES.items():
        print(f"{name:<{width}}  {line}{' (the default)' if name == DEFAULT else ''}")
    return 0


def _print_summary(summary) -> None:  # type: ignore[no-untyped-def]
    from seamask.progress import clock

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
    if summary.skipped:
        print(f"skipped {len(summary.skipped)} unreadable images, e.g. {summary.skipped[0][0]}")
    for label, path in (
        ("masks", max(folder.glob("masks/*.png"), default=folder)),
        ("curves", folder / "curves.png"),
        ("weights", folder / "encoder.safetensors"),
        ("log", folder / "metrics.jsonl"),
    ):
        print(f"{label:<8} {path}")
    print(f"load     {summary.load}")


def _stopped(stopped) -> int:  # type: ignore[no-untyped-def]
    print(f"\nseamask: {stopped.message}", file=sys.stderr)
    return 128 + int(stopped.signal_number)


COMMANDS = {"pretrain": pretrain, "resume": resume, "masks": masks, "recipes": recipes}

if __name__ == "__main__":
    main()
