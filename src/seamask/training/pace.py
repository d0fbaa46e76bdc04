"""How long a run will take, said within its first seconds: on a CPU, where it may be long."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.utils.flop_counter import FlopCounterMode

from seamask.base.progress import amount, duration, few
from seamask.base.ranges import heard
from seamask.base.settings import flag, override
from seamask.config import Config
from seamask.game.players import is_masked, terms
from seamask.networks import build_backbone
from seamask.networks.settings import SMALL_ENCODER
from seamask.objectives import build_objective
from seamask.training.journal import Journal
from seamask.training.players import one_sided
from seamask.training.run import Run

PATIENCE = 3600.0  # seconds that a run on a CPU may take before flags are named that make it fit
SLOW = 5.0  # seconds: a step that takes longer is foretold, others are measured
SETTLED = 4  # steps that are measured
SMALL_SIZE = 64  # pixels, with the small encoder
SLOWER = 2.0  # a small network computes at about half the rate of a large one
WORTH = 10  # epochs below which nothing is learned


class Pace:
    """Says once, on a CPU, how long a run will take: the sooner the slower its steps are.

    Where steps are slow, it is said within the first, after its first encoder pass. Else after a
    few steps, without the first: a process's first step may take four times as long as any other,
    since libraries are loaded and all memory is taken from the system in it.

    Args:
        run: about to train.
        journal: that says it.
    """

    def __init__(self, run: Run, journal: Journal) -> None:
        self.run, self.journal, self.new = run, journal, run.step == 0
        self.spent: Counter[str] = Counter()  # seconds by named range, of this step so far
        self.taken: list[float] = []  # seconds of each step
        self.shares: list[float] = []  # of encoder passes in it
        self.silent = run.processes.device.type != "cpu" or not run.lead

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within, a step is taken."""
        if self.silent:
            yield
            return
        self.spent.clear()
        begin = time.perf_counter()
        with heard(self._hear):
            yield
        self.taken.append(time.perf_counter() - begin)
        self.shares.append(self.spent["encoder passes"] / self.taken[-1])
        measured = self.taken[1:]
        if not self.silent and (len(measured) == SETTLED or sum(measured) > SLOW):
            share = statistics.median(self.shares[1:])
            # Where masks move in every few steps, all of these count.
            middle = statistics.fmean if self.run.config.masks.every > 1 else statistics.median
            self._say(middle(measured), share, amount(len(measured), "step"))

    def _hear(self, name: str, seconds: float) -> None:
        before, self.spent[name] = self.spent[name], self.spent[name] + seconds  # type: ignore[assignment]
        config = self.run.config
        if self.taken or before or name != "encoder passes" or not first_views(config):
            return
        learned = bool(self.run.networks.masker.learned)
        step, encoder = step_seconds(config, self.spent, learned)
        if step > SLOW:
            self._say(step, encoder / step, "the first part of the first step")

    def _say(self, step: float, share: float, source: str) -> None:
        self.journal.progress.say(told(self.run, step, share, source, self.new))
        self.silent = True


def told(run: Run, step: float, share: float, source: str, new: bool = True) -> str:
    """Return the line: seconds of a step, of the run, and flags with which it is about an hour.

    Args:
        run: that trains.
        step: seconds of a step.
        share: of encoder passes in it.
        source: what the seconds are known from.
        new: it has just begun; one that goes on takes no such flags.
    """
    left = step * (run.total_steps - run.step)
    said = (
        f"about {few(step)} s a step, {duration(left)} to the end of epoch {run.config.epochs:,} "
        f"(from {source})"
    )
    if left <= PATIENCE or not new:
        return said
    return f"{said}; in about an hour: {fitting(run, step, share)}"


def first_views(config: Config) -> int:
    """Return how many views the first encoder pass of a step encodes."""
    clean, masked = views_of(config)
    return clean + masked if config.masks.stack else clean


def views_of(config: Config) -> tuple[int, int]:
    """Return how many clean and how many masked views are encoded for one loss of all masks."""
    masks = config.masks
    alone = build_objective(config.objective).alone
    asked = terms(masks.compare, one_sided(config), alone)
    names = {view for term in asked for view in term.views}
    n = 1 if masks.single or masks.masker == "none" else masks.n_masks
    return sum(not is_masked(v) for v in names), n * sum(is_masked(v) for v in names)


def step_seconds(config: Config, spent: Counter[str], learned: bool) -> tuple[float, float]:
    """Return seconds of a step, and of the encoder passes in it, as foretold from its beginning.

    A backward pass takes twice a forward pass, one that leaves out the weights as long as one.

    Args:
        config: of the run.
        spent: seconds by named range, up to the first encoder pass and with it.
        learned: whether masks are.
    """
    clean, masked = views_of(config)
    passes = 3.0 * (clean + masked)
    again = learned and config.updates == "alternating"
    if again:
        passes += clean + 2 * masked
    parts = config.accumulate
    encoder = parts * passes * spent["encoder passes"] / first_views(config)
    masks = spent["mask network"] * ((3 + (parts > 1)) if learned else 1)
    return encoder + masks + spent["views"], encoder


def fitting(run: Run, step: float, share: float) -> str:
    """Return flags with which a run takes about an hour.

    Args:
        run: that would take longer.
        step: seconds of a step.
        share: of encoder passes in it.
    """
    config = run.config
    changed: dict[str, object] = {}
    epochs = PATIENCE / (step * run.steps_per_epoch)
    if epochs < min(config.epochs / 4, 50):
        area = min(1.0, (SMALL_SIZE / config.image_size) ** 2)
        small = small_encoder(config)
        ratio = min(1.0, SLOWER * operations(config, small) / operations(config)) if small else 1.0
        if ratio < 0.8:
            if config.image_size > SMALL_SIZE:
                changed["image_size"] = SMALL_SIZE
            changed |= small
            epochs /= share * ratio + (1 - share) * area
    if epochs < WORTH:
        changed["data.limit"] = max(config.batch_size, int(len(run.data.train) * epochs / WORTH))
        epochs = WORTH
    changed["epochs"] = max(1, min(config.epochs, int(epochs)))
    if config.optim.warmup_epochs >= changed["epochs"]:  # type: ignore[operator]
        changed["optim.warmup_epochs"] = 1
    return " ".join(f"{flag(path, Config)} {value}" for path, value in changed.items())


def small_encoder(config: Config) -> dict[str, object]:
    """Return the settings of a small encoder in place of theirs; none: no small one can do it."""
    if config.masks.drop:  # of a ViT
        return {}
    return SMALL_ENCODER | ({"encoder.patch": 0} if config.encoder.patch else {})


def operations(config: Config, small: Mapping[str, object] | None = None) -> float:
    """Return the operations of a pass of one image through the backbone, or through a small one."""
    encoder, size = config.encoder, config.image_size
    if small:
        encoder = override(config, small).encoder
        size = min(size, SMALL_SIZE)
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        channels = config.data.channels
        backbone, _, _ = build_backbone(
            encoder.backbone, size, encoder.stem, encoder.patch, channels=channels
        )
        backbone.eval()(torch.zeros(1, channels, size, size))
    return float(counter.get_total_flops())
