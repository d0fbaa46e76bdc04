"""What `seamask COMMAND` does: parse, call, print. Docstrings here are help on the command line.

Nothing imports torch before it is needed.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Suppress, arg

from seamask.base.errors import UserError
from seamask.base.options import check_names, command, free_settings, parse, take, words_of
from seamask.base.output import fitted, print_prose
from seamask.base.paths import check_writable, local
from seamask.base.progress import amount
from seamask.base.settings import read_mapping, read_settings
from seamask.config import LEAST_EPOCHS, LEAST_IMAGES, Config, check
from seamask.recipes import (
    DEFAULT,
    RECIPES,
    default_recipe,
    explained,
    recipe_config,
)

WORTH = (
    f"Below some {LEAST_IMAGES:,} images and {LEAST_EPOCHS} epochs little is learned; a CPU "
    "finishes 1,000 images of folder-small in minutes and 10,000 in an hour or two; "
    "folder-seamask wants a GPU."
)
A_METHOD = 10.0  # seconds in which `--dry-run` measures each
Run = Annotated[str, arg(metavar="RUN")]
Images = Annotated[tuple[str, ...], arg(metavar="IMAGE|FOLDER ...", help_behavior_hint="")]
Runs = Annotated[tuple[str, ...], arg(metavar="RUN ...", help_behavior_hint="")]
Folder = Annotated[str, arg(metavar="[FOLDER]", help_behavior_hint="")]
Rest = Suppress[tuple[str, ...]]


def pretrain(arguments: list[str]) -> None:
    """Pretrain an encoder."""
    config = parse_pretrain(arguments)
    from seamask.terminal import print_summary
    from seamask.training import start_run

    print_summary(start_run(config))


def parse_pretrain(arguments: list[str]) -> Config:
    """Return the settings that `[RECIPE] [--config FILE] [--SETTING VALUE ...]` ask for.

    Raises:
        UserError: what is wrong, in one line.
        SystemExit: with code 0, after printing the help that was asked for.
    """
    named, arguments = _leading(arguments, 1)
    files, arguments = take("--config", arguments)
    if named and files:
        raise UserError("give a recipe or --config, not both")
    usage = named[0] if named else "[RECIPE] [--config FILE]"
    said = [(file, read_mapping(local(file, "--config"))) for file in files]

    def over(start: Config) -> Config:
        for file, lines in said:
            start = read_settings(lines, start, file)
        return start

    if not named:
        told = over(recipe_config(DEFAULT))  # a file may name a recipe, or data that has one
        source = None if told.data.source == Config().data.source else told.data.source
        source = _value(arguments, "--data", "--data.source") or source
        usual = told.recipe == DEFAULT or told.recipe not in RECIPES
        named = [default_recipe(source, lambda: _on_gpu(arguments)) if usual else told.recipe]
    start = over(recipe_config(named[0]))
    config = parse(
        start,
        arguments,
        prog=f"seamask pretrain {usage}",
        description=f"Pretrain an encoder. The defaults below are those of {start.recipe}. {WORTH}",
    )
    return check(config)


@command
def resume(run: Run, /, settings: Rest = ()) -> None:
    """Go on with a run that was stopped, to the same weights as if it never was.

    Settings that leave it the same run may be given anew, as to `seamask pretrain`:

        --data DIR           where its images lie now: the same ones, compared by content
        --data.root DIR      the same of a data set with a name; also --data.objects, --data.cache
        --epochs N           more than it has; learning rates go on where a run of N has them
        --device, --devices, --threads, --timeout, --cuda-graph, --data.resident, --log.*
        --plugin FILE.py     needed again, if it was trained with some

    Args:
        run: its folder
    """
    given = free_settings(settings, Config)
    check_names(given, Config)
    from seamask.terminal import print_summary
    from seamask.training import resume_run

    print_summary(resume_run(run, **given))


@command
def masks(
    run: Run,
    images: Images = (),
    /,
    data: str = "",
    out: str = "",
    hard: bool = False,
    labels: bool = False,
    format: Literal["png", "npz"] = "png",
    overlay: bool = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> None:
    """Draw the masks of runs, learned or random, on any image; or write those of a whole folder.

    The masker sees the centre square of an image, at the run's image size, as in pretraining.

        seamask masks RUN photo.jpg …           a picture; of more than 8 images, several
        seamask masks RUN_A RUN_B photo.jpg …   two runs or more beside each other; --overlay:
                                                one picture a run, not one a mask
        seamask masks RUN --data DIR --out DIR  a file for each mask of every image, as large as
                                                it, black outside the centre square: a/1.mask1.png,
                                                … of a/1.jpg; started again, it goes on

    Args:
        run: a run's folder
        images: image files of any size and mode, or folders of them.
        data: folder of images.
        out: the picture to write, default masks.png, of more than 8 images masks/sheet-01.png, …;
            with --data the folder, default masks.
        hard: with --data: 0 or 255, not soft masks.
        labels: with --data: one label image a/1.png instead, k where mask k removes most, else 0.
        format: with --data: npz writes a/1.npz with masks [N, H, W] (or labels [H, W]).
        overlay: masks laid on the image in colours, one picture a run; with --data beside its
            files, a/1.overlay.png.
        device: with --data: where to compute.
    """
    from seamask.terminal import print_masks, print_written

    if data:
        from seamask.evaluate.mask_files import write_masks

        if images:
            raise UserError(f"give images or --data, not both: {images[0]}")
        if hard and labels:
            raise UserError("--hard and --labels exclude each other: labels are hard")
        kind: Literal["soft", "hard", "labels"] = "labels" if labels else "hard" if hard else "soft"
        folder = out or "masks"
        print_written(write_masks(run, data, folder, kind, format, overlay, device), folder)
        return
    if hard or labels or format != "png":
        raise UserError("--hard, --labels and --format are for --data DIR")
    from seamask.evaluate.photos import draw_masks_of_photos

    more = [
        *itertools.takewhile(lambda word: local(word, "").joinpath("config.yaml").exists(), images)
    ]
    sheets = draw_masks_of_photos(
        [run, *more], images[len(more) :], Path(out or "masks.png"), overlay
    )
    print_masks(sheets, overlay)


@command
def embed(
    run: Run,
    /,
    *,
    data: str,
    out: str = "features.parquet",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> None:
    """Write the features of every image of a folder, with the images' paths.

    The encoder sees the centre square of an image, at its own size, as in evaluations.

    Args:
        run: a run's folder, or what else `seamask evaluate` takes
        data: folder of images, of any nesting.
        out: file to write: .parquet (columns path and features), .npz (arrays paths, features) or
            .csv (columns path, f0, f1, …).
        device: where to compute.
    """
    from seamask.evaluate.embed import embed as write_features
    from seamask.terminal import print_embedded

    print_embedded(write_features(run, data, out, device), out)


@command
def export(
    run: Run, /, *, to: Literal["onnx"], out: Annotated[str, arg(metavar="DIR")] = ""
) -> None:
    """Write a run's encoder, and its masker if it is learned, for programs without PyTorch.

    What they give there is compared with what they give here. For timm and transformers nothing is
    to be written: a run's folder is what they load.

    Args:
        run: a run's folder
        to: encoder.onnx and masker.onnx map images [batch, C, S, S], normalised by the mean and std
            of their metadata, to features [batch, F] and masks [batch, N, S, S].
        out: folder to write to, default RUN/onnx.
    """
    from seamask.export import export_onnx

    for file, differ in export_onnx(run, out or local(run) / to):
        print(f"{file}: differs from PyTorch by {differ:.1g} of its largest number")


def evaluate(arguments: list[str]) -> None:
    """usage: seamask evaluate RUN TASK [--data DATA] [--SETTING VALUE ...]

    RUN is a run's folder, a file encoder.safetensors that a run exported, a timm model with
    pretrained weights, or untrained:MODEL or untrained:RUN (the same network before any training).

        knn        weighted cosine kNN on frozen features; k and temperature are chosen, too
        linear     a linear classifier on frozen features: --protocol cached (fast), paper or adios
        finetune   the whole network trained with labels: --protocol paper or adios
        segment    semantic segmentation with an FCN: voc2012, a folder in Pascal VOC layout, shapes
        masks      how learned masks find objects, beside rivals: saliency, CorLoc, several objects
        cluster    k-means clusters of frozen features against classes

    Without --data, the images of the run. Results are kept in evaluations/ in the run's folder;
    --json prints one JSON object. A run that was trained with --plugin FILE.py needs it here, too.
    `seamask evaluate RUN TASK --help` lists every setting.
    """
    words, arguments = _leading(arguments, 2)
    asked_for_help = bool({"-h", "--help"} & set(arguments))
    if len(words) < 2:
        if not asked_for_help:
            raise UserError("usage: seamask evaluate RUN TASK; see `seamask evaluate --help`")
        print(fitted(inspect.getdoc(evaluate) or ""))
        return
    from seamask.evaluate import TASKS, task_config
    from seamask.evaluate.evaluation import NotKept, run_evaluation
    from seamask.terminal import print_result

    encoder, task = words
    config = parse(
        task_config(
            task, None if asked_for_help else encoder, _value(arguments, "--data", "--data.source")
        ),
        arguments,
        prog=f"seamask evaluate {encoder} {task}",
        description=f"{TASKS[task].about}.",
    )
    failure = None
    try:
        result = run_evaluation(encoder, task, config)
    except NotKept as error:  # what was found is printed all the same
        failure, result = error, error.result
    print(result.to_json()) if config.json else print_result(result)
    if failure is not None:
        raise failure


@command
def report(runs: Runs, /, out: str = "", watch: bool = False) -> None:
    """Write a report of a run, of several beside each other, or of a study: one HTML file.

    Everything is inside it: mail it, or open it from anywhere, without a server or a network. It
    shows the masks of the same images through the epochs, whether masks and embeddings are healthy,
    neighbours and a map by the encoder, the curves, and how to start the run again; of several, the
    same images side by side, the curves over each other, a table with paired differences. `seamask
    pretrain` writes one at its end.

    Args:
        runs: folders of runs and of studies
        out: the file to write; default report.html in the run's folder, of several where you are.
        watch: write it anew as the run goes on, and let the browser show it, until it is finished.
    """
    if not runs:
        raise UserError("no RUN is given; see `seamask report --help`")
    from seamask.report.page import where, write_report
    from seamask.report.watching import watch as keep_writing

    check_writable(where(runs, out or None), "--out" if out else "", file=True)
    if watch:
        keep_writing(runs, out or None, print)
    else:
        print(write_report(*runs, out=out or None))


@command
def study(
    name: Annotated[str, arg(metavar="NAME|FILE.yaml")],
    /,
    data: str = "",
    seeds: int = 0,
    out: str = "",
    results: str = "",
    dry_run: bool = False,
    table_only: bool = False,
    settings: Rest = (),
) -> None:
    """Run a grid, methods × seeds × evaluations, and write its table.

    What is missing in the study's folder is run, and one table is written there as table.md, .csv
    and .tex, beside the published numbers, with a figure of accuracy against epochs and time. Start
    the same command again to go on with a study that was stopped, and any number of times at once,
    on one machine or several, to share the work.

        --SETTING VALUE               a setting of every pretraining (`seamask pretrain --help`)
        --evaluations.SETTING VALUE   a setting of every evaluation (`seamask evaluate --help`)
        --plugin FILE.py              penalties, maskers, objectives of your own

    A FILE.yaml has the form of src/seamask/study/studies/*.yaml; an evaluation in it may name
    `methods` (the rows that have it) and `metrics` (a column for each, not the main one alone).

    Args:
        name: one of table1, table2, table1-tiny, table2-tiny (tiny: minutes on a CPU), or a file
        data: the data set of a study that leaves it open.
        seeds: how many; 0 is the study's own number.
        out: folder of the study; studies/NAME if not given.
        results: file of what finished jobs found, kept up to date; not done again, also where
            their weights are missing, on another machine.
        dry_run: only say what is to be done: jobs, images to be seen, hours on this machine.
        table_only: only write the tables of what is done so far, also of a file of `--results`.
    """
    given = free_settings(settings, Config)
    check_names((n for n in given if not n.startswith("evaluations.")), Config)
    from seamask.study.study import read_study
    from seamask.study.worker import run_study, tabulate

    file = local(name)  # the study.yaml of a study's folder is that study
    own = file.parent if file.name == "study.yaml" else Path("studies") / file.stem
    chosen = read_study(name, data or None, seeds or None, given)
    found = local(results, "--results") if results else None
    if dry_run and table_only:
        raise UserError("--dry-run and --table-only: give one of them")
    if dry_run:
        from seamask.speed.bench import images_per_second, training_images
        from seamask.study.plan import planned

        measure = functools.partial(images_per_second, seconds=A_METHOD)
        print_prose(planned(chosen, out or str(own), training_images, measure, found))
        return
    table = (tabulate if table_only else run_study)(chosen, out or str(own), found)
    from seamask.terminal import print_study_table

    print()
    print_study_table(table.read_text())
    print()
    for file in sorted(table.parent.glob("[!.]*.*")):
        print(file)


@command
def runs(
    folder: Annotated[str, arg(metavar="[FOLDER]", help_behavior_hint="")] = "runs", /
) -> None:
    """List runs: how far each is, what it found, how it differs from its recipe, how to go on.

    Args:
        folder: that they are in; runs if not given
    """
    from seamask.report.listing import listed

    print_prose(listed(folder))


@command
def bench(seconds: float = 60, figure: str = "", settings: Rest = ()) -> None:
    """Say how fast it trains here, and which settings would be faster.

    It trains on random images for about a minute, with a recipe and settings given as to `seamask
    pretrain`, and says how many images a second that is, where the time of a step goes, how far it
    is from the time of its encoder passes alone, how much memory it takes, which settings would be
    faster (and what they do to the training), and how long the whole run would be.

    Args:
        seconds: to spend, about. With less, the batch that is measured is smaller, and fewer
            settings are tried.
        figure: picture to write of the same as bars.
    """
    if not 0 < seconds < float("inf"):
        raise UserError(f"--seconds is {seconds}: it must be above 0")
    drawn = local(figure, "--figure") if figure else None
    if drawn is not None:
        check_writable(drawn, "--figure", file=True)
    config = parse_pretrain(list(settings))
    from seamask.speed.bench import bench as run_bench

    run_bench(config, seconds, drawn)


@command
def data_pack(*, data: str, size: int, out: Path | None = None, settings: Rest = ()) -> None:
    """Pack images ahead of time: a folder that is a data set by itself, for --data OUT.

    Training packs what it is given into its cache, the first time. For data that do not fit there,
    or that many machines will read, do it beforehand: start this command several times, on one
    machine or on all that share OUT's folder, and they share the work. A command that was killed is
    started again, and goes on. OUT takes size × size × 3 bytes an image (193 GB of ImageNet-1k at
    224 px) and little more on the way, and can be copied to where it is read.

        --SETTING VALUE   how they are read: --data.holdout, --data.jpeg, --on-bad-image, --seed, …

    Args:
        data: images: a folder, an archive, a list, a data set with a name.
        size: side in pixels at which they are stored.
        out: folder to make; left out: the store in the cache that training on DATA opens.
    """
    config = parse_pretrain(["--data", data, "--data.size", str(size), *settings])
    from seamask.data.packing import pack
    from seamask.terminal import print_skipped

    packed = pack(config.data, None if out is None else local(out, "--out"), config.seed)
    held_out = 0 if packed.probe_test is None else len(packed.probe_test)
    images = amount(len(packed.train), "image")
    print_prose(
        f"{out or config.data.cache}: {images} to train on, {held_out:,} held out, {size} px"
    )
    print_skipped(packed.skipped)
    given = [f"--data {shlex.quote(str(out or data))}"]
    if out is None:  # the same store only with the same settings
        given += [f"--data.size {size}", *map(shlex.quote, settings)]
    print(f"use them with {' '.join(given)}")


@command
def data(
    name: Literal["imagenet100s"],
    /,
    *,
    imagenet: Path,
    out: Path = Path("data/imagenet100s"),
    size: int = 96,
) -> None:
    """Make a data set from another.

    `seamask data pack --help`: pack images ahead of time, by several machines together.

    Args:
        name: 100 classes of ImageNet, stored at 96 pixels
        imagenet: folder with train/<wnid>/ and val/<wnid>/
        out: folder to write to.
        size: side in pixels.
    """
    from seamask.data import make_imagenet100s
    from seamask.terminal import print_skipped

    made = make_imagenet100s(imagenet, out, size)
    written = amount(made.written, "image")
    print_prose(f"{made.folder}: {written} written, {made.kept:,} were there already")
    print_skipped(made.skipped)
    print(f"use them with --data {name} --data.root {shlex.quote(str(made.folder))}")


@command
def recipes(name: Annotated[str, arg(metavar="[NAME]", help_behavior_hint="")] = "", /) -> None:
    """List the recipes; of one, all settings with their sources, as YAML for `--config`.

    Args:
        name: of a recipe
    """
    if name:
        print(explained(name))
        return
    width = max(map(len, RECIPES))
    for name, (line, _) in RECIPES.items():
        print_prose(f"{name:<{width}}  {line}{' (the default)' if name == DEFAULT else ''}")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "pretrain": pretrain,
    "resume": resume,
    "masks": masks,
    "embed": embed,
    "export": export,
    "evaluate": evaluate,
    "report": report,
    "runs": runs,
    "study": study,
    "bench": bench,
    "data": lambda words: data_pack(words[1:]) if words[:1] == ["pack"] else data(words),
    "recipes": recipes,
}


def _leading(arguments: list[str], most: int) -> tuple[list[str], list[str]]:
    """Return the words before the first option, so many at most, and the rest."""
    words = itertools.takewhile(lambda word: not word.startswith("-"), arguments[:most])
    n = len(list(words))
    return arguments[:n], arguments[n:]


def _on_gpu(arguments: list[str]) -> bool:
    """Say whether a GPU would compute what is asked for."""
    from seamask.base.devices import uses_gpu

    return uses_gpu(_value(arguments, "--device") or "auto")


def _value(arguments: list[str], *options: str) -> str | None:
    """Return the value of an option, by any of its names; None: it is not given."""
    found = [v for option, v in itertools.pairwise(words_of(arguments)) if option in options]
    return found[-1] if found else None
