"""Starting and resuming a run, over one process or several."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from seamask.base import settings
from seamask.base.devices import check_device, free_cores, kind_of, memory_total, use_cpu, uses_gpu
from seamask.base.errors import UserError
from seamask.base.memory import REMEDY, memory_errors
from seamask.base.output import lasting_output, print_prose
from seamask.base.paths import absolute
from seamask.base.progress import amount
from seamask.base.registry import with_parts
from seamask.base.signals import Stopped, handled, install
from seamask.config import Config, check
from seamask.data import SOURCES, load
from seamask.data.describe import described
from seamask.masks import build_masker, check_masker
from seamask.networks.backbone import SMALL_STEM
from seamask.networks.check import check_backbone
from seamask.networks.tokens import check_drops
from seamask.objectives import build_objective
from seamask.plugins import command, is_ours, load_plugin, loaded_plugins
from seamask.recipes import SMALL, default_recipe, recipe_config, small_instead
from seamask.runs import RunFolder
from seamask.training import snapshot
from seamask.training.loop import train
from seamask.training.players import Networks, build_networks, penalty_weights
from seamask.training.report import Summary, finish
from seamask.training.run import Run, training_maps
from seamask.training.signals import StopSignal
from seamask.training.spawn import UNGUARDED, Spawn, leave_if_unguarded
from seamask.training.stepper import can_record

# What Fabric advises on a GPU (less precision, which `--precision` decides) is not for users.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

ORPHAN_SECONDS = 20.0  # that a process whose parent died has to save in


def pretrain(
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    recipe: str | None = None,
    **changed: Any,
) -> Summary:
    """Pretrain an encoder; the same as the command `seamask pretrain`.

    Args:
        data: a folder of images or the name of a data set; the recipe's if None.
        out: folder of the run; `runs/<recipe>-<date>` if None.
        recipe: where the settings start from (`seamask recipes`); if None, our own masks on
            `data`: `shapes-seamask`, `cifar10-seamask`, …, `folder-seamask` (`folder-small` on a
            CPU).
        **changed: any setting by its short name or dotted path, e.g. `epochs=10`,
            `**{"optim.encoder.lr": 0.1}`.

    Raises:
        UserError: what a user can mend, in one line.
    """
    given = {"data": data, "out": out}
    for name, value in given.items():
        if value is not None and not os.fspath(value):
            raise UserError(f"{name} is empty: name a folder, or leave it out")
    changed |= {name: os.fspath(value) for name, value in given.items() if value is not None}
    asked = recipe or default_recipe(
        changed.get("data"), lambda: uses_gpu(changed.get("device", "auto"))
    )
    return start_run(settings.override(recipe_config(asked), changed))


@lasting_output()
@memory_errors()
def start_run(config: Config) -> Summary:
    """Start a run with fully resolved settings.

    Raises:
        UserError: what a user can mend, in one line.
        Stopped: a signal asked for it.
    """
    leave_if_unguarded()
    folder = RunFolder.for_new_run(config)
    preflight(config)
    config = _settled(config)
    with folder.claimed():
        return _launch(config, folder, None)


@lasting_output()
@memory_errors()
def resume_run(path: str | os.PathLike[str], **changed: Any) -> Summary:
    """Go on with a run from its latest checkpoint, to the same weights as if never stopped.

    A run that was stopped before its first checkpoint begins again.

    Args:
        path: the run's folder.
        **changed: settings that may change when a run goes on (`snapshot.MAY_CHANGE`), by short
            name or dotted path: `data="moved/images"`, `epochs=1000`.

    Raises:
        UserError: there is no run, its checkpoint is damaged or of another model, or a setting that
            would make it another run.
        Stopped: a signal asked for it.
    """
    leave_if_unguarded()
    folder = RunFolder.of_run(os.fspath(path))
    then = folder.read_config()
    config = settings.override(then, changed)
    for setting, was, is_now in settings.differences(then, config):
        own = setting in ("out", "overwrite")  # of a new run
        if own or not snapshot.may_change(setting):
            raise UserError(
                f"{settings.flag(setting, type(config))} {is_now}: this run was started with "
                f"{was}, which cannot change when it goes on; these can: --epochs (to more), "
                "--data, --data.root, --data.objects, --data.cache, --data.resident, --threads, "
                "--device, --devices, --log.*"
            )
    if config.epochs < then.epochs:
        raise UserError(
            f"--epochs {config.epochs}: this run is one of {amount(then.epochs, 'epoch')}, and "
            "can only get more"
        )
    with folder.naming_plugins(), folder.claimed():
        preflight(config)
        config = _settled(config)
        latest = folder.latest_checkpoint()
        if latest is not None:
            snapshot.read(latest)  # says what is wrong before anything is started
        elif folder.manifest.exists():
            again = command("pretrain", "--config", folder.config, "--out", folder.path)
            raise UserError(
                f"cannot resume {path}: its checkpoints are gone; train it again, over what is "
                f"there, with `{again} --overwrite`"
            )
        else:  # it had not come to its first
            config = dataclasses.replace(config, overwrite=True)
        return _launch(config, folder, latest)


def _settled(config: Config) -> Config:
    """Return settings that mean the same from everywhere: absolute paths, a number of threads."""
    data = config.data
    paths = {"root": data.root, "cache": data.cache}
    if data.source not in SOURCES:
        paths["source"] = data.source
    if data.objects:
        paths["objects"] = data.objects
    resolved = {
        name: str(absolute(path, settings.flag(f"data.{name}", Config)))
        for name, path in paths.items()
    }
    return dataclasses.replace(
        config,
        data=dataclasses.replace(data, **resolved),  # type: ignore[arg-type]
        threads=config.threads or max(1, free_cores() // config.devices),
    )


def preflight(config: Config) -> None:
    """Refuse settings that cannot work before any time is spent on data.

    Raises:
        UserError: the first thing found.
    """
    check(config)
    check_device(config.device, config.devices, config.precision)
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
    if config.optim.constant_predictor and not objective.predicts:
        raise UserError(
            f"--optim.constant-predictor needs byol or simsiam: {config.objective.name} has no "
            "predictor"
        )
    penalty_weights(config, objective)
    with torch.device("meta"):
        networks = build_networks(config, objective)
    if not is_ours(type(networks.masker)):
        check_masker(build_masker(config.masks, config.image_size), config.image_size)
    backbone, encoder = networks.encoder.backbone, config.encoder
    check_memory(config, networks)
    check_backbone(backbone, encoder.backbone, config.image_size, encoder.channels_last)
    if config.masks.drop:
        check_drops(backbone, networks.backbone_name)


def check_memory(config: Config, networks: Networks) -> None:
    """Refuse settings that ask for more memory than a device has, by the least that they take.

    Args:
        config: all settings.
        networks: on any device, such as `meta`.

    Raises:
        UserError: with both amounts.
    """
    weights, images = least_bytes(config, networks)
    kind = kind_of(config.device)
    on_gpu = kind == "cuda"  # Apple's has the host's memory
    processes = 1 if on_gpu else config.devices  # that share the memory
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
    raise UserError(
        f"{asked}: take a smaller --batch-size {config.batch_size}, --image-size "
        f"{config.image_size} or --n-masks {config.masks.n_masks}, or a larger --accumulate"
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
    images = config.micro_batch * config.image_size**2 * 4 * (2 * 3 + masks)
    return weights, images


def _launch(config: Config, folder: RunFolder, latest: Path | None) -> Summary:
    # Whatever a cluster's variables say, the processes are those that `--devices` asks for.
    if config.devices > 1:
        # Decoded and clustered once, here; the processes find the store.
        training_maps(config, load(config.data, config.image_size, config.seed))
    fabric = Fabric(
        accelerator=kind_of(config.device),
        devices=config.devices,
        strategy=Spawn() if config.devices > 1 else "auto",
        plugins=None if config.devices > 1 else LightningEnvironment(),
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
    )
    # Plain settings, since a plugin's make a type of them that no other process knows yet.
    work = partial(_work, loaded_plugins(), settings.to_dict(config), folder, latest)
    several = config.devices > 1
    outcome = _launch_several(fabric, work, folder) if several else fabric.launch(work)
    if isinstance(outcome, Stopped):
        raise outcome
    assert isinstance(outcome, Summary)
    return outcome


def _launch_several(fabric: Fabric, work: Any, folder: RunFolder) -> Any:
    """Start the processes that train, pass signals on to them, and say what became of them."""
    stop = StopSignal(folder)
    others = set(multiprocessing.active_children())  # of the program that calls us

    def ours() -> set[multiprocessing.process.BaseProcess]:
        return set(multiprocessing.active_children()) - others

    def pass_on(number: int, frame: FrameType | None) -> None:
        for child in ours():
            if child.pid is not None:
                os.kill(child.pid, number)  # they save and stop
        stop.note(number)

    try:
        with handled(pass_on):
            outcome = fabric.launch(work)
    except Stopped:  # the second signal
        for child in ours():
            child.kill()
            child.join(timeout=5)  # it holds the run's folder until it is gone
        raise
    except (ProcessRaisedException, ProcessExitedException) as error:
        if stop.number:  # it came before they could heed it
            raise Stopped(stop.number, f"stopped; {folder.kept()}") from error
        if isinstance(error, ProcessRaisedException):
            name = re.escape(f"{UserError.__module__}.{UserError.__qualname__}")
            found = re.findall(rf"{name}: (.*)", str(error))
            raise (UserError(found[-1]) if found else error) from error
        raise _process_ended(error, folder) from error
    if stop.number and isinstance(outcome, Summary):  # it came after the last step
        return Stopped(stop.number, f"stopped when all was done; {folder.kept()}")
    return outcome


def _leave_with_parent(stop: StopSignal) -> None:
    """Have this process save and end soon after its parent died, which nobody else would tell."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        stop.note(signal.SIGTERM)
        time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="seamask-parent", daemon=True).start()


