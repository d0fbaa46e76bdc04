"""The loop: epoch after epoch its batches, of each batch a step, a line of the log, what is due."""

from __future__ import annotations

import time
from contextlib import nullcontext

import torch

from seamask.base.signals import Stopped
from seamask.training import report, snapshot
from seamask.training.health import Finiteness, Health
from seamask.training.journal import Journal, open_journal
from seamask.training.pace import estimated
from seamask.training.run import Run
from seamask.training.signals import StopSignal

ASK_SECONDS = 1.0  # about, between two times that several processes ask each other
ASK_STEPS = 50  # at most, should steps become slower


def train(run: Run, stop: StopSignal) -> None:
    """Train from where the run stands to its last epoch.

    Args:
        run: just built, or restored from a checkpoint.
        stop: says whether a signal asked the run to stop.

    Raises:
        Stopped: one did; a checkpoint holds all that was done.
        UserError: a loss that is not finite, a disk that is full.
    """
    every = run.config.log.every
    health = Health(run.config, run.players, run.objective)
    finite = Finiteness(run)
    asked = Asked(run, stop)
    first = True
    with open_journal(run, health) as journal:
        if run.step and run.between_epochs:  # killed before all of this was done, perhaps
            _show_epoch(run, journal)
            asked.heed(finite)
        while not run.finished:
            run.window.count_time()  # what came between two epochs does not count
            for images, maps in run.batches():
                with estimated(run, journal) if first else nullcontext():
                    step = run.take_step(images, maps)
                first = False
                finite.watch(step.metrics)
                run.window.add(step.metrics)
                if run.step % every == 0 or run.between_epochs:
                    run.window.add_health(*health.examine(*step.views, step.generator))
                    finite.check_losses()
                    journal.log(step.rates)
                journal.advance()
                if not run.between_epochs:  # else what the epoch is due comes first
                    asked.heed(finite)
            if run.finished or _due(run, run.config.log.checkpoint_every):
                asked.save(finite)
            _show_epoch(run, journal)
            asked.heed(finite)


def _due(run: Run, every: int) -> bool:
    return bool(every and run.epoch % every == 0)


def _show_epoch(run: Run, journal: Journal) -> None:
    """Write the scores and figures that are due at the end of an epoch, as far as they are not."""
    log = run.config.log
    scored = run.finished or _due(run, log.probe_every)
    drawn = run.finished or _due(run, log.masks_every)
    if run.lead and scored and not report.logged_scores(run) and (scores := report.scores(run)):
        journal.write({"epoch": run.epoch, "step": run.step, **scores})
    if run.lead and drawn:
        report.draw_figures(run)
    run.processes.barrier()


class Asked:
    """What is asked of a run from outside: to stop, by a signal; to save, by the clock.

    Several processes have to agree on both. They ask each other not at every step, which would have
    them wait for their devices, but about once a second.

    Args:
        run: that trains.
        stop: of this process.
    """

    def __init__(self, run: Run, stop: StopSignal) -> None:
        self.run, self.stop = run, stop
        self.saved_step, self.saved = run.step, time.monotonic()
        self.last_step, self.last = run.step, time.monotonic()  # when processes last asked
        self.next_step = run.step + 1

    def save(self, finite: Finiteness) -> None:
        """Write a checkpoint. Every process takes part."""
        snapshot.save(self.run, finite)
        self.saved_step, self.saved = self.run.step, time.monotonic()

    def heed(self, finite: Finiteness) -> None:
        """Save a checkpoint if it is time, or if the run is to stop. Every process takes part.

        Raises:
            Stopped: it is.
        """
        run, number = self.run, self.stop.number
        minutes = run.config.log.checkpoint_minutes
        due = bool(minutes) and time.monotonic() - self.saved >= 60 * minutes
        if run.processes.world_size > 1:
            if run.step < self.next_step and not run.between_epochs:
                return
            number, due = self._agree(number, due)
        if (due or number) and run.step > self.saved_step:
            self.save(finite)
        if number:
            where = f"stopped in epoch {run.epoch} after step {run.step}"
            raise Stopped(number, f"{where}; {run.folder.kept()}")

    def _agree(self, number: int, due: bool) -> tuple[int, bool]:
        """Return the signal that came to any process, and whether any is due to save."""
        run, now = self.run, time.monotonic()
        pace = (now - self.last) / max(1, run.step - self.last_step)  # seconds a step
        mine = torch.tensor([number, due, pace], device=run.processes.device)
        any_number, any_due, slowest = run.processes.largest(mine).tolist()
        self.last_step, self.last = run.step, now
        self.next_step = run.step + max(1, min(ASK_STEPS, int(ASK_SECONDS / max(slowest, 1e-9))))
        return int(any_number), bool(any_due)
