"""What an evaluation is: settings, what it needs, what it finds; and all there are, by name.

An evaluation is one file, of seamask or of a plugin: a dataclass of settings, a function, and

    TASKS.register("norm")(Task("length of the features", NormConfig, run, (Metric("norm"),)))

Short names of sources, in all settings: [Seq] Sam et al. 2022, appendix E; [ADIOS] scripts of Shi
et al. 2022.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

import torch

from seamask.base.errors import unknown
from seamask.base.registry import Registry
from seamask.base.settings import MOST_PIXELS, SEEDS, Within, check_ranges
from seamask.data.settings import DataConfig

if TYPE_CHECKING:
    from seamask.evaluate.subject import Subject

UNTRAINED = "untrained:"
"""Before a timm model or a run's folder: the same network before any training."""

# What a number does not depend on, or (the seed) what it is averaged over.
NOT_PROTOCOL = (
    "seed", "device", "threads", "out", "json", "data.source", "data.root", "data.cache",
    "data.resident", "data.on_bad_image", "data.objects",
    "data.normalize",  # noted beside the result; an encoder is shown what it was trained on
    "data.channels",  # the encoder's
    "data.split", "data.jpeg",  # other images, and these have another fingerprint
)  # fmt: skip


@dataclass(frozen=True)
class EvaluationConfig:
    """What every evaluation can be told."""

    data: DataConfig = field(default_factory=DataConfig)
    image_size: Annotated[int, Within(0, MOST_PIXELS)] = 0
    """Side of the images in pixels; 0: the one the encoder was made for."""
    seed: Annotated[int, Within(0, SEEDS)] = 0
    """Of all that is drawn: splits, the order of images, views, a new head. Of a run: its own, by
    which a folder without `val/` holds out the images that the run was not trained on."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: a GPU where there is one, NVIDIA's (`cuda`) or Apple's (`mps`, untested)."""
    threads: Annotated[int, Within(0, 1024)] = 0
    """CPU threads; 0: the cores that are free at the start."""
    out: str = ""
    """Folder for the result and its picture; default `evaluations/` in the run's folder, and
    nowhere for what is no run."""
    json: bool = False
    """Print the result as one JSON object."""

    def unused(self) -> tuple[str, ...]:
        """Return the settings that do not matter to what is found, as they are set."""
        return self.foreign()

    def foreign(self) -> tuple[str, ...]:
        """Return the settings of other protocols than the one that is asked for."""
        return ()

    def resolved(self) -> Self:
        """Return the settings with what is left to the protocol filled in."""
        return self

    def check(self) -> None:
        """Refuse what the ranges beside the fields cannot say; called on resolved settings.

        Raises:
            UserError: with the setting's name, its value and what to do.
        """


C = TypeVar("C", bound=EvaluationConfig)


def check(config: C) -> C:
    """Return the settings, resolved; refuse values that cannot work.

    Raises:
        UserError: the first setting found out of range, with its value and its range.
    """
    config = config.resolved()
    check_ranges(config)
    config.check()
    return config


Need = Literal["labels", "objects", "pixels", "masker"]
"""What a task cannot do without.

- `labels`: images that are held out, with classes;
- `objects`: such images with object masks, or whole ones with boxes;
- `pixels`: images of their own sizes, with a class for every pixel. The task makes the backbone
  take them; else a backbone must take squares of `image_size`;
- `masker`: the mask network of a run.
"""


@dataclass(frozen=True)
class Metric:
    """A number that a task finds.

    Attributes:
        name: `accuracy`; `*` stands for any text, so `iou/*` is one metric for each class.
        unit: `%`, or empty for a share in [0, 1], an index, a count.
    """

    name: str
    unit: Literal["", "%"] = ""


ACCURACY = (Metric("accuracy", "%"), Metric("accuracy_chance", "%"))
"""Of held-out images, and of always naming the commonest class: `Data.chance`."""


