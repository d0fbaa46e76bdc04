"""A linear classifier on frozen features: on cached ones to convergence, or by SGD on views."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from seamask.base.errors import UserError
from seamask.base.settings import Within, flag
from seamask.data import Data
from seamask.evaluate.features import Features, labelled_features, percent
from seamask.evaluate.sgd import (
    Batches,
    SgdConfig,
    accuracy,
    build_head,
    build_sgd,
    check_convergence,
    learn,
)
from seamask.evaluate.task import ACCURACY, TASKS, Context, Metric, Task
from seamask.networks.check import channels_of

ITERATIONS = 200  # of logistic regression, at most
GRADIENT = 1e-4  # of the mean loss: it ends where none is larger, or the loss falls by less than
CHANGE = 1e-8


@dataclass(frozen=True)
class LinearConfig(SgdConfig):
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
    milestones: Annotated[tuple[float, ...] | None, Within(0, 1, above=True)] = None
    """Where the learning rate falls to a tenth, as shares of the epochs; none given: nowhere. None:
    the protocol's, nowhere for `paper` ([Seq]: "fixed"), 0.6 and 0.8 for `adios` ([ADIOS]: epochs
    60 and 80)."""
    strengths: Annotated[tuple[float, ...], Within(0, above=True, some=True)] = (
        0.001,
        0.01,
        0.1,
        1.0,
    )
    """`cached`: inverse L2 strengths C to choose from, on standardised features."""
    share: Annotated[float, Within(0, 1, above=True, below=True)] = 0.1
    """`cached`: share of the training images on which C is chosen."""

    def foreign(self) -> tuple[str, ...]:
        """Return the settings of other protocols."""
        sgd = (
            "epochs", "batch_size", "lr", "momentum", "weight_decay", "crop", "flip", "centre_crop",
            "milestones",
        )  # fmt: skip
        return sgd if self.protocol == "cached" else ("strengths", "share")

    def check(self) -> None:
        """Refuse settings that another protocol has."""
        super().check()
        usual = LinearConfig(protocol=self.protocol).resolved()
        for name in self.foreign():
            if (value := getattr(self, name)) != getattr(usual, name):
                raise UserError(
                    f"{flag(name, LinearConfig)} {value}: --protocol {self.protocol} has no such "
                    f"setting; leave it out, or take "
                    f"{'paper or adios' if self.protocol == 'cached' else 'cached'}"
                )

    def resolved(self) -> Self:
        """Return the settings with what is left to the protocol filled in."""
        given, usual = self.milestones, (0.6, 0.8) if self.protocol == "adios" else ()
        return replace(super().resolved(), milestones=usual if given is None else given)


def run(context: Context) -> dict[str, float]:
    """Return the accuracy in % and chance; of `cached` features the strength chosen, too."""
    config: LinearConfig = context.config
    backbone, data = context.subject.backbone, context.data
    chance = {"accuracy_chance": data.chance}
    if config.protocol != "cached":
        accuracy = linear_sgd(backbone, data, context.size, config, context.device)
        return {"accuracy": accuracy, **chance}
    features = labelled_features(context)
    strength = features.split(config.share, config.seed).fitted(
        context.device, lambda split: linear_choose(split, config.strengths)
    )
    accuracy = features.fitted(context.device, lambda x: linear_accuracy(x, strength))
    return {"accuracy": accuracy, **chance, "strength": strength}


TASKS.register("linear")(
    Task(
        "a linear classifier on frozen features: --protocol cached (fast), paper or adios",
        LinearConfig,
        run,
        (*ACCURACY, Metric("strength")),
        needs=("labels",),
        rivals=("chance",),
    )
)


# On cached features


def linear_accuracy(features: Features, strength: float, gradient: float = GRADIENT) -> float:
    """Return the accuracy in % of logistic regression on standardised features.

    Args:
        features: of training and test images.
        strength: C, the inverse of the L2 strength.
        gradient: of the mean loss: the fit ends where none is larger.
    """
    return _linear_path(features, [strength], gradient)[0]


def linear_choose(features: Features, strengths: Sequence[float]) -> float:
    """Return the C that classifies `features.test` best, the strongest penalty of equals.

    Give it a split of the training images, never the test images.
    """
    strengths = sorted(strengths)
    scores = _linear_path(features, strengths)
    return strengths[scores.index(max(scores))]


def _linear_path(
    features: Features, strengths: Sequence[float], gradient: float = GRADIENT
) -> list[float]:
    """Return the accuracy in % at each C, each fit starting where the one before ended.

    Computed where the features are: on a GPU the rest of a machine goes on with its own work.
    """
    labels = features.train_labels.clone()
    if len(labels.unique()) < 2:
        raise UserError(
            f"labelled training images that are fitted on: {len(labels)}, of one class: "
            "give more of each class"
        )
    std, mean = torch.std_mean(features.train.float(), 0, correction=0)
    std = torch.where(std > 0, std, 1)
    train, test = ((x.float() - mean) / std for x in (features.train, features.test))
    classes = int(labels.max()) + 1
    weight = train.new_zeros(classes, train.shape[1], requires_grad=True)
    bias = train.new_zeros(classes, requires_grad=True)
    scores = []
    for strength in strengths:
        _fit(weight, bias, train, labels, strength, gradient)
        with torch.no_grad():
            guess = F.linear(test, weight, bias).argmax(1)
        scores.append(percent(guess == features.test_labels))
    return scores


def _fit(
    weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor, strength: float, gradient: float
) -> None:
    """Fit softmax regression by L-BFGS, in place and from where it stands: the sum of losses and
    ‖W‖² / 2C.

    What scikit-learn's `LogisticRegression` minimises. For two classes it has one row of weights
    for two, w = W₁ − W₀ = 2 W₁: then ‖w‖² = 2 ‖W‖².
    """
    optimizer = torch.optim.LBFGS(
        (weight, bias), max_iter=ITERATIONS, tolerance_grad=gradient, tolerance_change=CHANGE,
        history_size=10, line_search_fn="strong_wolfe",
    )  # fmt: skip
    rows = 2 if len(bias) == 2 else 1

    def loss() -> Tensor:
        optimizer.zero_grad()
        penalty = rows * weight.square().sum() / (2 * strength * len(features))
        value = F.cross_entropy(F.linear(features, weight, bias), labels) + penalty
        value.backward()
        return value

    optimizer.step(loss)


# By SGD on views


def linear_sgd(
    backbone: nn.Module, data: Data, size: int, config: LinearConfig, device: torch.device
) -> float:
    """Return the accuracy in % of a linear classifier on the frozen backbone.

    As [Seq] appendix E or, with `protocol="adios"`, [ADIOS]'s scripts have it.

    The backbone stays in eval mode and is bit-identical afterwards, running statistics included.

    Args:
        backbone: `[B, 3, H, W]` → `[B, F]`.
        data: with labels.
        size: side of the views in pixels.
        config: SGD and views, resolved.
        device: where to compute.

    Raises:
        UserError: losses or weights are not finite any more.
    """
    backbone = backbone.to(device).eval()

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = backbone(images)
        return found

    blank = torch.zeros(1, channels_of(backbone), size, size, device=device)
    width = features(blank).shape[1]
    head = build_head(width, len(data.classes), config.seed).to(device)
    optimizer = build_sgd(head, config)
    batches = Batches(data, size, config, device, "linear probe")
    schedule = falling(optimizer, config, batches.steps)
    losses = deque[Tensor](maxlen=batches.steps)
    for images, labels in batches:
        losses.append(learn(head(features(images)), labels, optimizer, schedule))
    check_convergence(losses, head, len(data.classes), config.lr, "the linear classifier")
    return accuracy(nn.Sequential(backbone, head), data, size, config)


def falling(optimizer: Optimizer, config: LinearConfig, steps: int) -> LRScheduler:
    """Return the schedule of the linear classifier, which moves at each of an epoch's `steps`."""
    assert config.milestones is not None  # resolved
    milestones = [round(share * config.epochs) * steps for share in config.milestones]
    return MultiStepLR(optimizer, milestones, gamma=0.1)
