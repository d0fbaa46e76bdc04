"""Settings of the maskers, each with the part that reads them, and of what masks cost.

Short names of sources: [Seq] Sam et al. 2022; [ADIOS] Shi et al., ICML 2022, and its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from seamask.base.settings import MOST_PIXELS, Within, short, written
from seamask.masks.budget import Budget


@dataclass(frozen=True)
class MaskerSettings:
    """What every masker is told."""

    masker: Annotated[str, short("masker")] = "sequential"
    """Learned: `sequential` ([Seq]) or `simultaneous` (ADIOS). Drawn: `random-patch`,
    `random-block`, `colour-noise`, `multi-block`, `grid`, `superpixel`. Drawn and chosen by the
    encoder: `hardest`, `attention`. `given`: object masks, [ADIOS]'s upper bound. `run:PATH`: a
    trained masker, frozen, of a run's folder or its `masker.safetensors`. `none`. What each is and
    costs: `docs/parts.md`."""
    n_masks: Annotated[int, short("n_masks"), Within(1, 254)] = 4
    """Masks per image, N ([Seq] figures 4, table 5)."""
    budget: Annotated[Budget, written(Budget), short("budget")] = Budget(0.25)
    """b: the share of pixels that the budget penalty pulls each mask towards ([Seq] table 4).
    `exact:0.25`: sequential masks remove just that share of every image. `0.1->0.5`,
    `exact:0.1->0.5`: the share moves from one to the other over the training. `superpixel`,
    `exact:superpixel`: mask k of an image has the size of cluster k of its superpixels ([Seq]
    §5)."""
    superpixels: Annotated[int, Within(2, MOST_PIXELS**2)] = 100
    """Superpixels of an image (SLIC), about: what `superpixel` removes, and what is clustered by
    colour into N clusters for such a budget."""

    hard: bool = False
    """Binary masks: each removes the pixels where it is strongest, as many as the soft mask removes
    in all; the gradient passes straight through."""
    hard_patch: Annotated[int, Within(1, MOST_PIXELS)] = 1
    """Side in pixels of the squares that hard masks remove whole; with that of the encoder's
    patches, learned masks drop tokens (`--masks.drop 0.5`)."""


@dataclass(frozen=True)
class RandomSettings(MaskerSettings):
    """Masks that are drawn."""

    ratio: Annotated[float, Within(0, 1)] = 0.25
    """Share of pixels that a random masker removes (equal to `budget` for a fair comparison;
    MAE uses 0.75, BEiT 0.4). `random-block` reaches it up to one half; asked 0.75, it removes 0.74,
    asked 0.9, 0.83."""
    patch: Annotated[int, Within(1, MOST_PIXELS)] = 8
    """Side in pixels of the cells that masks are made of: `random-patch`, `colour-noise`,
    `multi-block`, `attention`; of `grid` half the distance of its squares."""


@dataclass(frozen=True)
class NoiseSettings(RandomSettings):
    """Filtered noise."""

    noise: Literal["red", "blue", "green", "purple"] = "green"
    """`colour-noise` only: the band that is left of white noise, low, high, middle, or all but the
    middle (ColorMAE; green was its best)."""


Drawn = Literal["random-patch", "random-block", "colour-noise", "multi-block", "grid", "superpixel"]


@dataclass(frozen=True)
class HardestSettings(NoiseSettings):
    """Masks that are drawn, and chosen by the encoder's loss."""

    among: Drawn = "random-block"
    """`hardest` only: who draws the masks of which the hardest are taken."""
    candidates: Annotated[int, Within(1, 254)] = 4
    """`hardest` only: K, masks that are tried for each that is taken, an encoder pass each."""

    @property
    def draws(self) -> str:
        """The masker that makes the masks: of the hardest the one they are taken from."""
        return self.among if self.masker == "hardest" else self.masker


@dataclass(frozen=True)
class AttentionSettings(RandomSettings):
    """Masks where the encoder looks."""

    attend: Literal["high", "hint", "low"] = "high"
    """`attention` only: remove what the encoder attends to most, that less a few hints, or what it
    attends to least (AttMask)."""


@dataclass(frozen=True)
class GivenSettings(MaskerSettings):
    """Masks that are given: objects."""

    morph: Literal["none", "erode", "dilate", "box"] = "none"
    """`given` only: what is done to the object masks ([ADIOS] code)."""
    morph_radius: Annotated[int, Within(1, 1024)] = 1
    """`given` only: radius of erosion and dilation, in pixels of the view."""


@dataclass(frozen=True)
class LearnedSettings(MaskerSettings):
    """The mask network."""

    width: Annotated[int, Within(1, 4096)] = 32
    """Base channels of the U-Net ([ADIOS] `fbase`)."""
    blocks: Annotated[int, Within(0, 12)] = 0
    """Levels of the U-Net; 0: floor(log2 of its side) − 1 ([ADIOS]'s rule, not all its scripts)."""
    bottleneck: Annotated[int, Within(0, 2**20)] = 128
    """Hidden width of the MLP across the U-Net's lowest level ([ADIOS] code); 0: no MLP, so that
    masks depend on place through the borders alone."""
    norm: Literal["instance", "group"] = "instance"
    """Normalisation in the U-Net ([ADIOS] scripts: `in`, or `gn` with 8 groups)."""
    downscale: int = 1
    """Run the U-Net at 1/1, 1/2 or 1/4 of the resolution and upsample its masks: lighter."""


@dataclass(frozen=True)
class SequentialSettings(LearnedSettings):
    """Masks that see those before them."""

    detach: bool = False
    """Sequential only: cut the gradient through earlier masks."""
    disjoint: bool = False
    """Sequential only: each mask acts on what those before it left (stick-breaking), so that no
    pixel is removed twice; leaves nothing to the overlap penalty."""


@dataclass(frozen=True)
class PenaltiesConfig:
    """What the adversary pays: weights of the terms of [Seq] and [ADIOS]; 0 leaves one out."""

    budget: Annotated[float, Within(0)] = 5.0
    """`(mean(m) − b)²`, mean over masks (R_b of the paper), in units of what the loss can fall by
    (NT-Xent: log(2B − 1), in its cross-view form 1/τ; of several comparisons the masked ones'
    share), which it has to hold against. Ours: the paper gives no weight."""
    equipartition: Annotated[float, Within(0)] = 0.0
    """Variance over places of each mask's mean over the batch, in the same units. Ours: makes masks
    come from the image, where they would become a fixed pattern of places."""
    overlap: Annotated[float, Within(0)] = 1e-4
    """`m^i · Σ_{j<i} m^j` ([Seq] table 4). Belongs to 96×96 pixels; scaled by 9216/(H·W)."""
    consistency: Annotated[float, Within(0)] = 1e-4
    """`‖m − avgpool(m)‖²` ([Seq] table 4). Belongs to 96×96 pixels; scaled by 9216/(H·W)."""
    sparsity: Annotated[float, Within(0)] = 0.0
    """`1 / sin(π mean(m))`, summed over masks ([ADIOS])."""
    entropy: Annotated[float, Within(0)] = 0.0
    """`−Σ p log p`, p = softmax of the mask areas, summed over the batch as in [ADIOS]'s code (so
    it grows with `--batch-size`): pushes areas apart."""
    more: tuple[str, ...] = ()
    """NAME=WEIGHT of penalties that a file given by `--plugin` adds without a setting for it."""
