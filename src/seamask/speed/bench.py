"""`seamask bench`: how fast a recipe trains on this machine, why, and what would make it faster."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seamask.base.devices import free_cores, memory_free, torch_device
from seamask.base.errors import UserError
from seamask.base.files import atomic
from seamask.base.output import in_columns, print_prose
from seamask.base.paths import local
from seamask.base.precision import chosen_precision, use_precision
from seamask.base.progress import amount, duration, few
from seamask.base.provenance import PACKAGES, provenance
from seamask.base.settings import flag, get, override
from seamask.config import Config
from seamask.data import SOURCES, find_source
from seamask.networks.settings import SMALL_ENCODER
from seamask.speed.count import Cost, counted
from seamask.speed.memory import peak_bytes
from seamask.speed.timing import Times, in_ranges, in_turns, ratio
from seamask.training.preflight import preflight
from seamask.training.workload import Workload

STEPS = 80  # that fit in the time given, about: what decides the batch that is measured
PROBE = 8  # images of the batch that tells how large that may be
ROUNDS = 5
WORTH = 1.02  # a setting that gains less is left as it is
BAR = 30  # characters of the bar of a whole step

# What can be switched: (name, settings, what it does to the training).
SAME, ROUNDED, OTHER = "the same step", "the same but for rounding", "another training"
BATCH = "batch"
Lever = tuple[str, dict[str, Any], str]
BUSY = 0.1  # spread of the times of a step from which on the machine is said to be busy
LEVERS: tuple[Lever, ...] = (  # those first that matter most, should the time run out
    ("small encoder", {**SMALL_ENCODER}, OTHER),
    ("one mask per image", {"masks.single": True}, OTHER),
    ("simultaneous updates", {"updates": "simultaneous"}, OTHER),
    ("stacked views", {"masks.stack": True}, SAME),
    ("bf16", {"precision": "bf16"}, ROUNDED),
    ("compiled", {"compile": True}, ROUNDED),
    ("operation by operation", {"cuda_graph": "no"}, SAME),
    ("light mask network", {"masks.downscale": 4}, OTHER),
    ("light mask network", {"masks.downscale": 2}, OTHER),
)


@dataclass(frozen=True)
class Trial:
    """Settings that were tried.

    Attributes:
        name: in words.
        changed: settings by dotted path.
        effect: on the training.
        gain: how many times more images a second than the settings asked about, in the same run.
    """

    name: str
    changed: dict[str, Any]
    effect: str
    gain: float


@dataclass(frozen=True)
class Bench:
    """What was found out.

    Attributes:
        config: that was asked about, with the batch that was measured.
        batch_size: that was asked about.
        device: that computed.
        threads: on a CPU.
        rate: operations per second of a large matrix product.
        seconds: of a step as it is trained, recorded where it is.
        times: seconds of the `step`, taken operation by operation, and of its named ranges.
        costs: operations and bytes per image of the same.
        memory: peak, bytes, at the batch that was measured.
        trials: single settings, then those that paid together.
        images: that an epoch holds; None if that is not known.
        spread: of the times of a step: nine of ten lie within so much of each other, as a share of
            the median.
        cores: that are free, of how many.
        untried: names of settings for which there was no time.
        whole: flags that were left out: one process was measured, with whole batches.
    """

    config: Config
    batch_size: int
    device: torch.device
    threads: int
    rate: float
    seconds: float
    times: Times
    costs: dict[str, Cost]
    memory: int
    trials: list[Trial]
    images: int | None
    spread: float = 0.0
    cores: tuple[int, int] = (1, 1)
    untried: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    @property
    def images_per_second(self) -> float:
        """Of whole steps with the settings asked about."""
        return self.config.batch_size / self.seconds

    @property
    def over_floor(self) -> float:
        """How many times longer a step takes than the encoder passes in it."""
        return 1 / self.shares()["encoder passes"]

    def shares(self) -> dict[str, float]:
        """Return the share of a step that each of its parts takes, the largest first."""
        seconds = {name: sum(rounds) for name, rounds in self.times.items()}
        step = seconds.pop("step")
        shares = {name: s / step for name, s in sorted(seconds.items(), key=lambda p: -p[1])}
        return shares | {"all else": 1 - sum(shares.values())}

    def text(self) -> str:
        """Return the report for a terminal."""
        c = self.config
        found = provenance()
        versions = found["versions"]
        assert isinstance(versions, dict)
        where = f"{self.threads} threads" if self.device.type == "cpu" else self.device.type
        asked = "" if c.batch_size == self.batch_size else f" (of the {self.batch_size} asked for)"
        lines = [
            f"{c.recipe}: {c.encoder.backbone} at {c.image_size} px, {c.masks.masker} masks "
            f"(N = {c.masks.n_masks}), {c.precision}, {c.updates}",
            f"{found['machine']}, {where}, a matrix product at {self.rate / 1e9:,.0f} GFLOP/s",
            ", ".join(f"{p} {versions[p]}" for p in ("python", *PACKAGES)),
            "",
            f"{few(self.images_per_second)} images/s, measured with batches of "
            f"{c.batch_size}{asked}",
            *(f"of one process and whole batches, without {name}" for name in self.whole),
            *self._busy(),
            f"{self.over_floor:.2f} × the time of its encoder passes alone",
            f"{self.memory / 2**30:.2f} GiB at most, at that batch"
            if self.memory
            else "memory is not measured: give it more --seconds",
            self._estimate("the whole run: ", 1.0),
            "",
            "where the time of a step goes",
        ]
        rows = [("", "share", "GFLOP/image", "MB/image", "")]
        for name, share in self.shares().items():
            cost = self.costs.get(name)
            counts = (
                (f"{cost.operations / 1e9:.3f}", f"{cost.bytes / 1e6:.1f}") if cost else ("", "")
            )
            rows.append(
                (f"  {name}", f"{share:.1%}", *counts, f"{'█' * round(share * BAR):<{BAR}}")
            )
        lines.append(in_columns(rows))
        lines += ["", "settings tried, each against those asked for"]
        for trial in self.trials:
            flags = " ".join(_flags(trial.changed))
            lines.append(f"  {trial.gain:5.2f} ×  {flags}  ({trial.effect})")
        if self.untried:
            lines.append(f"  not tried, for want of --seconds: {', '.join(self.untried)}")
        best = max(self.trials, key=lambda t: t.gain, default=None)
        if best is not None and best.gain > WORTH:
            lines += ["", self._estimate(f"best: {' '.join(_flags(best.changed))}: ", best.gain)]
        return "\n".join(lines)

    def _busy(self) -> list[str]:
        """Return the line that says that the machine is busy; none if it is not."""
        free, cores = self.cores
        others = f", {cores - free} of {cores} cores are taken by other work" * (free < cores)
        if self.spread <= BUSY and not others:
            return []
        times = f": times of a step spread by {self.spread:.0%}" if self.spread else ""
        return [
            f"this machine is busy{others}{times}; the next answer may differ by as much: ask "
            "again when it is idle"
        ]

    def _estimate(self, label: str, gain: float) -> str:
        rate = self.images_per_second * gain
        epochs, images = self.config.epochs, self.images
        if images is None:
            return f"{label}{few(rate)} images/s; {duration(1e6 / rate)} for a million images"
        total = duration(epochs * images / rate)
        asked = f"{amount(epochs, 'epoch')} of {amount(images, 'image')}"
        return f"{label}{total} for {asked}, without probes"


def measure(config: Config, seconds: float = 60) -> Bench:
    """Find out how fast settings train here, in about `seconds`, on random images.

    Args:
        config: of the run that is asked about; several processes or parts of a batch are not
            measured.
        seconds: to spend, about; with less, the batch that is measured is smaller.

    Raises:
        UserError: settings that cannot work.
    """
    end = time.perf_counter() + seconds

    def left() -> float:
        return max(0.0, end - time.perf_counter())

    cores = os.cpu_count() or 1
    free = max(free_cores() for _ in range(3))  # a moment's work of others takes no thread
    device = torch_device(config.device, config.threads or free)
    images = training_images(config)
    precision = chosen_precision(config.precision, device.type)
    use_precision(precision, config.deterministic)
    whole = (f"--accumulate {config.accumulate}",) * (config.accumulate > 1)
    whole += (f"--devices {config.devices}",) * (config.devices > 1)
    asked = override(config, {"accumulate": 1, "devices": 1, "precision": precision})
    config = replace(asked, batch_size=_batch(asked, device, seconds))
    work = Workload(config, device)
    costs = counted(replace(config, compile=False))
    plain = replace(config, cuda_graph="no")  # a recorded step has no ranges
    rounds = max(1, STEPS // 4 // config.masks.every)
    times = in_ranges(Workload(plain, device).cycle, device, rounds, left() / 6)
    step = _steps(in_turns({"": work.cycle}, device, rounds, left() / 6)[""], config)
    # A process of its own takes a few seconds to start, and two steps.
    memory = peak_bytes(config, device) if left() > 10 + 4 * step[0] else 0
    levers = [*LEVERS, *_sizes(config), *_batches(asked, config, device, memory)]
    trials, untried, again = _trials(work, device, left, levers, statistics.median(step))
    step += again
    return Bench(
        config,
        asked.batch_size,
        device,
        torch.get_num_threads(),
        matrix_rate(device, config.precision),
        statistics.median(step),
        times,
        costs,
        memory,
        trials,
        images,
        spread(step),
        (free if device.type == "cpu" else cores, cores),
        untried,
        whole,
    )


def images_per_second(config: Config, seconds: float) -> float:
    """Return how many images a second are trained on here, as measured in about so many seconds.

    Raises:
        UserError: settings that cannot work.
    """
    device = torch_device(config.device, config.threads or free_cores())
    asked = replace(config, accumulate=1, devices=1)
    batch = _batch(asked, device, seconds)
    work = Workload(replace(asked, batch_size=batch), device)
    rounds = max(1, STEPS // config.masks.every)
    taken = in_turns({"": work.cycle}, device, rounds, seconds / 2)[""]
    return batch / statistics.median(_steps(taken, config))


def _steps(cycles: Sequence[float], config: Config) -> list[float]:
    """Return seconds of a step, of those of cycles: see `Workload.cycle`."""
    return [seconds / config.masks.every for seconds in cycles]


def spread(seconds: Sequence[float]) -> float:
    """Return within how much of each other nine of ten times lie, as a share of their median."""
    low, high = np.quantile(seconds, (0.05, 0.95))
    return float((high - low) / statistics.median(seconds))


def _sizes(config: Config) -> list[Lever]:
    """Return smaller images, and fewer masks, as levers."""
    found: list[Lever] = []
    side = next((s for s in (128, 96, 64, 48, 32) if s <= 0.7 * config.image_size), None)
    if side is not None:
        found.append(("smaller images", {"image_size": side}, OTHER))
    if config.masks.n_masks > 1 and not config.masks.single:
        found.append(("fewer masks", {"masks.n_masks": config.masks.n_masks // 2}, OTHER))
    return found


def _batch(config: Config, device: torch.device, seconds: float) -> int:
    """Return the largest batch, at most the one asked for, whose steps fit in the time.

    It is a multiple of `PROBE` unless it is the one asked for: others may be slower by themselves.
    """
    least = min(PROBE, config.batch_size)
    probe = Workload(replace(config, batch_size=least, compile=False), device)
    step = min(in_turns({"": probe.step}, device, rounds=3)[""])
    fitting = int(least * seconds / STEPS / step) // PROBE * PROBE
    return max(least, min(config.batch_size, fitting))


def _batches(asked: Config, config: Config, device: torch.device, memory: int) -> list[Lever]:
    """Return half and twice the batch as levers, if the one asked for is the one measured."""
    if config.batch_size != asked.batch_size:
        return []
    fits = 2 * memory < memory_free(device)
    sizes = [config.batch_size // 2] + [2 * config.batch_size] * fits
    return [(BATCH, {"batch_size": size}, OTHER) for size in sizes if size >= PROBE]


def _trials(
    work: Workload,
    device: torch.device,
    left: Callable[[], float],
    levers: Sequence[Lever],
    step: float,
) -> tuple[list[Trial], tuple[str, ...], list[float]]:
    """Try each lever alone, then together those that paid; another batch stays by itself.

    Returns:
        What was tried, the names of what there was no time for, and seconds of the steps that were
        asked about, taken in between.
    """
    config = work.config
    trials = [
        Trial(name, changed, effect, 1.0)
        for name, changed, effect in levers
        if any(get(config, path) != value for path, value in changed.items())
        and _applies(config, changed, device, bool(work.masker.learned))
    ]
    alone, untried, times = _try(work, trials, device, lambda: 0.7 * left(), step)
    paid = [t for t in alone if t.gain > WORTH and t.name != BATCH]
    together = []
    for effects in ((SAME, ROUNDED), (SAME, ROUNDED, OTHER)):
        chosen: dict[str, Trial] = {}  # of two kinds of the same, the better
        for trial in sorted(paid, key=lambda t: t.gain):
            if trial.effect in effects:
                chosen[trial.name] = trial
        if len(chosen) > 1:
            changed = {p: v for t in chosen.values() for p, v in t.changed.items()}
            effect = max((t.effect for t in chosen.values()), key=(SAME, ROUNDED, OTHER).index)
            together.append(Trial(" + ".join(chosen), changed, effect, 1.0))
    if len(together) == 2 and together[0].changed == together[1].changed:
        together.pop()
    both, _, more = _try(work, together, device, left, step)
    return alone + both, untried, times + more


def _applies(
    config: Config, changed: Mapping[str, Any], device: torch.device, learned: bool
) -> bool:
    """Say whether settings are worth a try here, and can work; `learned` are the masks or not."""
    if "compile" in changed:  # minutes of warm-up on a CPU, for 1 %
        return device.type == "cuda"
    if "cuda_graph" in changed:
        return device.type == "cuda"
    if not learned and {"updates", "masks.downscale"} & set(changed):
        return False
    if config.masks.masker == "none" and {"masks.single", "masks.n_masks"} & set(changed):
        return False
    if changed.get("masks.downscale", 4) < config.masks.downscale:  # a heavier one
        return False
    try:
        preflight(override(config, changed))
    except UserError:
        return False
    return True


def _try(
    work: Workload,
    trials: list[Trial],
    device: torch.device,
    left: Callable[[], float],
    step: float,
) -> tuple[list[Trial], tuple[str, ...], list[float]]:
    """Try as many of some settings as there is time for; see `_trials`."""
    steps: dict[str, Callable[[], object]] = {}
    for i, trial in enumerate(trials):
        rounds = 3 * work.config.masks.every  # the warm-up, and two
        if left() < rounds * step * (len(steps) + 2):
            break
        steps[str(i)] = Workload(override(work.config, trial.changed), device).cycle
    untried = tuple(dict.fromkeys(trial.name for trial in trials[len(steps) :]))
    if not steps:
        return [], untried, []
    times = in_turns({"asked": work.cycle, **steps}, device, ROUNDS, left())
    batch = work.config.batch_size
    found = [
        replace(t, gain=ratio(times, "asked", str(i)) * t.changed.get("batch_size", batch) / batch)
        for i, t in enumerate(trials[: len(steps)])
    ]
    return found, untried, _steps(times["asked"], work.config)


def _flags(changed: Mapping[str, Any]) -> list[str]:
    return [
        flag(path, Config) + ("" if value is True else f" {value}")
        for path, value in changed.items()
    ]


def matrix_rate(device: torch.device, precision: str = "fp32", side: int = 0) -> float:
    """Return operations per second of a product of two square matrices, the best of five."""
    side = side or (8192 if device.type == "cuda" else 1024)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in "ab")
    return 2 * side**3 / min(in_turns({"product": lambda: a @ b}, device)["product"])


def training_images(config: Config) -> int | None:
    """Return how many images an epoch of these settings holds; None if that is not known.

    Raises:
        UserError: a folder without images.
    """
    data = config.data
    if data.source not in SOURCES and not local(data.source, "--data").exists():
        return None
    known = find_source(data, data.size or config.image_size, config.seed).images
    return min(known, data.limit) if known and data.limit else known


def bench(config: Config, seconds: float, path: Path | None = None) -> Bench:
    """Measure and print; draw the figure at `path`, if there is one."""
    started = time.perf_counter()
    found = measure(config, seconds)
    print_prose(found.text())
    print(f"\nin {duration(time.perf_counter() - started)}")
    if path is not None:
        draw(found, path)
        print(path)
    return found


def draw(found: Bench, path: Path) -> None:
    """Write bars of where a step's time goes, and of the settings tried, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    shares = found.shares()
    left.barh(list(shares), [100 * s for s in shares.values()], color="#0067A5")
    left.set_xlabel(f"% of a step ({few(found.images_per_second)} images/s)")
    names = [
        "as asked",
        *(" ".join(_flags(t.changed)).replace(" --", "\n--") for t in found.trials),
    ]
    gains = [1.0, *(t.gain for t in found.trials)]
    right.barh(names, gains, color="#F38400")
    right.set_xlabel("images/s, relative")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.tick_params(labelsize="small")
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
