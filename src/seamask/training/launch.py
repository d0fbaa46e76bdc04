"""Starting and resuming a run, over one process or several."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import distributed
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from seamask.base import settings
from seamask.base.devices import free_cores, kind_of, use_cpu, uses_gpu
from seamask.base.errors import UserError
from seamask.base.memory import memory_errors
from seamask.base.output import lasting_output, print_prose
from seamask.base.paths import absolute, local
from seamask.base.precision import chosen_precision, use_precision
from seamask.base.progress import amount
from seamask.base.signals import Stopped, handled, install
from seamask.config import Config, packed, unpacked
from seamask.data import SOURCES, load
from seamask.data.describe import described
from seamask.networks.backbone import SMALL_STEM
from seamask.plugins import command
from seamask.recipes import SMALL, default_recipe, recipe_config, small_instead
from seamask.runs import ONE_START, RunFolder
from seamask.training import snapshot
from seamask.training.cluster import Place, started_by
from seamask.training.loop import train
from seamask.training.preflight import preflight, processes_here
from seamask.training.processes import Processes, device_of
from seamask.training.report import Summary, finish
from seamask.training.run import Run, training_maps
from seamask.training.signals import StopSignal
from seamask.training.spawn import Killed, leave_if_unguarded, spawn
from seamask.training.start import read_start
from seamask.training.watch import Watch, choose_interface

# That processes wait for one which lives: for its probes, or its store. The dead are found sooner.
COLLECTIVE = timedelta(days=1)


def pretrain(
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    recipe: str | None = None,
    **changed: Any,
) -> Summary:
    """Pretrain an encoder; the same as the command `seamask pretrain`.

    Args:
        data: a folder of images or the name of a data set; the recipe's if None.
        out: folder of the run; `runs/<recipe>-<date>-seed<N>` if None.
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
def start_run(config: Config, place: Place | None = None) -> Summary:
    """Start a run with fully resolved settings, or go on with it, if `config.resume` says so.

    Args:
        config: all settings.
        place: of this process among those that train together; None: see `started_by`.

    Raises:
        UserError: what a user can mend, in one line.
        Stopped: a signal asked for it.
    """
    return _run(partial(_new, config), config.devices, config.timeout, place)


@lasting_output()
@memory_errors()
def resume_run(path: str | os.PathLike[str], place: Place | None = None, **changed: Any) -> Summary:
    """Go on with a run from its latest checkpoint, to the same weights as if never stopped.

    A run that was stopped before its first checkpoint begins again.

    Args:
        path: the run's folder.
        place: of this process among those that train together; None: see `started_by`.
        **changed: settings that may change when a run goes on (`snapshot.MAY_CHANGE`), by short
            name or dotted path: `data="moved/images"`, `epochs=1000`.

    Raises:
        UserError: there is no run, its checkpoint is damaged or of another model, or a setting that
            would make it another run.
        Stopped: a signal asked for it.
    """
    given = {name: value for name, value in changed.items() if name in ("devices", "timeout")}
    asked = settings.override(Config(), given)
    return _run(partial(_old, path, changed), asked.devices, asked.timeout, place)


class Plan(NamedTuple):
    """What is to be trained.

    Attributes:
        config: all settings, that mean the same everywhere.
        folder: of the run; claimed.
        latest: the checkpoint to go on from; None: a new run.
    """

    config: Config
    folder: RunFolder
    latest: Path | None

    def packed(self) -> dict[str, Any]:
        """Return it as plain values, for another process."""
        latest = None if self.latest is None else str(self.latest)
        return {"config": packed(self.config), "folder": str(self.folder.path), "latest": latest}

    @classmethod
    def unpacked(cls, plain: dict[str, Any]) -> Plan:
        """Return what `packed` was made of, with its plugins loaded."""
        latest = plain["latest"]
        folder = RunFolder(plain["folder"])
        return cls(unpacked(plain["config"]), folder, None if latest is None else Path(latest))


Planned = Callable[[Place], AbstractContextManager[Plan]]


def _run(planned: Planned, devices: int, timeout: float, place: Place | None) -> Summary:
    """Train what is planned, with all processes that there are, or are to be.

    Args:
        planned: what is to be trained, decided and claimed by one process, of a given place.
        devices: that are asked for.
        timeout: seconds that processes wait for each other at the beginning.
        place: of this process; None: see `started_by`.
    """
    leave_if_unguarded()
    place = started_by(os.environ) if place is None else place
    if place.world_size > 1 and devices not in (1, place.world_size):
        if place.rank:
            sys.exit(2)  # one says it
        raise UserError(
            f"--devices {devices}: {place.by} has started {place.world_size} processes; leave it "
            "out, or have as many started"
        )
    if place.world_size == 1:
        with planned(place) as plan:
            outcome = _several(plan) if plan.config.devices > 1 else _alone(plan, place)
    else:
        with Watch(place, timeout) as watch:
            outcome = _together(planned, watch)
    if isinstance(outcome, Stopped):
        raise outcome
    return outcome


