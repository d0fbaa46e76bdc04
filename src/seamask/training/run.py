"""What a run is: its data, networks, players and views, built once; its batches, and its step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from seamask.base.draws import BatchGenerator, derive_seed
from seamask.base.errors import UserError
from seamask.base.paths import local
from seamask.base.provenance import commit
from seamask.config import Config
from seamask.data import Data, Loader, cached_maps, is_resident, load, permutation, shared_out
from seamask.game.players import View
from seamask.masks.frozen import FrozenMasker
from seamask.masks.superpixels import VERSION, clusters, segments
from seamask.objectives import build_objective
from seamask.runs import RunFolder
from seamask.training.optim import learning_rate, set_learning_rate
from seamask.training.pairs import pairs_of
from seamask.training.players import build_networks, build_players
from seamask.training.processes import Processes
from seamask.training.start import Start
from seamask.training.stepper import Stepper, records
from seamask.training.window import Window
from seamask.views import Views


class Step(NamedTuple):
    """What a step leaves to be logged and looked at.

    Attributes:
        metrics: see `two_player_step`.
        rates: the learning rates it was taken with, `lr/<player>`.
        views: the pair of views of the batch, or of its first part.
        generator: for masks that are drawn when the step is looked at.
    """

    metrics: dict[str, Tensor]
    rates: dict[str, float]
    views: tuple[View, View]
    generator: Generator


class Run:
    """One pretraining run in one process: what it is made of, and how far it is.

    Args:
        processes: that train it; they know device and precision.
        config: all settings.
        folder: of the run; created by the caller.
        start: weights that the encoder starts from; None: random ones.

    Attributes:
        lead: this process writes and speaks for all.
        data: images, and the labels that probes use.
        steps_per_epoch: whole batches of the training images.
        total_steps: over all epochs.
        step: steps taken, over all epochs.
        seconds: spent training, over all sessions.
        window: collects what the next line of the log says.

    Raises:
        UserError: data that is not there or too little, or networks that cannot be built.
    """

    def __init__(
        self, processes: Processes, config: Config, folder: RunFolder, start: Start | None = None
    ) -> None:
        self.processes, self.config, self.folder = processes, config, folder
        commit()  # of the code that is in memory now
        self.lead = processes.rank == 0
        self.data = load(config.data, config.image_size, config.seed, progress=self.lead)
        self.steps_per_epoch = _steps_per_epoch(self.data, config.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        many = processes.world_size > 1
        gather = processes.gather if many else None
        self.objective = build_objective(config.objective, gather, processes.rank)
        self.networks = build_networks(config, self.objective, start)
        started = self.networks.started
        self.started = started.record() if started else None  # for the manifest
        if isinstance(masker := self.networks.masker, FrozenMasker):
            masker.normalized_by(*self.data.normalization)
        self.players = build_players(config, self.networks, self.objective, processes)
        self.views = Views(config.views, config.image_size, *self.data.normalization)
        resident = is_resident(self.data.train, config.data.resident, processes.device)
        self.image_loader = Loader(self.data.train.pixels, processes.device, resident)
        maps = training_maps(config, self.data, show=self.lead)
        self.map_loaders = {  # by their names in `View`
            name: Loader(labels[..., None], processes.device, resident)
            for name, labels in maps.items()
        }
        graph = records(config, self.players, processes.device)
        place = processes.rank, processes.world_size
        see = partial(pairs_of, config, self.views)
        self.stepper = Stepper(self.players, see, graph, *place)
        self.step = 0
        self.seconds = 0.0
        self.window = Window()

    @property
    def epoch(self) -> int:
        """The epoch of the last step, from 1; 0 before the first."""
        return -(-self.step // self.steps_per_epoch)

    @property
    def between_epochs(self) -> bool:
        """Whether the last step was the last one of its epoch."""
        return self.step % self.steps_per_epoch == 0

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.total_steps

    def batches(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Yield this process's batches of the current epoch, from the next step on.

        Yields:
            Images, uint8 `[B / processes, 3, S, S]`, and the maps of them that the masker or the
            budget needs, uint8 `[B / processes, S, S]`, by their names in `View`.
        """
        epoch, first = divmod(self.step, self.steps_per_epoch)
        config, processes = self.config, self.processes
        order = permutation(len(self.data.train), config.seed, epoch)
        shares = shared_out(order, config.batch_size, config.accumulate, processes.world_size)
        rows = shares[processes.rank, first:]  # [steps, B / processes]
        loaders = [self.image_loader, *self.map_loaders.values()]
        for images, *maps in zip(*(loader.batches(rows) for loader in loaders), strict=True):
            yield images, {n: m[:, 0] for n, m in zip(self.map_loaders, maps, strict=True)}

    def take_step(self, images: Tensor, maps: dict[str, Tensor]) -> Step:
        """Take one step of both players on what `batches` yields, without waiting for the device.

        All that it draws is a function of (seed, epoch, step) and of an image's place in the batch.
        """
        config, rank = self.config, self.processes.rank
        rates = self._set_learning_rates()
        self.players.done = self.step / self.total_steps
        epoch = self.step // self.steps_per_epoch
        step = (config.seed, epoch, self.step)
        draw = (*step, 0)  # what one process has always drawn, as the first of several
        # For layers that draw by themselves (drop path, dropout): each process others.
        torch.manual_seed(derive_seed(*step, rank, "layers"))
        move_masks = self.step % config.masks.every == 0
        pairs, metrics = self.stepper.take(images, maps, move_masks, draw)
        self.step += 1
        self.objective.update(self.networks.encoder, self.step / self.total_steps)
        health = BatchGenerator(rank, self.processes.world_size)
        return Step(metrics, rates, pairs[0], health.manual_seed(derive_seed(*draw, "health")))

    def _set_learning_rates(self) -> dict[str, float]:
        optim, epochs = self.config.optim, self.config.epochs
        done = self.step / self.steps_per_epoch
        rates = {"lr/encoder": learning_rate(optim, optim.encoder.lr, epochs, done)}
        set_learning_rate(self.players.encoder_optimizer, rates["lr/encoder"])
        if self.players.masker_optimizer is not None:
            rates["lr/mask"] = learning_rate(optim, optim.masker.lr, epochs, done)
            set_learning_rate(self.players.masker_optimizer, rates["lr/mask"])
        return rates


