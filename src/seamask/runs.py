"""A run's folder: where each of its files lies, and how a folder becomes a run."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml

from seamask.base import settings
from seamask.base.documents import read_json
from seamask.base.errors import UserError
from seamask.base.files import (
    OURS,
    atomic,
    cannot_write,
    is_empty,
    make_folder,
    remove_leftovers,
    sync,
    sync_folder,
)
from seamask.base.locks import join, locked
from seamask.base.paths import check_writable, local
from seamask.base.registry import with_parts
from seamask.base.settings import Within
from seamask.config import Config, check
from seamask.data.normalize import Normalization
from seamask.data.registry import HeldOut
from seamask.plugins import command, flags, loaded_plugins

PLUGIN = "# --plugin "  # begins a line of `config.yaml`: a run's plugins are said, never loaded
FILES = (
    "config.yaml", "metrics.jsonl", "masks", "curves.png", "checkpoints", "encoder.safetensors",
    "model.safetensors", "masker.safetensors", "config.json", "manifest.json", "features.npz",
    "report.html", "tensorboard", "wandb", "mlflow", "evaluations", "onnx",
)  # fmt: skip
ONE_START = ("out", "overwrite", "resume")
# Settings that make no other run: where it lies, how it is started and on what it computes. Other
# threads or devices add in another order, to other last bits; all else about them is the same.
NO_OTHER_RUN = (
    *ONE_START, "threads", "device", "devices", "timeout", "cuda_graph",
    "data.root", "data.cache", "data.resident",
)  # fmt: skip
STEP = re.compile(r"step-\d+\.pt")
EPOCH = re.compile(r"epoch-\d+\.npz")


def makes_other_run(setting: str) -> bool:
    """Say whether another value of a setting, by its dotted path, is another run: whether it is a
    choice, and no place, no way to start or compute the same, nothing that is only written."""
    return setting not in NO_OTHER_RUN and not setting.startswith("log.")


def resolved(config: Config) -> dict[str, Any]:
    """Return the settings of a run as plain values, without those of one start."""
    lines = settings.to_dict(config)
    return {n: value for n, value in lines.items() if n not in ONE_START}


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path | str) -> None:
        self.path = local(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.jsonl"
        self.masks = self.path / "masks"
        self.curves = self.path / "curves.png"
        self.checkpoints = self.path / "checkpoints"
        self.encoder = self.path / "encoder.safetensors"
        self.masker = self.path / "masker.safetensors"
        self.timm = self.path / "config.json"  # how timm builds the encoder: `local-dir:`
        self.link = self.path / "model.safetensors"  # the name that others look for it under
        self.manifest = self.path / "manifest.json"
        self.shown = (
            self.masks / "images.npz"
        )  # whose masks are recorded; see `seamask.training.record`
        self.features = self.path / "features.npz"
        self.report = self.path / "report.html"
        self.tensorboard = self.path / "tensorboard"
        self.mlflow = self.path / "mlflow"
        self.evaluations = self.path / "evaluations"
        self.replaced = self.path / f"{OURS}replaced"  # the settings of a run being removed
        self.lock = self.path / f"{OURS}lock"

    @classmethod
    def for_new_run(cls, config: Config) -> RunFolder:
        """Return the folder a new run will use; refuse one that is taken. Nothing is created yet.

        Raises:
            UserError: the folder holds a run and `overwrite` is not set, or holds something else.
        """
        date = time.strftime("%Y-%m-%d-%H%M%S")
        out = config.out or f"runs/{config.recipe}-{date}-seed{config.seed}"
        folder = cls(local(out, "--out"))
        check_writable(folder.path, "--out")
        if folder.path.exists() and not folder.path.is_dir():
            raise UserError(f"--out {out}: is a file; name a folder")
        if folder.lock.exists():  # whoever trains there is named, or was killed
            with folder.claimed():
                pass
        try:
            if not folder.path.exists() or is_empty(folder.path):
                return folder
        except OSError as error:
            raise UserError(f"--out {out}: cannot be read: {error.strerror}") from error
        if not folder.config.exists() and not folder.replaced.exists():
            raise UserError(f"--out {out}: holds files that are not a run; name another folder")
        if folder.config.exists() and not config.overwrite:
            raise folder.taken()
        return folder

    @classmethod
    def of_run(cls, path: Path | str) -> RunFolder:
        """Return the folder of an existing run.

        Raises:
            UserError: there is no run at `path`.
        """
        folder = cls(path)
        if not folder.path.is_dir():
            raise UserError(f"no run at {path}: no such folder")
        if not folder.config.exists():
            raise UserError(f"no run at {path}: the folder has no config.yaml")
        return folder

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep every other command that would write this run away, for the length of the block.

        The folder is made for it; if nothing is written to it, it goes again.

        Raises:
            UserError: another has the run, or the folder cannot be written.
        """

        def refuse(holder: str) -> None:
            raise UserError(
                f"{self.path}: {holder} is training this run; wait for it, stop it, or name "
                "another folder with --out"
            )

        is_new = not self.path.exists()
        with ExitStack() as stack:
            try:
                make_folder(self.path)
                if is_new:
                    stack.callback(self._remove_if_empty)
                stack.enter_context(locked(self.lock, refuse, shared=True))
            except OSError as error:
                raise cannot_write(self.path, error) from error
            yield

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            self.path.rmdir()

    def join(self) -> None:
        """Claim the run together with the process that we work for, until this one ends."""
        join(self.lock)

    def create(self, config: Config) -> None:
        """Make the folder, without the files of an earlier run, and write the settings to it.

        Whenever it is killed, the folder holds the earlier run whole, or may be used as if empty,
        or holds the new run.

        Raises:
            UserError: another run has taken the folder since, or it cannot be written.
        """
        try:
            if self.config.exists():
                if not config.overwrite:
                    raise self.taken()
                os.replace(self.config, self.replaced)  # from here on there is no earlier run
            for name in FILES:
                old = self.path / name
                if old.is_dir():
                    shutil.rmtree(old)
                else:
                    old.unlink(missing_ok=True)
            self.write_config(config)
            self.remove_leftovers()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def remove_leftovers(self) -> None:
        """Remove what a killed process left half-written; for the one process that has the run."""
        for folder in (self.path, self.checkpoints, self.masks):
            remove_leftovers(folder)
        self.replaced.unlink(missing_ok=True)

    def write_config(self, config: Config) -> None:
        """Write the settings to `config.yaml`, with the names of the plugins that they need."""
        lines = resolved(config)
        plugins = "".join(f"{PLUGIN}{json.dumps(str(path))}\n" for path in loaded_plugins())
        with atomic(self.config) as temporary:
            temporary.write_text(plugins + yaml.safe_dump(lines, sort_keys=False))

    def read_config(self) -> Config:
        """Return the settings the run was started with."""
        with self.naming_plugins():
            return check(settings.read_yaml(self.config, with_parts(Config())))

    def read_held_out(self, config: Config) -> HeldOut:
        """Return what the run, of these settings, held out of a folder without `val/`."""
        data = self.read_manifest().get("data", {}) if self.manifest.exists() else {}
        size = config.data.size or config.image_size
        usual = {"seed": config.seed, "share": config.data.holdout, "size": size}  # of runs before
        said = usual | data.get("held_out_by", {}) | {"fingerprint": data.get("fingerprint", "")}
        return settings.record(HeldOut, said, f"{self.manifest}: data.held_out_by")

    @contextmanager
    def naming_plugins(self) -> Iterator[None]:
        """Add to an error the plugins that the run was made with and that are not here."""
        try:
            yield
        except UserError as error:
            if missing := self.missing_plugins():
                raise UserError(f"{error}; {missing}") from error
            raise

    def missing_plugins(self) -> str:
        """Say which plugins the run was made with that are not here; empty: none."""
        here = {path.name for path in loaded_plugins()}
        missing = [path for path in self._plugins() if Path(path).name not in here]
        if not missing:
            return ""
        return f"this run was made with {shlex.join(flags(missing))}: give it here too"

    def _plugins(self) -> list[str]:
        found = []
        with suppress(OSError, ValueError):  # whatever else the file is: the first error is told
            for line in self.config.read_text().splitlines():
                if line.startswith(PLUGIN):
                    found.append(str(json.loads(line[len(PLUGIN) :])))
        return found

    def link_encoder(self) -> None:
        """Let the encoder's weights be found under the name that timm and transformers look for."""
        with suppress(OSError):  # a disk without links: timm finds them all the same
            if not self.link.is_symlink():  # one that was copied would grow old
                self.link.unlink(missing_ok=True)
                self.link.symlink_to(self.encoder.name)

    def recorded(self, epoch: int) -> Path:
        """Return where the masks that were recorded after an epoch lie."""
        return self.masks / f"epoch-{epoch:04d}.npz"

    def all_recorded(self) -> list[Path]:
        """Return the files of recorded masks that are there, the latest last."""
        found = self.masks.glob("epoch-*.npz")
        return sorted((path for path in found if EPOCH.fullmatch(path.name)), key=self.epoch_of)

    @staticmethod
    def epoch_of(recorded: Path) -> int:
        """Return the epoch that a file of `all_recorded` is of."""
        return int(recorded.stem.removeprefix("epoch-"))

    def checkpoint(self, step: int) -> Path:
        """Return where the checkpoint after a step lies."""
        return self.checkpoints / f"step-{step:09d}.pt"

    def all_checkpoints(self) -> list[Path]:
        """Return the checkpoints that are there, the latest last."""
        found = self.checkpoints.glob("step-*.pt")
        return sorted((path for path in found if STEP.fullmatch(path.name)), key=self.step_of)

    @staticmethod
    def step_of(checkpoint: Path) -> int:
        """Return the step that a checkpoint was written after."""
        return int(checkpoint.stem.removeprefix("step-"))

    def latest_checkpoint(self) -> Path | None:
        """Return the latest checkpoint, or None."""
        return next(reversed(self.all_checkpoints()), None)

    def kept(self) -> str:
        """Say what a run that was stopped has kept, and how to go on."""
        latest = self.latest_checkpoint()
        kept = f"kept is {latest}" if latest else "there is no checkpoint yet"
        return f"{kept}; go on with: {command('resume', self.path)}"

    def taken(self) -> UserError:
        """Build the one-line error for a new run in the folder of this one."""
        return UserError(
            f"--out {self.path}: already holds a run; name another folder, continue that run with "
            f"`{command('resume', self.path)}`, or replace it with --overwrite"
        )

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one JSON object as a line to `metrics.jsonl`, to stay when the power fails.

        So a checkpoint never knows of steps that the log does not. What is no number is left out.
        """
        try:
            is_new = not self.metrics.exists()
            with self.metrics.open("a") as file:
                file.write(json.dumps(finite(line), allow_nan=False) + "\n")
                file.flush()
                sync(file.fileno())
            if is_new:
                sync_folder(self.path)
        except OSError as error:
            raise cannot_write(self.metrics, error) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of `metrics.jsonl`, without those that are damaged or cut short."""
        if not self.metrics.exists():
            return []
        try:
            lines = self.metrics.read_bytes().split(b"\n")[:-1]
        except OSError as error:
            raise UserError(f"cannot read {self.metrics}: {error.strerror}") from error
        return [entry for line in lines if (entry := _metrics(line)) is not None]

    def keep_metrics_until(self, step: int) -> None:
        """Drop the lines of `metrics.jsonl` that were logged after a step."""
        kept = [json.dumps(line) + "\n" for line in self.read_metrics() if line["step"] <= step]
        with atomic(self.metrics) as temporary:
            temporary.write_text("".join(kept))

    def weights(self) -> str:
        """Return 16 hex digits of sha256 of the encoder's weights; none of those not there yet."""
        try:
            return hashlib.sha256(self.encoder.read_bytes()).hexdigest()[:16]
        except FileNotFoundError:
            return ""

    def read_manifest(self) -> dict[str, Any]:
        """Return what `manifest.json` says.

        Raises:
            UserError: it is missing or damaged.
        """
        try:
            manifest = read_json(self.manifest)
        except UserError as error:
            raise UserError(
                f"cannot read {self.manifest}: the run has not reached its first checkpoint, "
                f"or the file is damaged ({error})"
            ) from error
        settings.record(Manifest, manifest, str(self.manifest))
        return dict(manifest)

    def read_normalization(self) -> Normalization:
        """Return what the run's images are normalised by.

        Raises:
            UserError: the manifest is missing or damaged, or does not say it.
        """
        said = self.read_manifest().get("normalization")
        return settings.record(Normalization, said, f"{self.manifest}: normalization")

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write `manifest.json`.

        Raises:
            ValueError: it holds what is no number (NaN, inf): no JSON, which others read, has that.
        """
        text = json.dumps(manifest, indent=2, allow_nan=False)
        with atomic(self.manifest) as temporary:
            temporary.write_text(f"{text}\n")


def finite(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name without those that are no number (NaN, inf), which JSON has not."""
    return {n: v for n, v in line.items() if not isinstance(v, float) or math.isfinite(v)}


@dataclass(frozen=True)
class Manifest:
    """What is read of a `manifest.json`; it says more."""

    epochs_done: Annotated[float, Within(0)] = 0.0
    normalization: Normalization | None = None
    data: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)


def _metrics(line: bytes) -> dict[str, Any] | None:
    """Return a line of the log; None if it is damaged: other lines are none the worse for it."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    good = isinstance(found, dict) and all(type(found.get(k)) is int for k in ("epoch", "step"))
    numbers = good and all(isinstance(value, int | float) for value in found.values())
    return found if numbers and found.get("images_per_second", 1) > 0 else None
