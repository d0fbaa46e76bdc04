"""What is refused before any time is spent on data."""

from __future__ import annotations

import torch

from seamask.base.devices import check_device, kind_of
from seamask.base.errors import UserError
from seamask.config import Config, check
from seamask.masks import Role, build_masker, check_masker
from seamask.networks.check import check_backbone
from seamask.networks.tokens import check_drops
from seamask.objectives import build_objective
from seamask.plugins import is_ours
from seamask.training.cluster import Place
from seamask.training.memory import check_memory, foretell_memory
from seamask.training.players import build_networks, penalty_weights
from seamask.training.stepper import can_record


def preflight(config: Config, place: Place | None = None, closely: bool = False) -> str:
    """Refuse settings that cannot work before any time is spent on data.

    Args:
        config: all settings.
        place: of this process among those that train; None: what `--devices` asks for.
        closely: where memory may be short, take two small steps to see what a large one takes.

    Returns:
        What memory a step takes, in words, if that was seen.

    Raises:
        UserError: the first thing found.
    """
    check(config)
    here = processes_here(config, place or Place())
    check_device(config.device, here, config.precision)
    if config.cuda_graph == "yes" and not can_record(config, kind_of(config.device)):
        raise UserError(
            "--cuda-graph yes needs one GPU and no --masks.drop; auto records where that can be"
        )
    objective = build_objective(config.objective)
    if config.masks.one_sided and not objective.directed:
        raise UserError(
            f"--masks.one-sided needs an objective that predicts one view from the other, "
            f"not {config.objective.name}"
        )
    if config.masks.masker == "hardest" and not objective.separable:
        raise UserError(
            f"--masker hardest needs the loss of each image, which {config.objective.name} does "
            "not give: define its `each`, or take another masker"
        )
    if config.masks.masker == "none" and objective.alone:
        raise UserError(
            f"--objective {config.objective.name} predicts what masks remove, and --masker none "
            "removes nothing: take --masker random-patch, say"
        )
    if config.optim.constant_predictor and not objective.predicts:
        raise UserError(
            f"--optim.constant-predictor needs byol or simsiam: {config.objective.name} has no "
            "predictor"
        )
    if config.masks.masker == "simultaneous" and config.masks.n_masks == 1:
        raise UserError(
            "--n-masks 1 with --masker simultaneous: its masks share out every pixel, so one would "
            "remove all of every image; take 2 or more"
        )
    penalty_weights(config, objective)
    with torch.device("meta"):
        networks = build_networks(config, objective)
    if config.masks.role != Role() and not networks.masker.learned:
        raise UserError(
            f"--masks.role {config.masks.role}: --masker {config.masks.masker} learns nothing"
        )
    if not is_ours(type(networks.masker)):
        size, channels = config.image_size, config.data.channels
        check_masker(build_masker(config.masks, size, channels), size, channels)
    backbone, encoder = networks.encoder.backbone, config.encoder
    check_memory(config, networks, here)
    check_backbone(backbone, encoder.backbone, config.image_size, encoder.channels_last)
    if config.masks.drop:
        check_drops(backbone, networks.backbone_name)
    if objective.alone:  # on `meta` nothing is computed
        shape = 2, config.data.channels, config.image_size, config.image_size
        images = torch.zeros(shape, device="meta")
        objective.of_view(networks.encoder(images), images, images[:, :1])
    return foretell_memory(config, networks, here) if closely else ""


def processes_here(config: Config, place: Place) -> int:
    """Return how many processes of a run are on this machine."""
    return place.local_size if place.world_size > 1 else config.devices
