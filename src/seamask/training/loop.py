"""The loop around the two-player step: data, schedule, log, figures, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from seamask.base import settings
from seamask.base.devices import memory_taken
from seamask.base.draws import generator, mix
from seamask.base.errors import UserError
from seamask.base.progress import Progress, clock
from seamask.base.provenance import commit, provenance
from seamask.base.registry import with_parts
from seamask.config import Config
from seamask.data import Loader, is_resident, load, permutation
from seamask.evaluate import predict, probe, score
from seamask.export import loading_code, save_weights
from seamask.game.players import View
from seamask.game.step import two_player_step
from seamask.masks import areas, clusters, superpixel_colours
from seamask.masks.signs import effective_rank, mask_grams, mask_signs
from seamask.objectives import build_objective
from seamask.runs import RunFolder
from seamask.show import coloured, curves_figure, mask_figure
from seamask.training import checkpoint
from seamask.training.health import Health, in_short
from seamask.training.maps import training_maps
from seamask.training.optim import learning_rate, set_learning_rate
from seamask.training.players import build_networks, build_players
from seamask.training.processes import average_gradients, average_with_gradient
from seamask.training.signals import StopSignal
from seamask.training.window import Window
from seamask.views import Views, crop_masks

FIGURE_IMAGES = 8
AVERAGED = 256  # images whose mean mask is drawn
LOOKED_AT = 1000  # images whose masks are looked at in the end
# Settings that may differ when a run goes on; others would make it another run.
MAY_CHANGE = ("out", "overwrite", "epochs", "device", "data.root", "data.cache", "data.resident")


class Stopped(Exception):
    """The run was asked to stop (SIGINT, SIGTERM) and has saved a checkpoint."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(signal_number, message)  # both, so that it travels between processes
        self.signal_number, self.message = signal_number, message