@contextmanager
def _new(config: Config, place: Place) -> Iterator[Plan]:
    """Plan a new run, or to go on with the one that is there if that is asked for."""
    config = _over(config, place)
    if config.resume == "auto":
        if not config.out or config.overwrite:
            problem = "and --overwrite exclude each other" if config.overwrite else "needs --out"
            raise UserError(f"--resume auto {problem}")
        there = RunFolder(local(config.out, "--out"))
        if there.config.exists():
            then = there.read_config()
            now = replace(config, threads=config.threads or then.threads)
            if config.precision == "auto":
                now = replace(now, precision=then.precision)
            try:
                _check_same(then, _settled(now, place))
            except UserError as error:
                raise UserError(f"--out {config.out} holds another run: {error}") from error
            with _going_on(there, then, now, place) as plan:
                yield plan
            return
    folder = RunFolder.for_new_run(config)
    _look_ahead(config, place)
    config = _settled(config, place)
    with folder.claimed():
        yield Plan(config, folder, None)


def _look_ahead(config: Config, place: Place) -> None:
    """Refuse what cannot work; say what memory it takes, where that may be short."""
    if memory := preflight(config, place, closely=True):
        print_prose(memory)


@contextmanager
def _old(path: str | os.PathLike[str], changed: dict[str, Any], place: Place) -> Iterator[Plan]:
    """Plan to go on with a run."""
    folder = RunFolder.of_run(os.fspath(path))
    then = folder.read_config()
    config = settings.override(then, changed)
    _check_same(then, config, ONE_START)
    with _going_on(folder, then, _over(config, place), place) as plan:
        yield plan


def _check_same(then: Config, now: Config, fixed: Sequence[str] = ()) -> None:
    """Refuse settings that make another run of one that is there.

    Args:
        then: what it was started with.
        now: what it is to go on with.
        fixed: settings that may not differ, though they do not make another run.
    """
    for setting, was, is_now in settings.differences(then, now):
        if setting in fixed or not snapshot.may_change(setting):
            free = [name for name in snapshot.MAY_CHANGE if name not in ONE_START]
            flags = ", ".join(settings.flag(name, Config) for name in free)
            raise UserError(
                f"{settings.flag(setting, type(now))} {is_now}: this run was started with "
                f"{was}, which cannot change when it goes on; these can: "
                f"{flags.replace('--epochs', '--epochs (to more)')}, --log.*"
            )
    if now.epochs < then.epochs:
        raise UserError(
            f"--epochs {now.epochs}: this run is one of {amount(then.epochs, 'epoch')}, and "
            "can only get more"
        )


@contextmanager
def _going_on(folder: RunFolder, then: Config, config: Config, place: Place) -> Iterator[Plan]:
    """Plan to go on with a run of some settings with others that make the same of it."""
    if missing := folder.missing_plugins():  # one may have replaced a part of ours
        raise UserError(f"{folder.path}: {missing}")
    with folder.claimed():
        _look_ahead(config, place)
        config = _settled(config, place)
        latest = folder.latest_checkpoint()
        if latest is not None:
            snapshot.read(latest)  # says what is wrong before anything is started
            if config.epochs > then.epochs:
                print_prose(
                    f"{amount(config.epochs, 'epoch')} instead of {then.epochs:,}: learning rates, "
                    "and all else that moves over the training, go on where a run of that many "
                    "epochs has them now; one that is started so has other weights at its end"
                )
        elif folder.manifest.exists():
            again = command("pretrain", "--config", folder.config, "--out", folder.path)
            raise UserError(
                f"cannot resume {folder.path}: its checkpoints are gone; train it again, over what "
                f"is there, with `{again} --overwrite`"
            )
        else:  # it had not come to its first
            config = replace(config, overwrite=True)
        yield Plan(config, folder, latest)


def _over(config: Config, place: Place) -> Config:
    """Return settings for as many processes as were started, where more than one was."""
    return replace(config, devices=place.world_size) if place.world_size > 1 else config


