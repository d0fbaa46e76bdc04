"""One evaluation of one encoder, from names to a result that is kept."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seamask.base import settings
from seamask.base.devices import torch_device
from seamask.base.errors import UserError
from seamask.base.files import atomic
from seamask.base.memory import memory_errors
from seamask.base.output import lasting_output
from seamask.base.paths import absolute, check_writable, local
from seamask.base.precision import use_precision
from seamask.base.provenance import commit, processor
from seamask.base.registry import with_parts
from seamask.data import SOURCES, Data, Segmentation, load, load_segmentation
from seamask.data.sources import choose, find_source, fingerprint_of
from seamask.evaluate.task import (
    NOT_PROTOCOL,
    TASKS,
    UNTRAINED,
    Context,
    EvaluationConfig,
    Result,
    Task,
    check,
)
from seamask.networks.check import channels_of, check_backbone
from seamask.runs import RunFolder

if TYPE_CHECKING:
    from seamask.evaluate.subject import Subject

Picture = Callable[[Path], None]  # writes one to a path


def evaluate(encoder: str | Path, task: str, **changed: Any) -> Result:
    """Evaluate an encoder; the same as the command `seamask evaluate`.

    Args:
        encoder: a run's folder, a `.safetensors` file that a run exported, a timm model with
            pretrained weights, or `untrained:` and a timm model or a run's folder.
        task: one of `TASKS`.
        **changed: settings of the task by dotted path or short name: `data="cifar10"`, `lr=0.03`.
            Without `data`, that of the run.

    Raises:
        UserError: what a user can mend, in one line.
    """
    source = changed.get("data", changed.get("data.source"))
    config = task_config(task, str(encoder), None if source is None else str(source))
    return run_evaluation(str(encoder), task, settings.override(config, changed))


def task_config(
    task: str, encoder: str | None = None, source: str | None = None
) -> EvaluationConfig:
    """Return a task's default settings; with a run's folder, of that run's seed, on its data.

    A folder without `val/` holds out other images for each seed, so those of the run's seed are the
    ones that it was not trained on; exported weights say by which seed, and how many.

    Args:
        task: one of `TASKS`.
        encoder: as it is named.
        source: the images that are asked for. Where those of the run are a folder and this is one,
            as they are when they have moved, other settings of the data are the run's, too.

    Raises:
        UserError: an unknown task, a folder that holds no run, or no weights in a file.
    """
    config = with_parts(TASKS[task].config())
    if encoder is None:
        return config
    run = local(encoder.removeprefix(UNTRAINED))
    if run.suffix == ".safetensors" and run.is_file():
        from seamask.evaluate.subject import read_about  # imports timm

        if (held := read_about(run).held_out) is None:
            return config
        return replace(config, seed=held.seed, data=replace(config.data, holdout=held.share))
    if not run.is_dir():
        return config
    folder = RunFolder.of_run(run)
    then = folder.read_config()
    config, data = replace(config, seed=then.seed), then.data
    if source is not None and {source, data.source} & set(SOURCES):
        return config
    config = replace(config, data=replace(data, limit=0, size=0, objects=""))
    if source is None:
        return config
    held = folder.read_held_out(then)  # of a store that was packed before, by another seed
    return replace(config, seed=held.seed, data=replace(config.data, holdout=held.share))


@lasting_output()
@memory_errors("take a smaller --batch-size or --image-size")
def run_evaluation(encoder: str, task: str, config: EvaluationConfig) -> Result:
    """Evaluate an encoder with fully resolved settings; see `evaluate`.

    Raises:
        UserError: what a user can mend, in one line.
    """
    config = check(config)
    commit()  # of the code that is in memory now
    folder = _folder(encoder, config)
    with _of(encoder).naming_plugins():
        context = _prepare(encoder, TASKS[task], config)
    config, data = context.config, context.data
    of = "data" if context.subject.normalization is None else "encoder"
    normalization = settings.to_dict(data.normalization) | {"of": of}
    protocol = {
        path: settings.plain(settings.get(config, path))
        for path, _ in settings.leaves(type(config))
        if path not in NOT_PROTOCOL and path not in config.unused()
    }
    started = time.perf_counter()
    pictures: list[Picture] = []
    wanted = pictures.append if folder is not None and TASKS[task].draws else None
    notes = list(data.notes)
    metrics = TASKS[task].run(replace(context, keep=wanted, note=notes.append))
    for name in metrics:
        if not TASKS[task].names(name):
            raise UserError(f"{task} found {name!r}: add Metric({name!r}) to what it names")
        if not math.isfinite(metrics[name]):
            raise UserError(
                f"{task} found {metrics[name]} for {name}, which is no result: the features or "
                f"the images of {data.name} hold nothing to measure"
            )
    seconds = round(time.perf_counter() - started, 2)
    result = Result(
        encoder, task, data.name, protocol, config.seed, metrics, seconds, data.fingerprint,
        commit(), processor(), split=data.split, normalization=normalization,
        skipped=data.skipped, notes=tuple(notes), images=_counts(data),
        weights=context.subject.weights,
    )  # fmt: skip
    if folder is None:
        return result
    return _keep(result, folder, context.subject, pictures)


def _counts(data: Data | Segmentation) -> dict[str, int]:
    """Return how many images were measured, how many there were to learn from, of what classes."""
    some: dict[str, Any] = {"classes": data.classes}
    if isinstance(data, Segmentation):
        some |= {"held_out": data.test, "learn": data.train}
    else:
        some |= {"held_out": data.probe_test, "learn": data.probe_train}
        if data.probe_test is None:
            some["not_held_out"] = data.train
    return {name: len(found) for name, found in some.items() if found is not None}


def _of(encoder: str) -> RunFolder:
    """Return the folder of the run that an encoder is named by; of others it holds no run."""
    return RunFolder(encoder.removeprefix(UNTRAINED))


def _folder(encoder: str, config: EvaluationConfig) -> Path | None:
    """Return where the result belongs, if anywhere.

    Raises:
        UserError: it could not be written there: said before anything is computed.
    """
    if config.out:
        folder = local(config.out, "--out")
        check_writable(folder, "--out")
        return folder
    run = Path() if encoder.startswith(UNTRAINED) else local(encoder)
    if encoder.startswith(UNTRAINED) or not run.is_dir():
        return None
    folder = RunFolder.of_run(run).evaluations
    try:
        check_writable(folder)
    except UserError as error:
        raise UserError(f"{error} with --out DIR") from error
    return folder


def _prepare(encoder: str, task: Task, config: EvaluationConfig) -> Context:
    """Open the encoder and what else the task needs."""
    from seamask.evaluate.subject import open_subject  # imports timm

    device = torch_device(config.device, config.threads)
    use_precision("fp32")
    own_sizes = "pixels" in task.needs
    subject = open_subject(encoder, 0 if own_sizes else config.image_size, config.seed)
    subject.backbone.to(device)
    size = config.image_size or subject.image_size
    source = replace(config.data, channels=1 if channels_of(subject.backbone) == 1 else 3)
    config = check(replace(config, image_size=size, data=source))
    if not own_sizes:
        check_backbone(subject.backbone, subject.name, size, channels_last=False, named="")
    masker = subject.masker(size).to(device) if "masker" in task.needs else None
    note = "" if own_sizes else _trained_on(subject, config)
    data = open_data(task, config)
    if note:
        data = replace(data, notes=(*data.notes, note))
    if subject.normalization is not None:  # an encoder is shown what it was trained on
        data = replace(data, normalization=subject.normalization)
    return Context(subject, data, config, size, device, masker)


def _trained_on(subject: Subject, config: EvaluationConfig) -> str:
    """Refuse to measure images that an encoder was trained on, where others were held out.

    Returns:
        A note, where none were; else nothing.

    Raises:
        UserError: they are of its folder, held out by another seed or a larger share.
    """
    held, source = subject.held_out, config.data.source
    if held is None or not held.fingerprint or source in SOURCES:
        return ""
    if config.seed == held.seed and 0 < config.data.holdout <= held.share:
        return ""  # those that were held out, or some of them
    data = subject.config.data if subject.config else config.data
    there = replace(settings.override(data, held.settings), source=source, root=config.data.root)

    def mark(seed: int, share: float) -> str:
        data = replace(there, holdout=share)
        return fingerprint_of(find_source(data, held.size, seed), data, held.size)

    try:
        own = mark(held.seed, held.share)
    except UserError:  # a folder without what that of the training has beside its images
        return ""
    if own != held.fingerprint or own == mark(config.seed, config.data.holdout):
        return ""  # another folder, or one with `val/`
    if not held.share:
        return f"{subject.name} held out nothing (--data.holdout 0): it was trained on these images"
    raise UserError(
        f"--seed {config.seed}, --data.holdout {config.data.holdout:g}: some of these images were "
        f"trained on; {subject.name} held out those of --seed {held.seed} --data.holdout "
        f"{held.share:g}: give both"
    )


def open_data(task: Task, config: EvaluationConfig) -> Data | Segmentation:
    """Open the images of an evaluation, whose `image_size` is not 0.

    Raises:
        UserError: there are none, or they have not what the task needs.
    """
    if "pixels" in task.needs:
        return load_segmentation(config.data, config.image_size, config.seed)
    source = config.data
    if "masker" in task.needs:  # a mask network sees whole images, which are stored at its own size
        source = replace(source, size=0)
    if "objects" in task.needs:  # of the held-out images there are no others
        source = replace(source, objects="")
    data = load(source, config.image_size, config.seed)
    held_out = data.probe_test
    if data.probe_train is not None and 0 < source.limit < len(data.probe_train):
        # Where only a part has labels it is this that is learned from.
        chosen = choose(len(data.probe_train), source.limit, config.seed)
        data = replace(data, probe_train=data.probe_train.take(chosen))
    unused = ""
    if data.skipped:
        path, reason = data.skipped[0]
        unused = f"; {len(data.skipped)} of its images cannot be used, e.g. {path}: {reason}"
    if "labels" in task.needs and (held_out is None or held_out.labels is None):
        raise UserError(
            f"--data {data.name}: no labelled images are held out: put them into class folders, "
            f"at best in train/ and val/ (and keep --data.holdout above 0){unused}"
        )
    without = held_out is None or held_out.objects is None
    if "objects" in task.needs and without and data.whole is None:
        raise UserError(
            f"--data {data.name} has no object masks: take shapes, ecssd, duts-te, dut-omron, "
            "voc2007-trainval, voc2012-trainval, voc2012 or a folder in Pascal VOC layout"
            f"{unused}"
        )
    return data


class NotKept(UserError):
    """A result that could not be written.

    Attributes:
        result: what was found all the same.
    """

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


def _keep(result: Result, folder: Path, subject: Subject, pictures: list[Picture]) -> Result:
    """Write a result and its picture, if there is one; return it with both paths.

    Raises:
        NotKept: they cannot be written.
    """
    file = folder / f"{_name(result, folder, subject)}.json"
    figure = str(file.with_suffix(".png")) if pictures else None
    kept = replace(result, file=str(file), figure=figure)
    try:
        _check_same(subject)
        for write in pictures:
            write(file.with_suffix(".png"))
        with atomic(file) as temporary:
            temporary.write_text(kept.to_json() + "\n")
    except UserError as error:
        raise NotKept(f"the result is not kept: {error}", result) from error
    return kept


def _check_same(subject: Subject) -> None:
    """Refuse a run that was replaced by another one while this one was evaluated.

    Raises:
        UserError: it was.
    """
    if subject.run is None or subject.config is None:
        return
    # Plain values: with a plugin's settings every reading has types of its own.
    now = subject.run.read_config() if subject.run.config.exists() else None
    if now is None or settings.to_dict(now) != settings.to_dict(subject.config):
        raise UserError(
            f"{subject.run.path} now holds another run than the one that was evaluated: name "
            "another folder with --out"
        )


def _name(result: Result, folder: Path, subject: Subject) -> str:
    """Return the name of a result's file, which no result of another encoder has.

    In a run's own folder the encoder is that run; elsewhere its digest is part of the name.
    """
    encoder = absolute(result.encoder.removeprefix(UNTRAINED))
    untrained = result.encoder.startswith(UNTRAINED)
    own = subject.run is not None and not untrained
    if own and absolute(folder).is_relative_to(encoder):
        return result.name
    text = f"{untrained} {encoder if encoder.exists() else result.encoder}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{result.column}-of-{digest}-{result.name.removeprefix(f'{result.column}-')}"
