"""What is refused before any time is spent on data."""

from __future__ import annotations

import torch

from seamask.base.devices import check_device, kind_of, memory_total
from seamask.base.errors import UserError
from seamask.config import Config, check
from seamask.masks import Role, build_masker, check_masker
from seamask.networks.check import check_backbone
from seamask.networks.tokens import check_drops
from seamask.objectives import build_objective
from seamask.plugins import is_ours
from seamask.training.cluster import Place
from seamask.training.players import Networks, build_networks, penalty_weights
from seamask.training.stepper import can_record


def preflight(config: Config, place: Place | None = None) -> None:
    """Refuse settings that cannot work before any time is spent on data.

    Args:
        config: all settings.
        place: of this process among those that train; None: what `--devices` asks for.

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


def processes_here(config: Config, place: Place) -> int:
    """Return how many processes of a run are on this machine."""
    return place.local_size if place.world_size > 1 else config.devices


def check_memory(config: Config, networks: Networks, here: int = 1) -> None:
    """Refuse settings that ask for more memory than a device has, by the least that they take.

    Args:
        config: all settings.
        networks: on any device, such as `meta`.
        here: processes on this machine.

    Raises:
        UserError: with both amounts.
    """
    weights, images = least_bytes(config, networks)
    kind = kind_of(config.device)
    on_gpu = kind == "cuda"  # Apple's has the host's memory
    processes = 1 if on_gpu else here  # that share the memory
    there = memory_total(torch.device("cuda" if on_gpu else "cpu"))
    if processes * (weights + images) <= there:
        return
    asked = (
        f"these settings take {processes * (weights + images) / 2**30:,.1f} GiB at least, and "
        f"{'the GPU' if on_gpu else 'this machine'} has {there / 2**30:,.1f} GiB"
    )
    if processes * weights > there:
        raise UserError(
            f"{asked}, of which networks and optimisers take "
            f"{processes * weights / 2**30:,.1f} GiB: take a smaller --backbone "
            f"{config.encoder.backbone}, --masks.width {config.masks.width}, --masks.bottleneck "
            f"{config.masks.bottleneck}, --objective.hidden, "
            f"--objective.out-dim {config.objective.out_dim} or --objective.queue "
            f"{config.objective.queue}"
        )
    each = images / config.micro_batch
    share = config.batch_size // config.devices
    fitting = [
        parts
        for parts in range(config.accumulate + 1, share // 2 + 1)
        if share % parts == 0 and processes * (weights + share // parts * each) <= there
    ]
    larger = f", or --accumulate {fitting[0]} or more" if fitting else ""
    raise UserError(
        f"{asked}: take a smaller --batch-size {config.batch_size}, --image-size "
        f"{config.image_size} or --n-masks {config.masks.n_masks}{larger}"
    )


def least_bytes(config: Config, networks: Networks) -> tuple[int, int]:
    """Return what a process takes at least: for networks and optimisers, and for a part's images.

    Weights, their gradients and one momentum; two views of the images, and their masks.
    """
    weights = 0
    for network in (networks.encoder, networks.masker):
        for tensor in (*network.parameters(), *network.buffers()):
            weights += tensor.nbytes * (3 if tensor.requires_grad else 1)
    masks = 0 if config.masks.masker == "none" else config.masks.n_masks
    images = config.micro_batch * config.image_size**2 * 4 * (2 * config.data.channels + masks)
    return weights, images