def _process_ended(error: ProcessExitedException, folder: RunFolder) -> UserError:
    """Build the line for a process that ended without a word of Python's."""
    if error.exit_code == UNGUARDED:
        return UserError(
            "devices > 1 starts Python anew, and this script adds parts of its own there: put what "
            'starts the run below `if __name__ == "__main__":`, or the parts into a plugin\'s file'
        )
    if error.exit_code >= 0:
        return UserError(
            f"a training process ended with exit code {error.exit_code}; what it said is above"
        )
    return UserError(
        f"a training process was killed by {error.signal_name or -error.exit_code} (out of memory? "
        f"then {REMEDY}); go on with `{command('resume', folder.path)}`"
    )


@lasting_output()
@memory_errors()
def _work(
    plugins: Sequence[Path],
    plain: dict[str, Any],
    folder: RunFolder,
    latest: Path | None,
    fabric: Fabric,
) -> Summary | Stopped:
    """Train in one process; the body of every process of a run.

    Args:
        plugins: to load first: a spawned process has not.
        plain: the settings, as `to_dict` returns them.
        folder: of the run.
        latest: the checkpoint to go on from; None: a new run.
        fabric: launched.
    """
    if fabric.world_size > 1:  # we may outlive the process that claimed the run
        folder.join()
    for plugin in plugins:
        load_plugin(plugin)
    config = settings.from_dict(plain, with_parts(Config()))
    if fabric.device.type == "cpu":
        use_cpu(config.threads)
    if fabric.world_size == 1:
        stop = StopSignal(folder)
    else:
        stop = StopSignal()
        install(stop.note)  # from the first moment: a process that just died would hang the rest
        _leave_with_parent(stop)
    run = Run(fabric, config, folder)
    try:
        with handled(stop.note):  # from before the folder changes: an earlier run goes as a whole
            if latest is not None:
                snapshot.restore(run, latest)
                if run.lead:
                    folder.write_config(config)
                    folder.remove_leftovers()
                    snapshot.export(run)
            elif run.lead:
                folder.create(config)
            fabric.barrier()
            if run.lead:
                _announce(run, latest)
            train(run, stop)
    except Stopped as stopped:
        return stopped
    return finish(run)


