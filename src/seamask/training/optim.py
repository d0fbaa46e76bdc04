"""Optimisers and learning rates as ADIOS's code has them, and the plain ones."""

from __future__ import annotations

import math

from timm.optim import Lars
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from seamask.base.optimizers import weight_groups
from seamask.training.settings import OptimConfig, PlayerConfig


def build_optimizer(
    module: nn.Module, player: PlayerConfig, trust: float, constant: bool = False
) -> Optimizer:
    """Build the optimiser of one player.

    Parameters with one dimension (biases, norms) get neither weight decay nor LARS.

    LARS (You et al. 2017, as in solo-learn and ADIOS): SGD with momentum on
    `(g + λ w) · min(trust · ‖w‖ / (‖g‖ + λ ‖w‖) / lr, 1)`.

    Args:
        module: the player's network.
        player: optimiser, learning rate, weight decay and momentum.
        trust: LARS's trust coefficient.
        constant: the module's `predictor`, if it has one, keeps its learning rate.
    """
    predictor = getattr(module, "predictor", None) if constant else None
    still = set() if predictor is None else set(predictor.parameters())
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {**group, "constant": keeps}
        for keeps in ([False, True] if still else [False])
        for group in weight_groups(
            [p for p in parameters if (p in still) == keeps], player.weight_decay
        )
    ]
    if player.optimizer == "adamw":
        return AdamW(groups, lr=player.lr, betas=(player.momentum, 0.999))
    if player.optimizer == "sgd":
        return SGD(groups, lr=player.lr, momentum=player.momentum)
    lars: Optimizer = Lars(
        groups, lr=player.lr, momentum=player.momentum, trust_coeff=trust, trust_clip=True
    )
    return lars


def learning_rate(config: OptimConfig, peak: float, epochs: int, epoch: float) -> float:
    """Return the learning rate at a point of training.

    Linear warm-up from `warmup_start`, or `peak` if that is lower, to `peak`, then a cosine to
    `min_lr` at the last epoch's end. Once per epoch the warm-up reaches its peak at its last epoch,
    as in solo-learn's `LinearWarmupCosineAnnealingLR`; per step, at its end.

    Args:
        config: the schedule.
        peak: the player's learning rate.
        epochs: epochs in all.
        epoch: epochs done so far; with `per="step"` a fraction, with `per="epoch"` rounded down.
    """
    warmup = config.warmup_epochs
    start = min(config.warmup_start, peak)  # a player that is slower than that does not begin fast
    climb = warmup
    if config.per == "epoch":
        epoch = math.floor(epoch)
        climb = max(warmup - 1, 1)
    if epoch < warmup:
        rate = (
            peak
            if warmup == 1 and config.per == "epoch"
            else (start + (peak - start) * epoch / climb)
        )
    else:
        done = (epoch - warmup) / max(epochs - warmup, 1)
        end = min(config.min_lr, peak)  # as above
        rate = end + (peak - end) * (1 + math.cos(math.pi * done)) / 2
    return rate


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group but those that keep theirs."""
    for group in optimizer.param_groups:
        if not group.get("constant"):
            group["lr"] = rate
