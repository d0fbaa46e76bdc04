"""The log of a run: lines of metrics, progress, an estimate of the time left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from seamask.base.devices import memory_used
from seamask.base.progress import Progress, duration, few
from seamask.report.troubles import in_short
from seamask.training.health import Health
from seamask.training.loggers import Logger, open_loggers
from seamask.training.run import Run


@contextmanager
def open_journal(run: Run, health: Health) -> Iterator[Journal]:
    """Show progress and keep the log while a run trains.

    Args:
        run: that trains.
        health: says what a line of the log warns of.

    Raises:
        UserError: a logger is asked for that is not installed, or does not take this run.
    """
    config = run.config
    total = run.total_steps * config.batch_size
    with (
        _loggers(run) as loggers,
        Progress("pretraining", total, "images", run.lead) as progress,
    ):
        progress.skip(run.step * config.batch_size)
        yield Journal(run, health, progress, loggers)


def _loggers(run: Run) -> AbstractContextManager[list[Logger]]:
    return open_loggers(run.folder, run.config, run.step) if run.lead else nullcontext([])


class Journal:
    """Writes and says how training goes; made by `open_journal`.

    Args:
        run: that trains.
        health: says what a line of the log warns of.
        progress: begun.
        loggers: that are given each line, too.
    """

    def __init__(
        self, run: Run, health: Health, progress: Progress, loggers: Sequence[Logger]
    ) -> None:
        self.run, self.health = run, health
        self.progress, self.loggers = progress, loggers
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
            if self.whole_windows == 2 and not run.finished:  # the first has the warm-up
                self.progress.say(self._estimate(line["images_per_second"], line["data_wait"]))

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line, with `epoch` and `step`, to the loggers and to `metrics.jsonl`.

        The latter says what is done: a run that is killed in between writes both again.
        """
        metrics = {name: value for name, value in line.items() if name not in ("epoch", "step")}
        for logger in self.loggers:
            logger.write(line["step"], metrics)
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
            f"{duration(left)} to the end of epoch {config.epochs:,}, probes and figures not "
            "counted; `seamask bench` says where the time goes and what would be faster"
        )