def _announce(run: Run, latest: Path | None) -> None:
    config, networks, data = run.config, run.networks, run.data
    count = sum(p.numel() for p in networks.encoder.backbone.parameters())
    mask_count = sum(p.numel() for p in networks.masker.parameters())
    stem = "small stem" if networks.backbone_name.endswith(SMALL_STEM) else "standard stem"
    print_prose(
        f"{config.recipe}: {amount(len(data.train), 'image')} of {data.name} at "
        f"{config.image_size} px, {amount(config.epochs, 'epoch')} of "
        f"{amount(run.steps_per_epoch, 'step')}, batch {config.batch_size}, "
        f"on {run.fabric.device.type} × {run.fabric.world_size}"
        + (f" ({config.threads} threads)" if run.fabric.device.type == "cpu" else "")
        + f", {config.precision}\n"
        f"encoder {networks.backbone_name} ({stem}, {count:,} parameters), "
        f"masker {config.masks.masker}"
        + (f" ({config.masks.n_masks} masks, {mask_count:,} parameters)" if mask_count else "")
        + f"\nrun folder {run.folder.path}"
        + (
            f"\ngoes on after step {run.step:,} of {run.total_steps:,}, from {latest}"
            if latest
            else ""
        )
        + ("\nit is finished: only its scores and figures are made again" * run.finished)
    )
    for line in described(data, config.batch_size):
        print_prose(line)
    if config.recipe == SMALL and run.fabric.device.type == "cpu" and latest is None:
        print_prose(small_instead(config))
    if config.optim.warmup_epochs >= config.epochs:
        print_prose(
            f"note: the warm-up of {amount(config.optim.warmup_epochs, 'epoch')} is not over after "
            f"{config.epochs}: --optim.encoder.lr is never reached; see --optim.warmup-epochs"
        )
