"""Checkpoints: all that a run needs to go on as if it had never stopped. Loading runs no code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from seamask.base import settings
from seamask.base.errors import UserError
from seamask.base.files import atomic
from seamask.base.registry import with_parts
from seamask.base.settings import Within
from seamask.config import Config
from seamask.data.normalize import IMAGENET
from seamask.export import save_weights, timm_config
from seamask.masks.frozen import FrozenMasker
from seamask.masks.frozen import about as masker_about
from seamask.runs import NO_OTHER_RUN, makes_other_run, resolved
from seamask.training.health import Finiteness
from seamask.training.report import manifest
from seamask.training.run import Run

KIND = "seamask checkpoint"
FORMAT = f"{KIND} 2"  # 1: penalties were weighted in other units
# Settings that may differ when a run goes on; others would make it another run. Of `epochs` there
# may only be more; images are compared by what they are, not by where they lie.
MAY_CHANGE = ("epochs", "data.source", "data.objects", *NO_OTHER_RUN)


def may_change(setting: str) -> bool:
    """Say whether a setting, by its dotted path, may differ when a run goes on."""
    return setting in MAY_CHANGE or not makes_other_run(setting)


@dataclass(frozen=True)
class State:
    """What a checkpoint holds: plain values, and tensors in dicts."""

    config: dict[str, Any]
    data: str
    step: Annotated[int, Within(0)]
    seconds: Annotated[float, Within(0)]
    encoder: dict[str, Any]
    masker: dict[str, Any]
    encoder_optimizer: dict[str, Any]
    masker_optimizer: dict[str, Any]


def save(run: Run, finite: Finiteness) -> None:
    """Write a checkpoint, and what follows from it. Every process takes part.

    Raises:
        UserError: losses or weights that are not finite, or a disk that is full or not writable;
            earlier checkpoints are untouched.
    """
    finite.check_losses()
    finite.check_weights()
    window = run.window.state(run.processes)
    if not run.lead:
        return
    players, networks = run.players, run.networks
    masker_optimizer = players.masker_optimizer
    state = {
        "format": FORMAT,
        "config": resolved(run.config),
        "data": run.data.fingerprint,
        "normalization": [list(values) for values in run.data.normalization],
        "init": run.started,
        "step": run.step,
        "seconds": run.seconds,
        "window": {**window, "waited": run.image_loader.waited},
        "encoder": networks.encoder.state_dict(),
        "masker": networks.masker.state_dict(),
        "encoder_optimizer": players.encoder_optimizer.state_dict(),
        "masker_optimizer": masker_optimizer.state_dict() if masker_optimizer else {},
    }
    write(state, run.folder.checkpoint(run.step))
    export(run)


def export(run: Run) -> None:
    """Write what follows from the latest checkpoint: weights for others, and the manifest.

    Older checkpoints go. A run that goes on does it again: it may have been killed in between.

    Raises:
        UserError: a disk that is full or not writable.
    """
    folder, networks = run.folder, run.networks
    *older, _ = folder.all_checkpoints()
    whole = [path for path in older if folder.step_of(path) % run.steps_per_epoch == 0]
    kept = whole[::-1][: run.config.log.keep_checkpoints - 1]
    for old in older:
        if old not in kept:
            old.unlink()
    size = {"image_size": run.config.image_size, **networks.backbone_arguments}
    about = {"backbone": networks.backbone_name}  # for `seamask evaluate`
    about |= {name: str(value) for name, value in size.items()}
    about["normalization"] = json.dumps(settings.to_dict(run.data.normalization))
    about["held_out"] = json.dumps(asdict(run.data.held_out))
    save_weights(networks.encoder.backbone, folder.encoder, about)
    folder.link_encoder()
    export_masker(run)
    arguments = networks.backbone_name, networks.backbone_arguments, networks.encoder.backbone
    config = timm_config(*arguments, run.config.image_size, run.data.normalization)
    with atomic(folder.timm) as temporary:
        temporary.write_text(f"{json.dumps(config, indent=2)}\n")
    folder.write_manifest(manifest(run))


def export_masker(run: Run) -> None:
    """Write the masker's weights, with all that `--masker run:PATH` needs to build it again."""
    masker, config = run.networks.masker, run.config
    about = masker_about(config.masks, config.image_size, *run.data.normalization)
    if isinstance(masker, FrozenMasker):
        said = masker.said
        hard = config.masks.hard  # by this run's settings, on top of its own
        about = (said.made_hard(config.masks.hard_patch) if hard else said).metadata()
        masker = masker.trained
    save_weights(masker, run.folder.masker, about)


