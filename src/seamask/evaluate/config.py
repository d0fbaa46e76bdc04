"""Every setting of the evaluations: its type, default, unit and source.

Short names of sources: [Seq] Sam et al. 2022, appendix E; [ADIOS] scripts of Shi et al. 2022.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, Self, TypeVar

from seamask.base.errors import UserError
from seamask.base.settings import Within, check_ranges, get, leaves
from seamask.data.settings import DataConfig


@dataclass(frozen=True)
class EvaluationConfig:
    """What every evaluation can be told."""

    data: DataConfig = field(default_factory=DataConfig)
    image_size: Annotated[int, Within(0)] = 0
    """Side of the images in pixels; 0: the one the encoder was made for."""
    seed: Annotated[int, Within(0)] = 0
    """Of all that is drawn: splits, the order of images, views, a new head."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    threads: Annotated[int, Within(0)] = 0
    """CPU threads; 0: the cores that are free at the start."""
    out: str = ""
    """Folder for the result and its picture; default `evaluations/` in the run's folder, and
    nowhere for what is no run."""
    json: bool = False
    """Print the result as one JSON object."""

    def unused(self) -> tuple[str, ...]:
        """Return the settings that do not matter to this evaluation, as it is set."""
        return ()

    def resolved(self) -> Self:
        """Return the settings with what is left to the protocol filled in."""
        return self


@dataclass(frozen=True)
class KnnConfig(EvaluationConfig):
    """Weighted cosine kNN on frozen features; k and temperature are chosen on training images."""

    neighbours: Annotated[tuple[int, ...], Within(1, some=True)] = (5, 10, 20, 50, 100, 200)
    """Numbers of neighbours to choose from."""
    temperatures: Annotated[tuple[float, ...], Within(0, above=True, some=True)] = (
        0.02,
        0.05,
        0.07,
        0.1,
        0.2,
    )
    """Temperatures of the votes' weights, exp(cosine / T) (Wu et al. 2018: 0.07)."""
    share: Annotated[float, Within(0, 1, above=True, below=True)] = 0.1
    """Share of the training images on which the two are chosen."""


@dataclass(frozen=True)
class TrainingConfig(EvaluationConfig):
    """What every evaluation that trains with SGD can be told."""

    protocol: Literal["cached", "paper", "adios"] = "paper"
    """How it is trained."""
    epochs: Annotated[int, Within(1)] = 100
    """Passes over the training images."""
    batch_size: Annotated[int, Within(2)] = 0
    """Images per step; 0: the protocol's, 256 for `paper` ([Seq]), 128 for `adios` ([ADIOS])."""
    lr: Annotated[float, Within(0)] = 0.1
    """Peak learning rate, never rescaled by the batch size."""
    momentum: Annotated[float, Within(0)] = 0.9
    """Of SGD."""
    weight_decay: Annotated[float, Within(0)] = 0.0
    """None ([Seq]; [ADIOS] linear)."""
    crop: Annotated[tuple[float, float], Within(0, 1, above=True, rising=True)] = (0.08, 1.0)
    """Area of the random resized crop, as a share of the image ([ADIOS] scripts)."""
    flip: Annotated[float, Within(0, 1)] = 0.5
    """Probability of a horizontal flip."""
    centre_crop: bool = False
    """Test on the middle `image_size` pixels of images that are stored larger, at `data.size`, not
    on whole images. [ADIOS]'s scripts do so on ImageNet100s and nowhere else, so `adios` leaves it
    to you: `--centre-crop --data.size 256`, with images made by `seamask data imagenet100s --size
    256`, is the middle 14 % of them at 96 pixels."""

    def resolved(self) -> Self:
        """Return the settings with what is left to the protocol filled in."""
        return replace(
            self, batch_size=self.batch_size or (128 if self.protocol == "adios" else 256)
        )


@dataclass(frozen=True)
class LinearConfig(TrainingConfig):
    """A linear classifier on frozen features."""

    protocol: Literal["cached", "paper", "adios"] = "cached"
    """`paper`: SGD on augmented views, the backbone frozen in eval mode, the learning rate fixed
    ([Seq]). `adios`: the same inside LARS, trust coefficient 1e-3, no clip, and the rate falls in
    steps ([ADIOS] scripts). `cached`: features computed once, then logistic regression to
    convergence, its strength chosen on training images: ten times faster and more; the settings of
    SGD do not matter."""
    epochs: Annotated[int, Within(1)] = 100
    """Passes over the training images ([ADIOS] scripts)."""
    lr: Annotated[float, Within(0)] = 0.1
    """Learning rate ([Seq])."""
    milestones: Annotated[tuple[float, ...], Within(0, 1, above=True)] = ()
    """Where the learning rate falls to a tenth, as shares of the epochs; none given: the
    protocol's, nowhere for `paper` ([Seq]: "fixed"), 0.6 and 0.8 for `adios` ([ADIOS]: epochs 60
    and 80). 1: nowhere."""
    strengths: Annotated[tuple[float, ...], Within(0, above=True, some=True)] = (
        0.001,
        0.01,
        0.1,
        1.0,
    )
    """`cached`: inverse L2 strengths C to choose from, on standardised features."""
    share: Annotated[float, Within(0, 1, above=True, below=True)] = 0.1
    """`cached`: share of the training images on which C is chosen."""

    def unused(self) -> tuple[str, ...]:
        """Return the settings of the other protocol."""
        sgd = (
            "epochs", "batch_size", "lr", "momentum", "weight_decay", "crop", "flip", "centre_crop",
            "milestones",
        )  # fmt: skip
        return sgd if self.protocol == "cached" else ("strengths", "share")

    def resolved(self) -> Self:
        """Return the settings with what is left to the protocol filled in."""
        steps = (0.6, 0.8) if self.protocol == "adios" else ()
        return replace(super().resolved(), milestones=self.milestones or steps)


