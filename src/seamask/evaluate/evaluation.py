"""One evaluation of one encoder, from names to a result that is kept."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from seamask.base import settings
from seamask.base.devices import torch_device
from seamask.base.errors import UserError
from seamask.base.files import atomic
from seamask.base.provenance import commit, processor
from seamask.base.registry import with_parts
from seamask.data import Data, Segmentation, load, load_segmentation
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
from seamask.networks.check import check_backbone
from seamask.runs import RunFolder


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
    named = bool({"data", "data.source"} & set(changed))
    config = task_config(task, None if named else str(encoder))
    return run_evaluation(str(encoder), task, settings.override(config, changed))


def task_config(task: str, encoder: str | None = None) -> EvaluationConfig:
    """Return a task's default settings; with a run's folder, on the data of that run.

    Raises:
        UserError: an unknown task, or a folder that holds no run.
    """
    config = with_parts(TASKS[task].config())
    run = Path((encoder or "").removeprefix(UNTRAINED)).expanduser()
    if encoder is not None and run.is_dir():
        data = RunFolder.of_run(run).read_config().data
        config = replace(config, data=replace(data, limit=0, size=0, objects=""))
    return config


def run_evaluation(encoder: str, task: str, config: EvaluationConfig) -> Result:
    """Evaluate an encoder with fully resolved settings; see `evaluate`.

    Raises:
        UserError: what a user can mend, in one line.
    """
    config = check(config)
    commit()  # of the code that is in memory now
    context = _prepare(encoder, TASKS[task], config)
    config, data = context.config, context.data
    protocol = {
        path: settings.plain(settings.get(config, path))
        for path, _ in settings.leaves(type(config))
        if path not in NOT_PROTOCOL and path not in config.unused()
    }
    folder = Path(config.out).expanduser() if config.out else None
    if folder is None and context.subject.run is not None:
        folder = context.subject.run.evaluations
    picture = folder / f".{task}.png" if folder and TASKS[task].draws else None
    started = time.perf_counter()
    try:
        metrics = TASKS[task].run(replace(context, figure=picture))
        for name in metrics:
            if not TASKS[task].names(name):
                raise UserError(f"{task} found {name!r}: add Metric({name!r}) to what it names")
        seconds = round(time.perf_counter() - started, 2)
        result = Result(
            encoder, task, data.name, protocol, config.seed, metrics, seconds, data.fingerprint,
            commit(), processor(),
        )  # fmt: skip
        if folder is not None:
            result = _keep(result, folder, picture)
    finally:
        if picture is not None:
            picture.unlink(missing_ok=True)
    return result


def _prepare(encoder: str, task: Task, config: EvaluationConfig) -> Context:
    """Open the encoder and what else the task needs."""
    from seamask.evaluate.subject import open_subject  # imports timm

    device = torch_device(config.device, config.threads)
    own_sizes = "pixels" in task.needs
    subject = open_subject(encoder, 0 if own_sizes else config.image_size, config.seed)
    subject.backbone.to(device)
    size = config.image_size or subject.image_size
    config = check(replace(config, image_size=size))
    if not own_sizes:
        check_backbone(subject.backbone, subject.name, size, channels_last=False, named="")
    masker = subject.masker(size).to(device) if "masker" in task.needs else None
    return Context(subject, _open(task, config), config, size, device, masker)


def _open(task: Task, config: EvaluationConfig) -> Data | Segmentation:
    """Open the images; refuse those without what the task needs of them."""
    if "pixels" in task.needs:
        return load_segmentation(config.data, config.image_size, config.seed)
    # A mask network sees whole images, which are stored at its own size.
    source = replace(config.data, size=0) if "masker" in task.needs else config.data
    data = load(source, config.image_size, config.seed)
    held_out = data.probe_test
    if "labels" in task.needs and (held_out is None or held_out.labels is None):
        raise UserError(
            f"--data {data.name}: no labelled images are held out: put them into class folders, "
            "at best in train/ and val/ (and keep --data.holdout above 0)"
        )
    if "objects" in task.needs and (held_out is None or held_out.objects is None):
        raise UserError(
            f"--data {data.name} has no object masks: take shapes or a folder in Pascal VOC layout"
        )
    return data


def _keep(result: Result, folder: Path, picture: Path | None) -> Result:
    """Write a result, and give its picture its name; return it with both paths."""
    file = folder / f"{result.column}-seed{result.seed}.json"
    figure = str(file.with_suffix(".png")) if picture is not None else None
    result = replace(result, file=str(file), figure=figure)
    with atomic(file) as temporary:
        if picture is not None:
            picture.rename(file.with_suffix(".png"))
        temporary.write_text(result.to_json() + "\n")
    return result
