"""The whole network trained with labels, from the pretrained backbone."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from seamask.base.draws import derive_seed
from seamask.base.optimizers import warmed_up
from seamask.base.settings import Within
from seamask.data import Data
from seamask.evaluate.sgd import (
    Batches,
    SgdConfig,
    accuracy,
    build_head,
    build_sgd,
    check_convergence,
    learn,
)
from seamask.evaluate.task import ACCURACY, TASKS, Context, Task
from seamask.networks.check import channels_of


@dataclass(frozen=True)
class FinetuneConfig(SgdConfig):
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
    weight_decay: Annotated[float | None, Within(0)] = None
    """None: the protocol's, 0 for `paper` ([Seq]), 5e-4 for `adios` ([ADIOS] scripts), whose biases
    and norms have none."""

    def resolved(self) -> Self:
        """Return the settings with what is left to the protocol filled in."""
        if self.weight_decay is None and self.protocol == "adios":
            return replace(super().resolved(), weight_decay=5e-4)
        return super().resolved()


def run(context: Context) -> dict[str, float]:
    """Return the accuracy in %, and that of chance."""
    backbone, data = context.subject.backbone, context.data
    config: FinetuneConfig = context.config
    if config.warmup_epochs >= config.epochs:
        context.note(
            f"the warm-up of {config.warmup_epochs:g} epochs is not over after {config.epochs}: "
            "the rate only rises; see --warmup-epochs"
        )
    accuracy = finetune(backbone, data, context.size, config, context.device)
    return {"accuracy": accuracy, "accuracy_chance": data.chance}


TASKS.register("finetune")(
    Task(
        "the whole network trained with labels: --protocol paper or adios",
        FinetuneConfig,
        run,
        ACCURACY,
        needs=("labels",),
        rivals=("chance",),
    )
)


def finetune(
    backbone: nn.Module, data: Data, size: int, config: FinetuneConfig, device: torch.device
) -> float:
    """Return the accuracy in % after training backbone and classifier.

    A copy is trained: the backbone itself stays as it was. Arguments as for `linear_sgd`.

    Raises:
        UserError: the loss is not finite any more.
    """
    return accuracy(finetuned(backbone, data, size, config, device), data, size, config)


def finetuned(
    backbone: nn.Module, data: Data, size: int, config: FinetuneConfig, device: torch.device
) -> nn.Sequential:
    """Return a copy of the backbone, trained, and its classifier; see `finetune`.

    As [Seq] appendix E or, with `protocol="adios"`, [ADIOS]'s scripts have it.
    """
    backbone = deepcopy(backbone).to(device).eval()
    blank = torch.zeros(1, channels_of(backbone), size, size, device=device)
    with torch.no_grad():
        width = backbone(blank).shape[1]
    model = nn.Sequential(
        backbone, build_head(width, len(data.classes), config.seed).to(device)
    ).train()
    if config.protocol == "adios":
        backbone.eval()  # running statistics stay; scale and shift of batch norm are trained
    optimizer = build_sgd(model, config)
    batches = Batches(data, size, config, device, "fine-tuning")
    total = config.epochs * batches.steps
    warmup = min(round(config.warmup_epochs * batches.steps), total - 1)
    schedule = warmed_up(optimizer, CosineAnnealingLR(optimizer, total - warmup), warmup)
    losses = deque[Tensor](maxlen=batches.steps)
    for step, (images, labels) in enumerate(batches):
        torch.manual_seed(
            derive_seed(config.seed, step, "layers")
        )  # for layers that draw (dropout)
        losses.append(learn(model(images), labels, optimizer, schedule))
    check_convergence(losses, model, len(data.classes), config.lr, "fine-tuning")
    return model
