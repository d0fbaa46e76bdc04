"""One evaluation of one encoder: which tasks there are, and what a result says."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from seamask.base import settings
from seamask.base.devices import torch_device
from seamask.base.errors import UserError, unknown
from seamask.base.files import atomic
from seamask.base.provenance import commit, processor
from seamask.data import Data, load
from seamask.data.segmentation import load_segmentation
from seamask.evaluate import masks as mask_scores
from seamask.evaluate import probes
from seamask.evaluate.classify import finetune, linear_sgd
from seamask.evaluate.config import (
    ClusterConfig,
    EvaluationConfig,
    FinetuneConfig,
    KnnConfig,
    LinearConfig,
    MasksEvaluationConfig,
    SegmentConfig,
    check,
)
from seamask.evaluate.segment import finetune_segmentation
from seamask.evaluate.subject import UNTRAINED, Subject, open_subject
from seamask.runs import RunFolder
from seamask.show.figures import coloured, mask_figure, segmentation_figure

FIGURE_IMAGES = 8
# What a number does not depend on, or (the seed) what it is averaged over.
NOT_PROTOCOL = (
    "seed", "device", "threads", "workers", "out", "json", "data.source", "data.root", "data.cache",
    "data.resident", "data.on_bad_image", "data.objects",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What one evaluation found.

    Attributes:
        encoder: as it was named.
        task: one of `TASKS`.
        data: name of the data set.
        protocol: the settings that decide what the number means, by dotted path.
        seed: of the evaluation.
        metrics: in % (accuracies, mIoU) or in [0, 1] (IoU, ARI, shares); the first is the main one.
        seconds: that it took, from opened images to numbers.
        fingerprint: of the images.
        commit: of the code.
        machine: processor.
        file: where the result is kept, if it is.
        figure: the picture beside it, if there is one.
    """

    encoder: str
    task: str
    data: str
    protocol: dict[str, Any]
    seed: int
    metrics: dict[str, float]
    seconds: float
    fingerprint: str
    commit: str
    machine: str
    file: str | None = None
    figure: str | None = None

    def to_json(self) -> str:
        """Return one JSON object, in one line."""
        return json.dumps(asdict(self))

    @property
    def column(self) -> str:
        """What may stand in one column of a table: task, data and protocol, as a short name."""
        return column(self.task, self.data, self.protocol)


def column(task: str, data: str, protocol: dict[str, Any]) -> str:
    """Return `<task>-<data>-<digest of the protocol>`."""
    digest = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8]
    return f"{task}-{data}-{digest}"


@dataclass(frozen=True)
class Context:
    """What a task works with."""

    subject: Subject
    config: Any  # of the task's own type
    size: int
    device: torch.device
    figure: Path | None


@dataclass(frozen=True)
class Found:
    """What a task returns: metrics, and which images they are of."""

    metrics: dict[str, float]
    data: str
    fingerprint: str


@dataclass(frozen=True)
class Task:
    """One kind of evaluation."""

    about: str
    config: type[EvaluationConfig]
    run: Callable[[Context], Found]
    draws: bool = False
    """It writes a picture."""


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
    return start(str(encoder), task, settings.override(config, changed))


def task_config(task: str, encoder: str | None = None) -> EvaluationConfig:
    """Return a task's default settings; with a run's folder, on the data of that run.

    Raises:
        UserError: an unknown task, or a folder that holds no run.
    """
    if task not in TASKS:
        raise unknown("evaluation", task, TASKS)
    config = TASKS[task].config()
    run = Path((encoder or "").removeprefix(UNTRAINED)).expanduser()
    if encoder is not None and run.is_dir():
        data = RunFolder.of_run(run).read_config().data
        config = replace(config, data=replace(data, limit=0, size=0, objects=""))
    return config


def start(encoder: str, task: str, config: EvaluationConfig) -> Result:
    """Evaluate an encoder with fully resolved settings; see `evaluate`.

    Raises:
        UserError: what a user can mend, in one line.
    """
    config = check(config)
    commit()  # of the code that is in memory now
    device = torch_device(config.device, config.threads)
    own_size = config.image_size if task != "segment" else 0  # its images are larger than crops
    subject = open_subject(encoder, own_size, config.seed)
    subject.backbone.to(device)
    size = config.image_size or subject.image_size
    config = check(replace(config, image_size=size))
    if task != "segment":  # an FCN takes any size
        _check_size(subject, size, device)
    folder = Path(config.out).expanduser() if config.out else None
    if folder is None and subject.run is not None:
        folder = subject.run.evaluations
    protocol = {
        path: settings.plain(settings.get(config, path))
        for path, _ in settings.leaves(type(config))
        if path not in NOT_PROTOCOL and path not in config.unused()
    }
    picture = folder / f".{task}.png" if folder and TASKS[task].draws else None
    started = time.perf_counter()
    try:
        found = TASKS[task].run(Context(subject, config, size, device, picture))
        seconds = round(time.perf_counter() - started, 2)
        result = Result(
            encoder, task, found.data, protocol, config.seed, found.metrics, seconds,
            found.fingerprint, commit(), processor(),
        )  # fmt: skip
        if folder is not None:
            result = _keep(result, folder, picture)
    finally:
        if picture is not None:
            picture.unlink(missing_ok=True)
    return result