@dataclass(frozen=True)
class FinetuneConfig(TrainingConfig):
    """The whole network trained with labels, from the pretrained backbone."""

    protocol: Literal["paper", "adios"] = "paper"
    """`paper`: SGD ([Seq]; that batch norm trains as usual is ours, [Seq] says nothing of it).
    `adios`: SGD inside LARS, trust coefficient 1e-3, no clip, and the backbone in eval mode, so
    that batch norm's running statistics stay those of the pretraining ([ADIOS] scripts)."""
    epochs: Annotated[int, Within(1)] = 200
    """Passes over the training images ([ADIOS] scripts)."""
    lr: Annotated[float, Within(0)] = 0.5
    """Peak learning rate ([Seq]), after a linear warm-up and before a cosine to 0."""
    warmup_epochs: Annotated[float, Within(0)] = 10.0
    """Of linear warm-up from 0 ([ADIOS] scripts, whose rate moves by epoch, ours by step)."""
    weight_decay: Annotated[float, Within(0)] = -1.0
    """−1: the protocol's, none for `paper` ([Seq]), 5e-4 for `adios` ([ADIOS] scripts), whose
    biases and norms have none."""

    def resolved(self) -> Self:
        """Return the settings with what is left to the protocol filled in."""
        usual = 5e-4 if self.protocol == "adios" else 0.0
        given = self.weight_decay
        return replace(super().resolved(), weight_decay=usual if given == -1 else given)


@dataclass(frozen=True)
class MasksEvaluationConfig(EvaluationConfig):
    """How well learned masks follow objects."""

    threshold: Annotated[float, Within(0, 1)] = 0.5
    """A pixel counts as removed from here on."""
    empty: Annotated[float, Within(0, 1)] = 0.01
    """A mask that removes less than this share of the image counts as empty."""


@dataclass(frozen=True)
class ClusterConfig(EvaluationConfig):
    """k-means on frozen features of the held-out images, as many clusters as classes."""

    restarts: Annotated[int, Within(1)] = 10
    """Of k-means; the best is kept."""


@dataclass(frozen=True)
class SegmentConfig(EvaluationConfig):
    """Semantic segmentation: a fully convolutional network on the backbone, fine-tuned with SGD.

    Linear warm-up, then a polynomial decay (power 0.9). [FCN] Shelhamer et al. 2015; [torchvision]
    its reference training of FCN; [Seq] gives none.
    """

    image_size: Annotated[int, Within(0)] = 480
    """Shorter side in pixels that images are resized to, aspect kept ([torchvision]: 480–520)."""
    crop: Annotated[int, Within(0)] = 0
    """Side in pixels of the square training crops; 0 means the image size ([torchvision])."""
    scale: Annotated[tuple[float, float], Within(0, 100, above=True, rising=True)] = (0.5, 2.0)
    """Images are rescaled by a random factor before the crop (least, most; [torchvision])."""
    epochs: Annotated[int, Within(1)] = 30
    """Passes over the training images ([torchvision])."""
    batch_size: Annotated[int, Within(2)] = 16
    """Crops per step."""
    lr: Annotated[float, Within(0)] = 0.01
    """Peak learning rate ([torchvision]); never rescaled by the batch size."""
    backbone_lr_factor: Annotated[float, Within(0)] = 1.0
    """The backbone's learning rate, as a factor of `lr`; 1 as in [FCN] and [torchvision]."""
    weight_decay: Annotated[float, Within(0)] = 1e-4
    """[torchvision]."""
    momentum: Annotated[float, Within(0)] = 0.9
    """[torchvision]."""
    warmup_epochs: Annotated[int, Within(0)] = 1
    """Epochs over which the learning rate rises linearly."""
    workers: Annotated[int, Within(-1)] = -1
    """Processes that prepare images beside the training; −1: up to 8 beside a GPU, none on a CPU.
    Never changes a result."""


T = TypeVar("T", bound=EvaluationConfig)


def check(config: T) -> T:
    """Return the settings, resolved; refuse values that cannot work.

    Raises:
        UserError: the first setting found out of range, with its value and its range.
    """
    config = config.resolved()
    check_ranges(config)
    present = {path for path, _ in leaves(type(config))}
    if "centre_crop" in present and get(config, "centre_crop"):
        stored, size = config.data.size, config.image_size  # 0: not known yet
        if stored <= size and "centre_crop" not in config.unused():
            kept = f"the {size} pixels" if size else "what"
            raise UserError(
                f"--data.size is {stored}: --centre-crop needs images stored larger than {kept} it "
                "keeps, as with --data.size 256"
            )
    return config
