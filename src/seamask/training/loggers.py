"""Where the log of a run goes besides `metrics.jsonl`: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from seamask.base.errors import UserError
from seamask.base.files import atomic, make_folder, sync_file
from seamask.config import Config
from seamask.runs import RunFolder, resolved

PROJECT = "seamask"  # of Weights & Biases, and the experiment of MLflow


class Logger(Protocol):
    """Takes the lines of a log.

    A run that goes on from a checkpoint gives some steps again, with the same metrics.
    """

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a step, by name."""

    def close(self, finished: bool) -> None:
        """Let go of the run; `finished` is False where it was stopped or failed."""


@contextmanager
def open_loggers(folder: RunFolder, config: Config, step: int) -> Iterator[list[Logger]]:
    """Yield the loggers that the settings of a run ask for, and close them.

    Args:
        folder: of the run.
        config: of the run.
        step: that it goes on from.

    Raises:
        UserError: one is not installed, or does not take this run.
    """
    log = config.log
    kinds: list[type[TensorBoard | WandB | MLflow]] = [TensorBoard, WandB, MLflow]
    asked = (log.tensorboard, log.wandb, log.mlflow)
    loggers: list[Logger] = []
    finished = False
    try:
        for kind, wanted in zip(kinds, asked, strict=True):
            if wanted:
                loggers.append(kind(folder, config, step))
        yield loggers
        finished = True
    finally:
        with ExitStack() as stack:  # all are closed, whatever one says
            for logger in loggers:
                stack.callback(logger.close, finished)


class TensorBoard:
    """Event files in the run's folder, on the disk after each line.

    Args are those of `open_loggers`.
    """

    def __init__(self, folder: RunFolder, config: Config, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("--log.tensorboard needs `pip install tensorboard`") from error
        self.folder = folder.tensorboard
        self.writer = SummaryWriter(str(self.folder), purge_step=step + 1)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Logger`."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()
        for file in self.folder.iterdir():
            sync_file(file)

    def close(self, finished: bool) -> None:
        """See `Logger`."""
        self.writer.close()


class WandB:
    """A run of Weights & Biases; where and whether online, its own variables say (`WANDB_MODE`).

    Its files are in the run's folder, where it finds a run again that was stopped.
    """

    def __init__(self, folder: RunFolder, config: Config, step: int) -> None:
        try:
            import wandb
        except ImportError as error:
            raise UserError("--log.wandb needs `pip install wandb`") from error
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=folder.path.resolve().name,
                dir=str(folder.path),
                config=resolved(config),
                resume="auto",
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            raise UserError(
                f"--log.wandb: {error}; log in with `wandb login`, or set WANDB_MODE=offline"
            ) from error

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Logger`."""
        self.run.log(dict(metrics), step=step)

    def close(self, finished: bool) -> None:
        """See `Logger`."""
        self.run.finish(exit_code=0 if finished else 1)


class MLflow:
    """A run of MLflow: where `MLFLOW_TRACKING_URI` says, else in a database in the run's folder.

    Should the server be lost while the run trains, that is said, and the run goes on.
    """

    def __init__(self, folder: RunFolder, config: Config, step: int) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise UserError("--log.mlflow needs `pip install mlflow`") from error
        self.metric: Any = Metric
        self.lost = False
        try:
            make_folder(folder.mlflow)
            own = f"sqlite:///{folder.mlflow.resolve()}/mlflow.db"
            self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or own)
            self.id = self._id(folder, step)
            pairs = [Param(name, str(value)) for name, value in _flat(resolved(config))]
            self.client.log_batch(self.id, params=pairs if not step else [])
        except (MlflowException, ImportError) as error:  # what the address needs may be missing
            raise UserError(f"--log.mlflow: {error}") from error

    def _id(self, folder: RunFolder, step: int) -> str:
        """Return the run that was begun, or that of a new one, which is noted in the folder."""
        noted = folder.mlflow / "id"
        if step and noted.exists():
            found = noted.read_text().strip()
            self.client.update_run(found, status="RUNNING")
            return found
        known = self.client.get_experiment_by_name(PROJECT)
        experiment = known.experiment_id if known else self.client.create_experiment(PROJECT)
        name = folder.path.resolve().name
        made = str(self.client.create_run(experiment, run_name=name).info.run_id)
        with atomic(noted) as temporary:
            temporary.write_text(made + "\n")
        return made

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Logger`."""
        now = round(1000 * time.time())
        self._try(
            lambda: self.client.log_batch(
                self.id, [self.metric(name, value, now, step) for name, value in metrics.items()]
            )
        )

    def close(self, finished: bool) -> None:
        """See `Logger`."""
        self._try(lambda: self.client.set_terminated(self.id, "FINISHED" if finished else "KILLED"))

    def _try(self, call: Any) -> None:
        if self.lost:
            return
        try:
            call()
        except Exception as error:  # whatever a network can raise: the training is worth more
            self.lost = True
            print(f"warning: --log.mlflow: {error}; nothing more is sent", file=sys.stderr)


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of the settings of a run."""
    for name, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