@torch.no_grad()
def _check_size(subject: Subject, size: int, device: torch.device) -> None:
    try:
        subject.backbone(torch.zeros(1, 3, size, size, device=device))
    except (AssertionError, RuntimeError) as error:  # timm's models raise either
        reason = str(error).splitlines()[0]
        raise UserError(f"{subject.name} cannot take {size} pixels: {reason}") from error


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


def _data(context: Context, labels: bool = True) -> Data:
    config = context.config
    data = load(config.data, context.size, config.seed)
    if labels and (data.probe_test is None or data.probe_test.labels is None):
        raise UserError(
            f"--data {data.name}: no labelled images are held out: put them into class folders, "
            "at best in train/ and val/ (and keep --data.holdout above 0)"
        )
    return data


def _features(context: Context) -> tuple[probes.Features, Data]:
    data = _data(context)
    features = probes.features_of(context.subject.backbone, data, context.size)
    if features is None:
        raise UserError(f"--data {data.name}: all its images are of one class")
    return features, data


def _knn(context: Context) -> Found:
    config, (features, data) = context.config, _features(context)
    split = features.split(config.share, config.seed)
    k, temperature = probes.knn_choose(split, config.neighbours, config.temperatures)
    accuracy = probes.knn_accuracy(features, k, temperature)
    metrics = {"accuracy": accuracy, "k": float(k), "temperature": temperature}
    return Found(metrics, data.name, data.fingerprint)


def _linear(context: Context) -> Found:
    config = context.config
    if config.protocol != "cached":
        data = _data(context)
        accuracy = linear_sgd(context.subject.backbone, data, context.size, config, context.device)
        return Found({"accuracy": accuracy}, data.name, data.fingerprint)
    features, data = _features(context)
    strength = probes.linear_choose(features.split(config.share, config.seed), config.strengths)
    accuracy = probes.linear_accuracy(features, strength)
    return Found({"accuracy": accuracy, "strength": strength}, data.name, data.fingerprint)


def _finetune(context: Context) -> Found:
    data = _data(context)
    accuracy = finetune(
        context.subject.backbone, data, context.size, context.config, context.device
    )
    return Found({"accuracy": accuracy}, data.name, data.fingerprint)


def _cluster(context: Context) -> Found:
    config, (features, data) = context.config, _features(context)
    metrics = probes.cluster_scores(
        features.test, features.test_labels, config.restarts, config.seed
    )
    return Found(metrics, data.name, data.fingerprint)


def _masks(context: Context) -> Found:
    config, size = context.config, context.size
    masker = context.subject.masker().to(context.device)
    own = context.subject.config.image_size if context.subject.config else size
    if own != size:
        raise UserError(f"--image-size {size}: the mask network sees {own} pixels")
    whole = replace(context, config=replace(config, data=replace(config.data, size=0)))
    data = _data(whole, labels=False)  # stored at the size the mask network sees
    images = data.probe_test
    if images is None or images.objects is None:
        raise UserError(
            f"--data {data.name} has no object masks: take shapes or a folder in Pascal VOC layout"
        )
    masks = mask_scores.predict(masker, images.pixels, size, data.mean, data.std)
    objects = mask_scores.resized(images.objects, size)
    removed = masks >= config.threshold
    rivals = {
        "random": mask_scores.blocks_like(removed).float(),
        "colour": mask_scores.colour_clusters(images.pixels, masks.shape[1]).float(),
    }
    metrics = mask_scores.following(masks, objects, config.threshold)
    for name, rival in rivals.items():
        found = mask_scores.following(rival, objects)
        metrics |= {f"{measure}_{name}": value for measure, value in found.items()}
    metrics |= mask_scores.statistics(masks, config.threshold, config.empty)
    if context.figure is not None:
        shown = torch.linspace(0, len(masks) - 1, min(FIGURE_IMAGES, len(masks))).long()
        rows = {"objects": coloured(objects[shown])}
        mask_figure(images.pixels[shown], masks[shown], context.figure, rows=rows)
    return Found(metrics, data.name, data.fingerprint)


def _segment(context: Context) -> Found:
    config = context.config
    data = load_segmentation(config.data, context.size, config.seed)
    metrics, pictures = finetune_segmentation(
        context.subject.backbone, data, settings=config, device=context.device
    )
    if context.figure is not None:
        segmentation_figure(
            pictures.images, pictures.truths, pictures.predictions, data.classes, context.figure
        )
    return Found(metrics, data.name, data.fingerprint)


TASKS: dict[str, Task] = {
    "knn": Task("weighted cosine kNN on frozen features", KnnConfig, _knn),
    "linear": Task("a linear classifier on frozen features", LinearConfig, _linear),
    "finetune": Task("the whole network trained with labels", FinetuneConfig, _finetune),
    "segment": Task("semantic segmentation with an FCN", SegmentConfig, _segment, draws=True),
    "masks": Task("how learned masks follow objects", MasksEvaluationConfig, _masks, draws=True),
    "cluster": Task("k-means clusters against classes", ClusterConfig, _cluster),
}
