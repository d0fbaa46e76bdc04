"""The log of a run: lines of metrics, progress, an estimate of the time left, TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from seamask.base.devices import memory_used
from seamask.base.errors import UserError
from seamask.base.files import sync_file
from seamask.base.progress import Progress, amount, duration, few
from seamask.training.health import Health
from seamask.training.run import Run
from seamask.training.troubles import in_short


@contextmanager
def open_journal(run: Run, health: Health) -> Iterator[Journal]:
    """Show progress and keep the log while a run trains.

    Args:
        run: that trains.
        health: says what a line of the log warns of.

    Raises:
        UserError: TensorBoard is asked for and not installed.
    """
    config = run.config
    asked = config.log.tensorboard and run.lead
    total = run.total_steps * config.batch_size
    with (
        _tensorboard(run) if asked else nullcontext() as tensorboard,
        Progress("pretraining", total, "images", run.lead) as progress,
    ):
        progress.skip(run.step * config.batch_size)
        yield Journal(run, health, progress, tensorboard)


class Journal:
    """Writes and says how training goes; made by `open_journal`.

    Args:
        run: that trains.
        health: says what a line of the log warns of.
        progress: begun.
        tensorboard: a `SummaryWriter`, or None.
    """

    def __init__(self, run: Run, health: Health, progress: Progress, tensorboard: Any) -> None:
        self.run, self.health = run, health
        self.progress, self.tensorboard = progress, tensorboard
        self.whole_windows = 0  # that the log has closed, in this process

    def log(self, rates: Mapping[str, float]) -> None:
        """Write a line of means since the last, and say what it shows. Every process takes part.

        Args:
            rates: learning rates of the last step.
        """
        run, config = self.run, self.run.config
        means, seconds, steps = run.window.close(run.processes)
        run.seconds += seconds
        if not run.lead:
            return
        line: dict[str, Any] = {"epoch": run.epoch, "step": run.step, **means, **rates}
        line["images_per_second"] = steps * config.batch_size / seconds
        line["data_wait"] = run.image_loader.waited / seconds
        run.image_loader.waited = 0.0
        self.write(line)
        if run.step > run.steps_per_epoch:  # in the first epoch masks have yet to settle
            for text in self.health.warn(line):
                self.progress.say(f"warning: {text}")
        if steps >= min(config.log.every, run.steps_per_epoch):
            self.whole_windows += 1
            if self.whole_windows == 2:  # the first has the warm-up
                self.progress.say(self._estimate(line["images_per_second"], line["data_wait"]))

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line, with `epoch` and `step`, to TensorBoard and to `metrics.jsonl`.

        The latter says what is done: a run that is killed in between writes both again.
        """
        if self.tensorboard is not None:
            for name, value in line.items():
                if name not in ("epoch", "step"):
                    self.tensorboard.add_scalar(name, value, line["step"])
            self.tensorboard.flush()
            for file in self.run.folder.tensorboard.iterdir():
                sync_file(file)
        self.run.folder.append_metrics(line)

    def advance(self) -> None:
        """Show that a step is done."""
        run, last = self.run, self.run.window.last
        loss = f", loss {last['loss/encoder']:.3f}" if "loss/encoder" in last else ""
        note = f"epoch {run.epoch}/{run.config.epochs}{loss}{in_short(last)}"
        self.progress.advance(run.config.batch_size, note)

    def _estimate(self, rate: float, wait: float) -> str:
        """Say how fast training is and how long the rest will take, as just measured."""
        run, config = self.run, self.run.config
        gib = memory_used(run.processes.device) / 2**30
        left = (run.total_steps - run.step) * config.batch_size / rate
        return (
            f"{few(rate)} images/s, {wait:.1%} of the time waiting for data, {gib:.1f} GiB taken: "
            f"{duration(left)} more for {amount(config.epochs, 'epoch')}, probes and figures not "
            "counted; "
            "`seamask bench` says where the time goes and what would be faster"
        )


def _tensorboard(run: Run) -> AbstractContextManager[Any]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError("--log.tensorboard needs `pip install tensorboard`") from error
    writer: AbstractContextManager[Any] = SummaryWriter(
        str(run.folder.tensorboard), purge_step=run.step + 1
    )
    return writer
