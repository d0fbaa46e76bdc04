"""The training step of given settings on random images, whole and in its parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from seamask.base.draws import derive_seed, generator
from seamask.config import Config
from seamask.game.held import held_still
from seamask.game.players import COMPARISONS, View
from seamask.game.step import describe, two_player_step
from seamask.masks import all_penalties
from seamask.networks.small_maps import convolve_small_maps
from seamask.networks.view_batchnorm import stacked
from seamask.objectives import build_objective
from seamask.speed.count import Cost, count
from seamask.training.players import build_networks, build_players
from seamask.views import Views

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class Workload:
    """Players as `seamask pretrain` builds them, and a batch.

    Args:
        config: of the run that is asked about; one process, no accumulation.
        device: where to compute.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.objective = build_objective(config.objective)
        self.networks = networks = build_networks(config, self.objective)
        low = config.precision == "bf16"
        autocast = partial(torch.autocast, device.type, torch.bfloat16) if low else nullcontext
        self.players = build_players(config, networks, self.objective, device, autocast=autocast)
        self.encoder, self.masker = self.players.encoder, self.players.masker
        self.compared = [pair for name in config.masks.compare for pair in COMPARISONS[name]]
        names = {name for pair in self.compared for name in pair}
        self.n_clean = len(names & {"a", "b"})
        self.n_masked_views = len(names & {"ma", "mb"})
        self.views = Views(config.views, config.image_size, MEAN, STD)
        self.draw = generator(config.seed, "speed")
        side = config.data.size or config.image_size
        shape = (config.batch_size, 3, side, side)
        torch.manual_seed(derive_seed(config.seed, "speed"))
        self.images = torch.randint(0, 256, shape, dtype=torch.uint8).to(device)
        self.pair = self.make_views()
        self.metrics: dict[str, Tensor] = {}
        self.steps = 0
        with torch.no_grad(), self.players.autocast():
            self.masks: Tensor = self.masker(self.pair[1].images, self.draw).float()
            self.embedding = torch.randn_like(self.encoder(self.pair[0].images).float())
        self.n_masks = 1 if config.masks.single else self.masks.shape[1]
        self.masked = [
            self.pair[1].images * (1 - self.masks[:, k : k + 1])
            for k in range(self.n_masks)
            for _ in range(self.n_masked_views)
        ]

    def make_views(self) -> tuple[View, View]:
        """Return the two views of the batch."""
        x_a, _ = self.views(self.images, self.draw)
        x_b, _ = self.views(self.images, self.draw)
        return View(x_a), View(x_b)

    def step(self) -> None:
        """Take one step, views included, as the loop does."""
        move = self.steps % self.config.masks.every == 0
        self.metrics = two_player_step(self.players, [self.make_views()], self.draw, move)
        self.objective.update(self.networks.encoder, 0.0)
        self.steps += 1

    def encoder_passes(self) -> None:
        """Do a step's encoder passes and nothing else, as many together as the step takes.

        This is the floor: forward and backward of every view for the encoder, and where updates
        alternate, forward of every view and backward to the masked ones for the masks.
        """
        clean = [self.pair[0].images] * self.n_clean
        learned = self.players.masker_optimizer is not None
        together = self.players.simultaneous and learned
        self._passes([*clean, *self._leaves(together)])
        if learned and not together:
            with held_still(self.encoder):
                with torch.no_grad():
                    self._passes(clean, backward=False)
                self._passes(self._leaves(True))
        self.encoder.zero_grad(set_to_none=True)

    def _leaves(self, asked: bool) -> list[Tensor]:
        """Return the masked views, as leaves whose gradient may be asked for."""
        return [x.detach().requires_grad_(asked) for x in self.masked]

    def _passes(self, images: list[Tensor], backward: bool = True) -> None:
        batches = [torch.cat(images)] if self.config.masks.stack and images else images
        for x in batches:
            views = len(x) // len(self.images)
            with stacked(self.encoder, views), self.players.autocast():
                z = self.encoder(x)
            if backward:
                z.backward(self.embedding.repeat(views, 1).to(z.dtype))

    def parts(self) -> dict[str, Callable[[], object]]:
        """Return the parts of a step, each to be run by itself."""
        found: dict[str, Callable[[], object]] = {
            "views": self.make_views,
            "encoder passes": self.encoder_passes,
            "losses": self._losses,
            "encoder's optimiser": partial(self._update, self.encoder),
        }
        if self.players.masker_optimizer is not None:
            found["mask network"] = self._mask_network
            found["penalties, metrics"] = self._penalties
            found["masker's optimiser"] = partial(self._update, self.masker)
        return found

    def _mask_network(self) -> None:
        for _ in range(self.n_masked_views):
            with self.players.autocast():
                masks = self.masker(self.pair[1].images, self.draw)
            masks.backward(self.masks)
        self.masker.zero_grad(set_to_none=True)

    def _losses(self) -> None:
        players = 1 if self.players.simultaneous or self.players.masker_optimizer is None else 2
        for _ in range(players * self.n_masks * len(self.compared)):
            a, b = (self.embedding.clone().requires_grad_() for _ in "ab")
            self.objective(a, b).backward()

    def _penalties(self) -> None:
        masks = self.masks.clone().requires_grad_()
        penalties = all_penalties([(masks, 0.25)])
        price = sum(w * penalties[name] for name, w in self.players.penalty_weights.items())
        if isinstance(price, Tensor):
            price.backward()
        describe(self.masks)

    def _update(self, network: nn.Module) -> None:
        players = self.players
        ours = network is self.encoder
        optimizer = players.encoder_optimizer if ours else players.masker_optimizer
        assert optimizer is not None
        for parameter in network.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()


SMALL = (2, 4)  # images of the batches on which costs are counted
VIEWED = 32  # images of the batch on which those of the views are: what happens to each is drawn


def counted(config: Config) -> dict[str, Cost]:
    """Return what each part of a step costs per image, and the whole `step`.

    Counted on two small batches on the CPU: a cost is a constant (weights, optimisers) and a part
    that grows with the batch, so those of any batch follow. The pairs of a contrastive loss, which
    grow with its square, are taken to grow with the batch: they are less than 0.1 %.

    Args:
        config: of the run; its batch size says over how many images the constant is spread.
    """
    small, large = (_counted(replace(config, batch_size=n)) for n in SMALL)
    a, b = SMALL
    found = {}
    for name in small:
        slope = (large[name] + small[name] * -1) / (b - a)
        constant = small[name] + slope * -a
        found[name] = slope + constant / config.batch_size
    views = Workload(replace(config, batch_size=VIEWED), torch.device("cpu")).make_views
    found["views"] = count(views) / VIEWED
    return found


def _counted(config: Config) -> dict[str, Cost]:
    work = Workload(config, torch.device("cpu"))
    convolve_small_maps(work.encoder)  # what every implementation has to do
    return {name: count(part) for name, part in (work.parts() | {"step": work.step}).items()}
