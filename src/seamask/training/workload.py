"""The training step of given settings on random images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from seamask.base.draws import derive_seed, generator
from seamask.base.precision import chosen_precision
from seamask.base.ranges import named
from seamask.config import Config
from seamask.game.players import View
from seamask.objectives import build_objective
from seamask.training.pairs import pairs_of
from seamask.training.players import build_networks, build_players
from seamask.training.processes import Processes
from seamask.training.stepper import WARM_UP, Stepper, records
from seamask.views import Views

MEAN, STD = 0.5, 0.25


class Workload:
    """Players as `seamask pretrain` builds them, and a batch.

    Where the step is recorded as a CUDA graph, the next one is: those before it are taken.

    Args:
        config: of the run that is asked about; no accumulation.
        device: where to compute.
        rank: of this process, which takes `batch_size` images.
        world_size: processes that train together, of which this one has joined the group.
    """

    def __init__(
        self, config: Config, device: torch.device, rank: int = 0, world_size: int = 1
    ) -> None:
        self.config, self.device = config, device
        precision = chosen_precision(config.precision, device.type)
        processes = Processes(device, precision, rank, world_size)
        gather = processes.gather if world_size > 1 else None
        self.objective = build_objective(config.objective, gather, rank)
        self.networks = networks = build_networks(config, self.objective)
        self.players = build_players(config, networks, self.objective, processes)
        self.encoder, self.masker = self.players.encoder, self.players.masker
        channels = config.data.channels
        self.views = Views(config.views, config.image_size, (MEAN,) * channels, (STD,) * channels)
        self.draw = generator(config.seed, "speed")
        side = config.data.size or config.image_size
        shape = (config.batch_size, channels, side, side)
        torch.manual_seed(derive_seed(config.seed, "speed"))
        self.images = torch.randint(0, 256, shape, dtype=torch.uint8).to(device)
        self.maps: dict[str, Tensor] = {}  # by their names in `View`
        maps = {
            "segments": config.masks.draws == "superpixel",
            "clusters": config.masks.budget.of == "superpixels",
            "objects": config.masks.masker == "given",
        }
        for name in (name for name, asked in maps.items() if asked):
            most = 100 if name == "segments" else config.masks.n_masks
            labels = torch.randint(0, most, (config.batch_size, side, side), dtype=torch.uint8)
            self.maps[name] = labels.to(device)
        self.see = partial(pairs_of, replace(config, accumulate=1), self.views)
        self.pair = self.make_views()
        self.stepper = Stepper(self.players, self.see, records(config, self.players, device))
        self.metrics: dict[str, Tensor] = {}
        self.steps = 0
        if self.stepper.graph:
            for _ in range(WARM_UP * config.masks.every):
                self.step()

    def make_views(self) -> tuple[View, View]:
        """Return the two views of the batch."""
        return self.see(self.images, self.maps, self.draw)[0]

    def step(self) -> None:
        """Take one step, views included, as the loop does; its named range is `step`."""
        move = self.steps % self.config.masks.every == 0
        with named("step"):
            taken = self.stepper.take(self.images, self.maps, move, (self.config.seed, self.steps))
            self.metrics = taken[1]
            self.objective.update(self.networks.encoder, 0.0)
        self.steps += 1

    def cycle(self) -> None:
        """Take as many steps as there are from one in which masks move to the next."""
        for _ in range(self.config.masks.every):
            self.step()