def restore(run: Run, path: Path) -> None:
    """Let a run that was just built go on from a checkpoint.

    Raises:
        UserError: it is damaged, or belongs to other data, other settings or another model.
    """
    state = read(path)
    if state["data"] != run.data.fingerprint:
        raise UserError(
            f"cannot resume from {path}: the images of {run.data.name} are not those that it was "
            "trained on (others, more or fewer); name the folder that holds those with --data DIR, "
            "or start a new run"
        )
    then, now = state.get("normalization", [*IMAGENET]), run.data.normalization
    if [*map(list, then)] != [*map(list, now)]:
        raise UserError(
            f"cannot resume from {path}: its images were normalised by {then}, and are now by "
            f"{[*map(list, now)]}: it is of an earlier seamask; start a new run"
        )
    _check_settings(path, settings.from_dict(state["config"], with_parts(Config())), run.config)
    networks, players = run.networks, run.players
    try:
        networks.encoder.load_state_dict(state["encoder"])
        networks.masker.load_state_dict(state["masker"])
        players.encoder_optimizer.load_state_dict(state["encoder_optimizer"])
        if players.masker_optimizer is not None:
            players.masker_optimizer.load_state_dict(state["masker_optimizer"])
        if "window" in state:  # none of before
            run.window.restore(state["window"], run.processes.device)
            run.image_loader.waited = state["window"].get("waited", 0.0)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"cannot resume from {path}: it belongs to another model") from error
    if state["step"] > run.total_steps:
        raise UserError(
            f"cannot resume from {path}: it is of step {state['step']}, and the run has only "
            f"{run.total_steps}: not its checkpoint, or damaged"
        )
    run.step, run.seconds = state["step"], state["seconds"]
    run.started = state.get("init")
    if run.lead:
        run.folder.keep_metrics_until(run.step)


def _check_settings(path: Path, then: Config, now: Config) -> None:
    """Refuse settings that differ from those of a checkpoint, but for what may change."""
    for setting, was, is_now in settings.differences(then, now):
        fewer = setting == "epochs" and is_now < was
        if fewer or not may_change(setting):
            raise UserError(
                f"cannot resume from {path}: it was trained with {setting} {was!r}, not "
                f"{is_now!r}; set it back, or start a new run"
            )


def write(state: dict[str, Any], path: Path) -> None:
    """Write plain values, dicts, lists and tensors, whole or not at all.

    Raises:
        UserError: the disk is full or not writable.
    """
    with atomic(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch reports a full disk so
            raise OSError(None, f"{str(error).splitlines()[0]} (disk full?)") from error


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; only tensors and plain values are accepted.

    Raises:
        UserError: the file is damaged, or is not one of ours.
    """
    remedy = "delete it to go on from the checkpoint before it, if there is one"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive raises nearly anything
        raise UserError(
            f"cannot read checkpoint {path}: damaged, or not a checkpoint of seamask; {remedy}"
        ) from error
    state = state if isinstance(state, dict) else {}
    kind = state.get("format")
    if isinstance(kind, str) and kind.startswith(KIND) and kind != FORMAT:
        raise UserError(
            f"cannot go on from checkpoint {path}: it is of an earlier seamask, whose penalties "
            "were weighted in other units; start the run again"
        )
    if kind != FORMAT:
        raise UserError(f"cannot read checkpoint {path}: not a checkpoint of seamask; {remedy}")
    known = settings.record(State, state, f"checkpoint {path}")
    try:
        settings.from_dict(known.config, with_parts(Config()))
    except UserError as error:
        raise UserError(f"cannot read checkpoint {path}: damaged: {error}") from error
    return {**state, **vars(known)}