@dataclass(frozen=True, eq=False)
class Context:
    """What a task works with.

    Attributes:
        subject: the encoder.
        data: `seamask.data.Data`; for a task that needs pixels, `seamask.data.Segmentation`.
        config: of the task's own type, resolved.
        size: side in pixels at which the encoder sees images.
        device: where to compute; the backbone is there.
        masker: images `[B, 3, H, W]` → masks `[B, N, H, W]`, for a task that needs one.
        keep: given a function that writes the task's picture to a path, has it written beside the
            result; None: no picture is wanted.
        note: given a line that one must know to read the numbers, keeps it with them.
    """

    subject: Subject
    data: Any
    config: Any
    size: int
    device: torch.device
    masker: Any = None
    keep: Callable[[Callable[[Path], None]], None] | None = None
    note: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Task:
    """One kind of evaluation.

    Attributes:
        about: what it does, in a line.
        config: its settings, a frozen dataclass whose every field has a default.
        run: finds the metrics, the main one first.
        metrics: all it can find, the main one first.
        needs: what it cannot do without.
        draws: it writes a picture, a PNG.
        rivals: of `x`, the metrics `x_<rival>` are what it must beat; they are shown beside it.
    """

    about: str
    config: type[EvaluationConfig]
    run: Callable[[Context], dict[str, float]]
    metrics: tuple[Metric, ...]
    needs: tuple[Need, ...] = ()
    draws: bool = False
    rivals: tuple[str, ...] = ()

    def unit(self, metric: str) -> str:
        """Return the unit of a metric, empty if it has none."""
        return next((m.unit for m in self.metrics if fnmatchcase(metric, m.name)), "")

    def names(self, metric: str) -> bool:
        """Say whether a metric is one of those that the task names."""
        return any(fnmatchcase(metric, known.name) for known in self.metrics)

    def check_metric(self, metric: str) -> None:
        """Refuse a metric that the task does not name.

        Raises:
            UserError: with the nearest that it does.
        """
        if not self.names(metric):
            raise unknown("metric", metric, [known.name for known in self.metrics])


TASKS: Registry[Task] = Registry("evaluation")
"""All evaluations by name; those of seamask are there once `seamask.evaluate` is imported."""


@dataclass(frozen=True)
class Result:
    """What one evaluation found.

    Attributes:
        encoder: as it was named.
        task: one of `TASKS`.
        data: name of the data set.
        protocol: the settings that decide what the number means, by dotted path.
        seed: of the evaluation.
        metrics: in the units that the task names; the first is the main one.
        seconds: that it took, from opened images to numbers.
        fingerprint: of the images.
        commit: of the code.
        machine: processor.
        file: where the result is kept, if it is.
        figure: the picture beside it, if there is one.
        split: what was measured, by the name that the data set or its folder gives it.
        normalization: `mean` and `std` that images were normalised by, and whose they are: `of` the
            encoder's training or, where it had none, of the data set.
        skipped: (path, reason) of images that could not be used.
        notes: what else became of images that one might miss, and what the task says of its
            numbers.
        images: how many were `held_out` and measured, to `learn` from, and the `classes` they have;
            as far as there are. Where none are held out, `not_held_out` were there to be measured.
        weights: which ones of a run; see `RunFolder.weights`. A run that goes on has others.
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
    split: str = ""
    normalization: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    images: dict[str, int] = field(default_factory=dict)
    weights: str = ""

    def to_json(self) -> str:
        """Return one JSON object, in one line."""
        return json.dumps(asdict(self), allow_nan=False)

    @property
    def name(self) -> str:
        """What no result of other images, another protocol or another seed is called."""
        return f"{self.column}-{self.fingerprint[:8]}-seed{self.seed}"

    @property
    def column(self) -> str:
        """What may stand in one column of a table: `<task>-<data>-<digest of the protocol>`."""
        text = json.dumps(self.protocol, sort_keys=True)
        return f"{self.task}-{self.data}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