def _settled(config: Config, place: Place) -> Config:
    """Return settings that mean the same everywhere: absolute paths, threads, a precision."""
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
    return replace(
        config,
        data=replace(data, **resolved),  # type: ignore[arg-type]
        threads=config.threads or max(1, free_cores() // processes_here(config, place)),
        precision=chosen_precision(config.precision, kind_of(config.device)),  # type: ignore[arg-type]
    )


def _alone(plan: Plan, place: Place) -> Summary | Stopped:
    """Train in this process."""
    if place.note:
        print_prose(str(place))
    device = device_of(plan.config.device, place)
    processes = Processes(device, plan.config.precision)
    return train_in(processes, plan, StopSignal(plan.folder))


def _several(plan: Plan) -> Summary | Stopped:
    """Train in processes of this machine that are started here."""
    n = plan.config.devices
    print_prose(str(Place("--devices", world_size=n)))
    # Decoded and clustered once, here; the processes find the store.
    training_maps(plan.config, load(plan.config.data, plan.config.image_size, plan.config.seed))
    stop = StopSignal(plan.folder)
    try:
        outcome = spawn(partial(_one_of_several, plan.packed()), n, stop)
    except UserError as error:
        if stop.number:  # it came before they could heed it
            raise Stopped(stop.number, f"stopped; {plan.folder.kept()}") from error
        if isinstance(error, Killed):
            go_on = command("resume", plan.folder.path)
            raise UserError(f"{error}; go on with `{go_on}`") from error
        raise
    assert isinstance(outcome, Summary | Stopped)
    if stop.number and isinstance(outcome, Summary):  # it came after the last step
        return Stopped(stop.number, f"stopped when all was done; {plan.folder.kept()}")
    return outcome


@lasting_output()
@memory_errors()
def _one_of_several(plain: dict[str, Any], place: Place) -> Summary | Stopped:
    """Train in one of the processes that `_several` has started."""
    stop = StopSignal()
    install(stop.note)  # from the first moment: a process that just died would hang the rest
    plan = Plan.unpacked(plain)
    plan.folder.join()  # we may outlive the process that claimed the run
    choose_interface(place.address)
    store = TCPStore(place.address, place.port, is_master=False)
    with joined(plan.config, place, store) as processes:
        return train_in(processes, plan, stop)


@memory_errors()
def _together(planned: Planned, watch: Watch) -> Summary | Stopped:
    """Train in one of the processes that something else has started."""
    place = watch.place
    if place.rank == 0:
        print_prose(str(place))
        with planned(place) as plan:
            watch.say("plan", plan.packed())
            with joined(plan.config, place, watch.store) as processes:
                return train_in(processes, plan, StopSignal(plan.folder))
    plan = Plan.unpacked(watch.hear("plan"))
    if plan.latest is not None and not plan.latest.exists():
        raise UserError(
            f"{plan.latest} is not on {watch.host}: several nodes need --out on a file system that "
            "all of them see"
        )
    with joined(plan.config, place, watch.store) as processes:
        outcome = train_in(processes, plan, StopSignal())
    # The first says what there is to be said.
    return Stopped(outcome.signal_number, "") if isinstance(outcome, Stopped) else outcome


@contextmanager
def joined(config: Config, place: Place, store: Store) -> Iterator[Processes]:
    """Have this process be one of several that send each other messages, for the block.

    Args:
        config: of the run.
        place: of this process.
        store: that all of them see.
    """
    device = device_of(config.device, place)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore("group", store),
        rank=place.rank,
        world_size=place.world_size,
        timeout=COLLECTIVE,
        device_id=device if device.type == "cuda" else None,
    )
    yield Processes(device, config.precision, place.rank, place.world_size)
    distributed.destroy_process_group()  # not after an error: it may wait for one that is gone


def train_in(processes: Processes, plan: Plan, stop: StopSignal) -> Summary | Stopped:
    """Train in one process; the body of every process of a run.

    Args:
        processes: those that train, as this one sees them.
        plan: what is to be trained.
        stop: takes note of signals.
    """
    config, folder, latest = plan
    if processes.device.type == "cpu":
        use_cpu(config.threads)
    elif processes.world_size > 1:
        torch.set_num_threads(config.threads)
    use_precision(config.precision, config.deterministic)
    start = read_start(config) if latest is None else None  # a checkpoint has its own weights
    run = Run(processes, config, folder, start)
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
            processes.barrier()
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
    where, processes = run.processes.device.type, run.processes.world_size
    where = f"{processes} × {where}" if processes > 1 else where
    if run.processes.device.type == "cpu":
        where += f" ({amount(config.threads, 'thread')}{' each' * (processes > 1)})"
    stem = "small stem" if networks.backbone_name.endswith(SMALL_STEM) else "standard stem"
    print_prose(
        f"{config.recipe}: {amount(len(data.train), 'image')} of {data.name} at "
        f"{config.image_size} px, {amount(config.epochs, 'epoch')} of "
        f"{amount(run.steps_per_epoch, 'step')}, batch {config.batch_size}, "
        f"on {where}, {config.precision}\n"
        f"encoder {networks.backbone_name} ({stem}, {count:,} parameters), "
        f"masker {config.masks.masker}"
        + (f" ({config.masks.n_masks} masks, {mask_count:,} parameters)" if mask_count else "")
        + (f"\n{networks.started}" if networks.started else "")
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
    if config.recipe == SMALL and run.processes.device.type == "cpu" and latest is None:
        print_prose(small_instead(config))
    if little := config.too_little(len(data.train)):
        print_prose(f"note: {little}")
    if config.deterministic and run.processes.device.type == "cuda":
        print_prose(
            "note: --deterministic takes algorithms that may be slower; `seamask bench` with and "
            "without it says by how much"
        )
    last = config.epochs - (config.optim.per == "step")  # in which a warm-up can end
    if config.optim.warmup_epochs > last:
        print_prose(
            f"note: the warm-up of {amount(config.optim.warmup_epochs, 'epoch')} is not over after "
            f"{config.epochs}: --optim.encoder.lr is never reached; see --optim.warmup-epochs"
        )