class Run:
    """One pretraining run in one process.

    Args:
        fabric: launched; knows devices, processes and precision.
        config: all settings.
        folder: of the run; created by the caller.
        stop: says whether a signal asked the run to stop.
    """

    def __init__(self, fabric: Fabric, config: Config, folder: RunFolder, stop: StopSignal) -> None:
        self.fabric, self.config, self.folder, self.stop = fabric, config, folder, stop
        commit()  # of the code that is in memory now
        self.lead = fabric.global_rank == 0
        self.data = load(config.data, config.image_size, config.seed, progress=self.lead)
        self.steps_per_epoch = len(self.data.train) // config.batch_size
        if self.steps_per_epoch == 0:
            n = len(self.data.train)
            remedy = f"take --batch-size {n} or less" if n > 1 else "at least 2 are needed"
            raise UserError(
                f"{self.data.name}: {n} images to train on are fewer than one batch of "
                f"{config.batch_size}: {remedy}"
            )
        self.total = config.epochs * self.steps_per_epoch  # steps
        many = fabric.world_size > 1
        gather = partial(fabric.all_gather, sync_grads=True) if many else None
        self.objective = build_objective(config.objective, gather, fabric.global_rank)
        self.networks = build_networks(config, self.objective)
        self.players = build_players(
            config,
            self.networks,
            self.objective,
            fabric.device,
            fabric.world_size,
            fabric.autocast,
            partial(average_gradients, fabric),
            partial(average_with_gradient, fabric),
        )
        self.health = Health(config, self.players, self.objective)
        self.views = Views(config.views, config.image_size, *self.data.normalization)
        resident = is_resident(self.data.train, config.data.resident, fabric.device)
        self.loader = Loader(self.data.train.pixels, fabric.device, resident)
        maps = training_maps(config, self.data, show=self.lead)
        self.maps = {  # by their names in `View`
            name: Loader(labels[..., None], fabric.device, resident)
            for name, labels in maps.items()
        }
        self.step = 0  # steps taken, over all epochs
        self.seconds = 0.0  # spent training, over all sessions
        self.bad_step = torch.full((), -1, device=fabric.device)  # first with a loss not finite
        self.window = Window()
        self.tensorboard: Any = None
        self.progress = Progress("pretraining", self.total * config.batch_size, "images", self.lead)
        self.whole_windows = 0  # that the log has closed, in this process

    # The walk of an epoch -------------------------------------------------------------------

    def train(self) -> None:
        """Train from where the run stands to its last epoch.

        Raises:
            Stopped: a signal asked for it; a checkpoint holds all that was done.
            UserError: a loss that is not finite, a disk that is full.
        """
        config = self.config
        if config.log.tensorboard and self.lead:
            self.tensorboard = _tensorboard(self.folder)
        with self.progress as progress:
            progress.skip(self.step * config.batch_size)
            while self.step < self.total:
                epoch, first = divmod(self.step, self.steps_per_epoch)
                self.window.start()
                for images, maps in self._batches(epoch, first):
                    self._step(epoch, images, maps)
                    progress.advance(config.batch_size, self._note(epoch))
                    if self.step % self.steps_per_epoch:  # else what the epoch is due comes first
                        self._stop_if_asked(epoch)
                self._epoch_done(epoch + 1, last=self.step == self.total)
                if self.step < self.total:
                    self._stop_if_asked(epoch)

    def _batches(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Yield images, uint8 `[B, 3, S, S]`, and their maps, uint8 `[B, S, S]`, of an epoch."""
        rows = self._indices(epoch, first_step)
        loaders = [self.loader, *self.maps.values()]
        for images, *maps in zip(*(loader.batches(rows) for loader in loaders), strict=True):
            yield images, {n: m[:, 0] for n, m in zip(self.maps, maps, strict=True)}

    def _view(self, images: Tensor, maps: dict[str, Tensor], draw: torch.Generator) -> View:
        views, geometry = self.views(images, draw)
        size = self.config.image_size
        return View(views, **{n: crop_masks(m, geometry, size) for n, m in maps.items()})

    def _step(self, epoch: int, images: Tensor, maps: dict[str, Tensor]) -> None:
        """Take one two-player step on uint8 images `[B, 3, S, S]` and their maps `[B, S, S]`."""
        config = self.config
        rates = self._set_learning_rates()
        self.players.done = self.step / self.total
        draw = (config.seed, epoch, self.step, self.fabric.global_rank)
        torch.manual_seed(mix(*draw, "layers"))  # for layers that draw (drop path, dropout)
        views_generator = generator(*draw, "views")
        pairs = []
        for k, some in enumerate(images.chunk(config.accumulate)):
            labels = {n: m.chunk(config.accumulate)[k] for n, m in maps.items()}
            a = self._view(some, labels, views_generator)
            pairs.append((a, self._view(some, labels, views_generator)))
        move_masks = self.step % config.masks.every == 0
        metrics = two_player_step(self.players, pairs, generator(*draw, "masks"), move_masks)
        self._watch(metrics)
        self.step += 1
        self.objective.update(self.networks.encoder, self.step / self.total)
        self.window.add(metrics)
        if self.step % config.log.every == 0 or self.step % self.steps_per_epoch == 0:
            self.window.note(*self.health.examine(*pairs[0], generator(*draw, "health")))
            self._log(epoch, rates)

    def _epoch_done(self, epoch: int, last: bool) -> None:
        """Write what is due after `epoch` epochs."""
        log = self.config.log

        def due(every: int) -> bool:
            return last or bool(every and epoch % every == 0)

        if due(log.checkpoint_every):
            self.save()
        if due(log.probe_every) and self.lead:
            found = self.scores()
            if found:
                self._write({"epoch": epoch, "step": self.step, **found})
        if due(log.masks_every) and self.lead:
            self.draw_masks(self.folder.masks / f"epoch-{epoch:04d}.png")
            curves_figure(self.folder.read_metrics(), self.folder.curves)
        self.fabric.barrier()

    def _indices(self, epoch: int, first_step: int) -> Tensor:
        """Return this process's images of an epoch's remaining steps, `[steps, B / processes]`."""
        order = permutation(len(self.data.train), self.config.seed, epoch)
        used = order[: self.steps_per_epoch * self.config.batch_size]
        by_step = used.view(self.steps_per_epoch, self.fabric.world_size, -1)
        return by_step[first_step:, self.fabric.global_rank]

    def _set_learning_rates(self) -> dict[str, float]:
        optim = self.config.optim
        done = self.step / self.steps_per_epoch
        rates = {"lr/encoder": learning_rate(optim, optim.encoder.lr, self.config.epochs, done)}
        set_learning_rate(self.players.encoder_optimizer, rates["lr/encoder"])
        if self.players.masker_optimizer is not None:
            rates["lr/mask"] = learning_rate(optim, optim.masker.lr, self.config.epochs, done)
            set_learning_rate(self.players.masker_optimizer, rates["lr/mask"])
        return rates

    # Log, checkpoints, figures --------------------------------------------------------------

    def _watch(self, metrics: dict[str, Tensor]) -> None:
        """Remember the first step whose loss is not finite, without waiting for the device."""
        losses = [value for name, value in metrics.items() if name.startswith("loss/")]
        bad = ~torch.isfinite(torch.stack(losses)).all() & (self.bad_step < 0)
        self.bad_step = torch.where(bad, self.step, self.bad_step)

    def _check_losses(self) -> None:
        """Stop at a loss that was not finite; every process does, or none."""
        step = int(self.fabric.all_reduce(self.bad_step.float(), reduce_op="max"))
        if step >= 0:
            raise self._not_finite(f"the loss is not finite at step {step + 1}")

    def _check_weights(self) -> None:
        """Refuse to save weights that are not finite."""
        networks = nn.ModuleList([self.networks.encoder, self.networks.masker])
        if not all(bool(torch.isfinite(p).all()) for p in networks.parameters()):
            raise self._not_finite(f"the weights are not finite after step {self.step}")

    def _not_finite(self, what: str) -> UserError:
        last = checkpoint.latest(self.folder.checkpoints)
        kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        epoch = (self.step - 1) // self.steps_per_epoch + 1
        return UserError(
            f"{what} (epoch {epoch}): training stopped; {kept}; "
            "try a lower --optim.encoder.lr or --optim.masker.lr"
        )

    def _log(self, epoch: int, rates: dict[str, float]) -> None:
        means, seconds, steps = self.window.close(self.fabric)
        self.seconds += seconds
        self._check_losses()
        if not self.lead:
            return
        line: dict[str, Any] = {"epoch": epoch + 1, "step": self.step, **means, **rates}
        line["images_per_second"] = steps * self.config.batch_size / seconds
        line["data_wait"] = self.loader.waited / seconds
        self.loader.waited = 0.0
        self._write(line)
        for text in self.health.warn(line) if self.step > self.steps_per_epoch else ():
            self.progress.say(f"warning: {text}")
        if steps >= min(self.config.log.every, self.steps_per_epoch):
            self.whole_windows += 1
            if self.whole_windows == 2:  # the first has the warm-up
                self.progress.say(self._estimate(line["images_per_second"], line["data_wait"]))

    def _estimate(self, rate: float, wait: float) -> str:
        """Say how fast training is and how long the rest will take, as just measured."""
        config, gib = self.config, memory_taken(self.fabric.device) / 2**30
        left = (self.total - self.step) * config.batch_size / rate
        return (
            f"{rate:,.1f} images/s, {wait:.1%} of the time waiting for data, {gib:.1f} GiB taken: "
            f"{clock(left)} more for {config.epochs} epochs, probes and figures not counted; "
            "`seamask bench` says where the time goes and what would be faster"
        )

    def _write(self, line: dict[str, Any]) -> None:
        self.folder.append_metrics(line)
        if self.tensorboard is not None:
            for name, value in line.items():
                if name not in ("epoch", "step"):
                    self.tensorboard.add_scalar(name, value, line["step"])
            self.tensorboard.flush()

    def _note(self, epoch: int) -> str:
        last = self.window.last
        shown = f", loss {last['loss/encoder']:.3f}" if "loss/encoder" in last else ""
        return f"epoch {epoch + 1}/{self.config.epochs}{shown}{in_short(last)}"

    def _stop_if_asked(self, epoch: int) -> None:
        if self.fabric.world_size > 1:  # all processes must agree at which step
            if self.step % self.config.log.every:
                return
            asked = torch.tensor(float(self.stop.number), device=self.fabric.device)
            self.stop.number = int(self.fabric.all_reduce(asked, reduce_op="max"))
        if self.stop.number:
            self.save()
            where = f"stopped in epoch {epoch + 1} after step {self.step}"
            raise Stopped(
                self.stop.number, f"{where}; go on with: seamask resume {self.folder.path}"
            )

    def save(self) -> None:
        """Write a checkpoint and the weights for others."""
        self._check_losses()
        self._check_weights()
        if not self.lead:
            return
        players, networks = self.players, self.networks
        mask_state = players.masker_optimizer.state_dict() if players.masker_optimizer else {}
        state = {
            "config": settings.to_dict(self.config),
            "data": self.data.fingerprint,
            "step": self.step,
            "seconds": self.seconds,
            "encoder": networks.encoder.state_dict(),
            "masker": networks.masker.state_dict(),
            "encoder_optimizer": players.encoder_optimizer.state_dict(),
            "masker_optimizer": mask_state,
        }
        checkpoint.save(self.folder.checkpoints, self.step, state, self.config.log.keep_checkpoints)
        size = {"image_size": self.config.image_size, **networks.backbone_arguments}
        about = {"backbone": networks.backbone_name}  # for `seamask evaluate`
        about |= {name: str(value) for name, value in size.items()}
        save_weights(networks.encoder.backbone, self.folder.encoder, about)
        save_weights(networks.masker, self.folder.masker)
        self.folder.write_manifest(self.manifest())

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            UserError: it is damaged, or belongs to other data or another model.
        """
        state = checkpoint.load(path)
        if state["data"] != self.data.fingerprint:
            raise UserError(
                f"cannot resume from {path}: the images of {self.data.name} have changed since; "
                "restore them, or start a new run"
            )
        then = settings.from_dict(state["config"], with_parts(Config()))
        for setting, _ in settings.leaves(type(self.config)):
            was, now = settings.get(then, setting), settings.get(self.config, setting)
            if was != now and setting not in MAY_CHANGE and not setting.startswith("log."):
                raise UserError(
                    f"cannot resume from {path}: it was trained with {setting} {was!r}, and "
                    f"config.yaml says {now!r}; set it back, or start a new run"
                )
        try:
            self.networks.encoder.load_state_dict(state["encoder"])
            self.networks.masker.load_state_dict(state["masker"])
            self.players.encoder_optimizer.load_state_dict(state["encoder_optimizer"])
            if self.players.masker_optimizer is not None:
                self.players.masker_optimizer.load_state_dict(state["masker_optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(f"cannot resume from {path}: it belongs to another model") from error
        self.step, self.seconds = state["step"], state["seconds"]
        if self.lead:
            self.folder.keep_metrics_until(self.step)

    def scores(self) -> dict[str, float]:
        """Return probes of the encoder and object scores of the masks, as far as labels allow."""
        data, size = self.data, self.config.image_size
        found = probe(self.networks.encoder.backbone, data, size)
        masker = self.networks.masker
        return found | score(masker, data.probe_test, size, *data.normalization)

    def untrained_scores(self) -> dict[str, float]:
        """Return the probes of the same encoder before any training."""
        encoder = build_networks(self.config, build_objective(self.config.objective)).encoder
        return probe(encoder.backbone.to(self.fabric.device), self.data, self.config.image_size)

    def mask_health(self) -> dict[str, float]:
        """Return what learned masks are like on whole held-out (or training) images.

        `mask/<sign>_<k>` of `mask_signs` and `mask/rank_<k>`; nothing where masks are drawn or
        given.
        """
        masks = self._masks_of(LOOKED_AT)
        if masks is None or len(masks) < 2:
            return {}
        signs = mask_signs(masks) | {"rank": effective_rank(mask_grams(masks))}
        return {
            f"mask/{name}_{k}": float(value)
            for name, values in signs.items()
            for k, value in enumerate(values, start=1)
        }

    def _masks_of(self, most: int) -> Tensor | None:
        """Return learned masks `[n, N, S, S]` of up to `most` images; None where there are none."""
        masker, data = self.networks.masker, self.data
        budget = self.config.masks.budget
        clusters_asked = budget.exact and budget.of == "superpixels"  # which take long
        if not masker.learned or clusters_asked:
            return None
        images = data.probe_test or data.train
        chosen = torch.linspace(0, len(images) - 1, min(most, len(images))).long()
        return predict(masker, images.pixels[chosen], self.config.image_size, *data.normalization)

    def draw_masks(self, path: Path) -> None:
        """Write the mask figure of some held-out (or training) images, spread over the classes.

        Beside them the mean of each mask over more of them: what does not come from the image.
        """
        shown = self.data.probe_test or self.data.train
        if self.config.masks.masker == "given" and shown.objects is None:
            shown = self.data.train  # which has the object masks
        chosen = torch.linspace(0, len(shown) - 1, FIGURE_IMAGES).long()
        pixels = shown.pixels[chosen]
        size, data = self.config.image_size, self.data
        objects = None if shown.objects is None else shown.objects[chosen]
        rows, budgets = {}, None
        c = self.config.masks
        if c.budget.of == "superpixels":
            followed = clusters(pixels, c.n_masks, c.superpixels)
            budgets = areas(followed, c.n_masks)
            painted = superpixel_colours(pixels, c.n_masks, c.superpixels)
            rows = {"superpixels": painted, "clusters": coloured(followed)}
        masks = predict(self.networks.masker, pixels, size, *data.normalization, objects)
        more = self._masks_of(AVERAGED)
        mean = None if more is None else more.mean(0, keepdim=True)
        if pixels.shape[1] != size:
            masks = nn.functional.interpolate(masks, pixels.shape[1:3], mode="bilinear")
            if mean is not None:
                mean = nn.functional.interpolate(mean, pixels.shape[1:3], mode="bilinear")
        mask_figure(
            pixels, masks, path, rows=rows, budgets=budgets, mean=None if mean is None else mean[0]
        )

    def loading_code(self, path: Path | str) -> str:
        """Return the Python line that loads the exported encoder at `path`."""
        networks = self.networks
        return loading_code(networks.backbone_name, networks.backbone_arguments, path)

    def manifest(self, results: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what `manifest.json` says."""
        networks, data = self.networks, self.data
        return {
            "recipe": self.config.recipe,
            "backbone": networks.backbone_name,
            "load": self.loading_code(self.folder.encoder.name),  # from inside the folder
            "image_size": self.config.image_size,
            "normalization": settings.plain(data.normalization._asdict()),
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "images": len(data.train),
                "skipped": [list(pair) for pair in data.skipped],
            },
            "epochs_done": self.step / self.steps_per_epoch,
            "images_seen": self.step * self.config.batch_size,
            "seconds": round(self.seconds, 1),
            **provenance(),
            "results": results or {},
        }


def _tensorboard(folder: RunFolder) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("--log.tensorboard needs `pip install tensorboard`") from error
    return SummaryWriter(str(folder.tensorboard))
