"""The loop: epoch after epoch its batches, of each batch a step, a line of the log, what is due."""

from __future__ import annotations

import torch

from seamask.training import report, snapshot
from seamask.training.health import Finiteness, Health
from seamask.training.journal import Journal, open_journal
from seamask.training.run import Run
from seamask.training.signals import Stopped, StopSignal


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
    with open_journal(run, health) as journal:
        while not run.finished:
            journal.window.restart()  # what came between two epochs does not count
            for images, maps in run.batches():
                step = run.take_step(images, maps)
                finite.watch(step.metrics)
                journal.window.add(step.metrics)
                if run.step % every == 0 or run.between_epochs:
                    journal.window.add_health(*health.examine(*step.views, step.generator))
                    finite.check_losses()
                    journal.log(step.rates)
                journal.advance()
                if not run.between_epochs:  # else what the epoch is due comes first
                    _stop_if_asked(run, finite, stop)
            _do_what_is_due(run, finite, journal)
            if not run.finished:
                _stop_if_asked(run, finite, stop)


def _do_what_is_due(run: Run, finite: Finiteness, journal: Journal) -> None:
    """Write what is due at the end of an epoch: a checkpoint, scores, figures."""
    log = run.config.log

    def due(every: int) -> bool:
        return run.finished or bool(every and run.epoch % every == 0)

    if due(log.checkpoint_every):
        snapshot.save(run, finite)
    if due(log.probe_every) and run.lead and (scores := report.scores(run)):
        journal.write({"epoch": run.epoch, "step": run.step, **scores})
    if due(log.masks_every) and run.lead:
        report.draw_figures(run)
    run.fabric.barrier()


def _stop_if_asked(run: Run, finite: Finiteness, stop: StopSignal) -> None:
    if run.fabric.world_size > 1:  # all processes must agree at which step
        if run.step % run.config.log.every:
            return
        asked = torch.tensor(float(stop.number), device=run.fabric.device)
        stop.number = int(run.fabric.all_reduce(asked, reduce_op="max"))
    if stop.number:
        snapshot.save(run, finite)
        where = f"stopped in epoch {run.epoch} after step {run.step}"
        raise Stopped(stop.number, f"{where}; go on with: seamask resume {run.folder.path}")
