"""The players of a run, built from its settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seamask.base.draws import derive_seed
from seamask.config import Config
from seamask.game.players import TwoPlayers, masked_share
from seamask.masks import build_masker, weights_at
from seamask.networks import Encoder, build_backbone
from seamask.networks.check import feature_width
from seamask.networks.sync_batchnorm import synchronise_batchnorm
from seamask.networks.view_batchnorm import keep_views_apart
from seamask.objectives import OBJECTIVES, Objective
from seamask.training.optim import build_optimizer
from seamask.training.processes import Processes
from seamask.training.start import Start, Started, fill


@dataclass(frozen=True)
class Networks:
    """The players' networks, how timm builds the backbone, and what it started from."""

    encoder: Encoder
    masker: nn.Module
    backbone_name: str
    backbone_arguments: dict[str, Any]
    started: Started | None = None


def build_networks(config: Config, objective: Objective, start: Start | None = None) -> Networks:
    """Build encoder and masker with random weights that depend on the seed alone.

    Args:
        config: all settings.
        objective: which says what heads there are.
        start: other weights of the backbone.

    Raises:
        UserError: an unknown backbone or masker, or a size one of them cannot take, or weights of
            another backbone.
    """
    torch.manual_seed(derive_seed(config.seed, "encoder"))
    c = config.encoder
    backbone, name, arguments = build_backbone(
        c.backbone, config.image_size, c.stem, c.patch, c.zero_init_last, config.data.channels
    )
    started = fill(backbone, start) if start else None
    encoder = objective.encoder(backbone, feature_width(backbone), c.channels_last)
    for part in encoder.modules():  # with the slow copy of BYOL
        if isinstance(part, Encoder):
            part.drop = config.masks.drop
    torch.manual_seed(derive_seed(config.seed, "masker"))
    masker = build_masker(config.masks, config.image_size, config.data.channels)
    return Networks(encoder, masker, name, arguments, started)


def build_players(
    config: Config,
    networks: Networks,
    objective: Objective,
    processes: Processes,
) -> TwoPlayers:
    """Put the networks on the device, in training mode, with optimisers and the rules of a run.

    Args:
        config: all settings.
        networks: just built.
        objective: what they were built for.
        processes: that train together: where, in which precision, and what they share.

    Raises:
        UserError: several processes, and a batch norm that cannot be synchronised.
    """
    encoder, masker, device = networks.encoder, networks.masker, processes.device
    if processes.world_size > 1:
        synchronise_batchnorm(encoder)
    if config.masks.stack:
        keep_views_apart(encoder)
    encoder.to(device).train()
    masker.to(device).train()
    optim = config.optim
    players = TwoPlayers(
        encoder=encoder,
        masker=masker,
        objective=objective,
        encoder_optimizer=build_optimizer(
            encoder, optim.encoder, optim.trust, constant=optim.constant_predictor
        ),
        masker_optimizer=(
            build_optimizer(masker, optim.masker, optim.trust) if masker.learned else None
        ),
        one_way=objective.from_one if one_sided(config) else None,
        of_view=objective.from_view if objective.alone else None,
        each=_each(config, objective),
        remember=objective.remember,
        penalty_weights=penalty_weights(config, objective),
        budget=config.masks.budget,
        role=config.masks.role,
        compare=config.masks.compare,
        reduction=config.masks.reduction,
        single=config.masks.single,
        simultaneous=config.updates == "simultaneous",
        stack=config.masks.stack,
        autocast=processes.autocast,
        average=processes.average_gradients,
        average_masks=processes.average_with_gradient,
    )
    if config.compile:
        # Dynamo looks at `.grad` of what it is given, and is warned of it: masked images are not
        # leaves.
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a")
        encoder.compile()
        masker.compile()
    return players


def _each(config: Config, objective: Objective) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return what maps a clean and a masked view to the loss of each image that is trained on."""
    if not objective.separable or objective.alone:
        return None
    return objective.of_images if not one_sided(config) else objective.of_predicted


def one_sided(config: Config) -> bool:
    """Say whether a clean view is only ever the target of a masked one, asked for or by nature."""
    return config.masks.one_sided or OBJECTIVES[config.objective.name].one_sided


def penalty_weights(config: Config, objective: Objective) -> dict[str, float]:
    """Return the weights of penalties in a run; see `weights_at`.

    Raises:
        UserError: a penalty that there is not, or a weight that is no number.
    """
    size, masks = config.image_size, config.masks
    loss_range = objective.range(config.batch_size // config.accumulate)
    loss_range *= masked_share(masks.compare, one_sided(config), objective.alone)
    if masks.reduction == "sum":
        loss_range *= 1 if masks.single else masks.n_masks
    return weights_at(config.penalties, size, size, config.batch_size, loss_range)