def _steps_per_epoch(data: Data, batch_size: int) -> int:
    n = len(data.train)
    if n < batch_size:
        remedy = f"take --batch-size {n} or less" if n > 1 else "at least 2 are needed"
        raise UserError(
            f"{data.name}: {n} images to train on are fewer than one batch of {batch_size}: "
            f"{remedy}"
        )
    return n // batch_size


def training_maps(config: Config, data: Data, show: bool = True) -> dict[str, Tensor]:
    """Return maps of every training image, uint8 `[n, S, S]`, by their names in `View`.

    Superpixels and their clusters are computed once and kept in the cache.

    Args:
        config: of the run.
        data: its images.
        show: show progress.

    Raises:
        UserError: given masks of images that have none, or a cache that cannot be written.
    """
    masks = config.masks
    found = {}
    if masks.masker == "given":
        if data.train.objects is None:
            raise UserError(
                f"--masker given: the training images of {data.name} have no object masks; "
                "name a folder of label images with --data.objects, or take --data shapes"
            )
        found["objects"] = data.train.objects
    if masks.budget.of == "superpixels":
        found["clusters"] = _followed(config, data, "clusters", show)
    if masks.draws == "superpixel":
        found["segments"] = _followed(config, data, "segments", show)
    return found


def _followed(
    config: Config, data: Data, what: Literal["clusters", "segments"], show: bool
) -> Tensor:
    """Return maps of superpixels of the training images, from the cache if they are there."""
    masks, pixels = config.masks, data.train.pixels
    count = masks.superpixels
    chosen = f"-{config.data.limit}of{config.seed}" if config.data.limit else ""
    make: Callable[[Tensor], Tensor]
    if what == "clusters":
        made = f"clusters{VERSION}-{masks.n_masks}of{count}"
        make = partial(clusters, count=masks.n_masks, superpixels=count)
    else:
        made, make = f"segments{VERSION}-{count}", partial(segments, superpixels=count)
    # Not the data's name: a folder that was renamed holds the same images.
    name = f"{data.fingerprint[:16]}-{pixels.shape[1]}{chosen}-{made}"
    folder = local(config.data.cache, "--data.cache") / name
    return cached_maps(folder, pixels, make, f"superpixels of {data.name}", show)
