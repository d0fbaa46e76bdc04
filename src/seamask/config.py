"""All settings of a pretraining. Each group is defined by the part that reads it.

Short names of sources: [Seq] Sam et al. 2022; [ADIOS] Shi et al., ICML 2022, and its code.
Recipes (`seamask.recipes`) change the defaults given here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from seamask.base.errors import UserError
from seamask.base.progress import amount
from seamask.base.registry import with_parts
from seamask.base.settings import MOST_PIXELS, SEEDS, Within, check_ranges, from_dict, to_dict
from seamask.data.settings import DataConfig
from seamask.game.settings import Rules
from seamask.masks.settings import (
    AttentionSettings,
    GivenSettings,
    HardestSettings,
    PenaltiesConfig,
    SequentialSettings,
)
from seamask.networks.settings import EncoderConfig
from seamask.objectives.settings import ObjectiveConfig
from seamask.plugins import load_plugin, loaded_plugins
from seamask.training.settings import LogConfig, OptimConfig
from seamask.views.settings import ViewsConfig

LEAST_IMAGES, LEAST_EPOCHS = 1000, 20  # about: below them little is learned


@dataclass(frozen=True)
class MasksConfig(Rules, HardestSettings, AttentionSettings, GivenSettings, SequentialSettings):
    """Who removes what: images → masks [B, N, H, W] in [0, 1], 1 = removed; and by which rules."""


@dataclass(frozen=True)
class Config:
    """One pretraining run."""

    recipe: tyro.conf.Suppress[str] = "shapes-seamask"
    """Name of the recipe these settings started from."""
    out: str = ""
    """Folder of the run; default `runs/<recipe>-<date>-seed<N>`."""
    overwrite: bool = False
    """Replace what `--out` holds."""
    resume: Literal["no", "auto"] = "no"
    """`auto`: go on with the run in `--out` if it is this one, and start it if there is none: one
    command for a job that is started again."""
    epochs: Annotated[int, Within(1)] = 500
    """Passes over the training images ([Seq] table 3)."""
    batch_size: Annotated[int, Within(2)] = 256
    """Images per step, over all devices ([Seq] table 3)."""
    accumulate: Annotated[int, Within(1)] = 1
    """Split each batch into this many parts and average their gradients: less memory. Negatives,
    batch statistics and the mean masks of `--penalties.equipartition` then come from one part
    only."""
    updates: Literal["alternating", "simultaneous"] = "alternating"
    """Whether the masker answers the encoder just updated ([Seq], [ADIOS]), or both players move at
    once by one backward pass (gradient reversal at the masks): half the passes, another dynamic."""
    image_size: Annotated[int, Within(8, MOST_PIXELS)] = 96
    """Side of the views in pixels."""
    seed: Annotated[int, Within(0, SEEDS)] = 0
    """Every random draw is a function of (seed, epoch, step) and of an image's place in the
    batch."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: a GPU where there is one, NVIDIA's (`cuda`) or Apple's (`mps`, untested)."""
    devices: Annotated[int, Within(1)] = 1
    """Number of GPUs of this machine, or of processes on its CPU. Where torchrun or srun start
    several, those are it."""
    timeout: Annotated[float, Within(1)] = 300.0
    """Seconds that processes on several machines wait for each other at the beginning."""
    threads: Annotated[int, Within(0, 1024)] = 0
    """CPU threads of a process that trains on the CPU; 0: the cores that are free at the start
    (written to `config.yaml`: another number adds in another order, to other last bits)."""
    precision: Literal["fp32", "tf32", "bf16", "auto"] = "fp32"
    """`fp32` is fp32 everywhere, also in a GPU's convolutions; `tf32`: products and convolutions in
    TF32, on a GPU of NVIDIA; `bf16`: networks in bfloat16, where that is safe, and weights, losses
    and penalties in fp32; `auto`: `bf16` on a GPU that has it or a CPU that multiplies it at least
    1.4 times as fast, else `fp32` (written to `config.yaml` as chosen)."""
    deterministic: bool = False
    """On a GPU, only algorithms that give the same bits again, which may be slower. On a CPU the
    same number of threads gives them anyway."""
    compile: bool = False
    """Compile the encoder and the mask network with `torch.compile`."""
    cuda_graph: Literal["auto", "yes", "no"] = "auto"
    """On one GPU, record the step once and replay it: thousands of operations for one launch.
    `auto`: unless a masker, objective or penalty is not of this package, since what such a part
    counts in Python would stand still. A step that cannot be recorded is taken as before, and that
    is said."""
    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    masks: MasksConfig = field(default_factory=MasksConfig)
    penalties: PenaltiesConfig = field(default_factory=PenaltiesConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def too_little(self, images: int) -> str:
        """Say that so many training images, seen so often, teach little; empty: they may do."""
        if images >= LEAST_IMAGES and images * self.epochs >= LEAST_IMAGES * LEAST_EPOCHS:
            return ""
        return (
            f"{amount(images, 'image')} and {amount(self.epochs, 'epoch')} are little to learn "
            f"from: below some {LEAST_IMAGES:,} and {LEAST_EPOCHS} neither encoder nor masks settle"
        )

    @property
    def micro_batch(self) -> int:
        """Images that go through the encoder at once in one process."""
        return self.batch_size // (self.accumulate * self.devices)


def packed(config: Config) -> dict[str, Any]:
    """Return settings as plain values, with the plugins they need, for another process."""
    return {"plugins": [str(p) for p in loaded_plugins()], "settings": to_dict(config)}


def unpacked(plain: Mapping[str, Any]) -> Config:
    """Load the plugins and rebuild the settings of which `packed` returned `plain`."""
    for plugin in plain["plugins"]:
        load_plugin(plugin)
    return from_dict(plain["settings"], with_parts(Config()))


def check(config: Config) -> Config:
    """Refuse values that cannot work; return `config` unchanged.

    Raises:
        UserError: the first setting found out of range, with its value and its range.
    """
    c = config
    check_ranges(c)
    budget = c.masks.budget
    if c.masks.masker != "sequential" and (budget.exact or c.masks.disjoint):
        what = f"--budget {budget}" if budget.exact else "--masks.disjoint"
        raise UserError(f"{what} needs --masker sequential, not {c.masks.masker}")
    if not set(c.masks.compare) - {"none"}:
        shown = " ".join(c.masks.compare) or "empty"
        raise UserError(f"--masks.compare is {shown}: masks need one, each or both")
    if c.objective.name == "reconstruct" and c.masks.drop and not c.objective.decoder:
        raise UserError(
            "--objective reconstruct with --masks.drop needs a decoder that sees all places: "
            "take --objective.decoder 1 or more (MAE: 8)"
        )
    if c.masks.stack and c.masks.drop:
        raise UserError("--stack and --masks.drop exclude each other: take --masks.drop 0")
    stored = c.data.size or c.image_size
    if (
        budget.of == "superpixels" or c.masks.draws == "superpixel"
    ) and c.masks.superpixels > stored**2:
        raise UserError(
            f"--masks.superpixels is {c.masks.superpixels}: an image of {stored} pixels a side has "
            f"{stored**2} pixels; take fewer"
        )
    if c.masks.downscale not in (1, 2, 4):
        raise UserError(f"--masks.downscale is {c.masks.downscale}: it must be 1, 2 or 4")
    parts = c.accumulate * c.devices
    if c.batch_size % parts:
        raise UserError(
            f"--batch-size {c.batch_size} does not divide into {parts} equal parts "
            f"(accumulate {c.accumulate} × devices {c.devices}): "
            f"take {max(parts * 2, c.batch_size // parts * parts)}"
        )
    if c.micro_batch < 2:
        raise UserError(
            f"--batch-size {c.batch_size} leaves {c.micro_batch} image per part: "
            "NT-Xent needs at least 2"
        )
    if c.masks.fill == "other" and c.micro_batch % 2:
        raise UserError(
            f"--masks.fill other pairs images: --batch-size {c.batch_size} leaves {c.micro_batch} "
            "in a part, an odd number"
        )
    return config
