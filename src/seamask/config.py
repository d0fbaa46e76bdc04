"""Every setting of pretraining: its type, default, unit and source.

Short names of sources: [Seq] Sam et al. 2022; [ADIOS] Shi et al., ICML 2022, and its code;
[SimCLR] Chen et al. 2020. Recipes (`seamask.recipes`) change the defaults given here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from seamask.base.errors import UserError
from seamask.base.settings import Within, check_ranges, short
from seamask.data.settings import DataConfig


@dataclass(frozen=True)
class ViewsConfig:
    """How one image becomes two views; both are drawn alike ([ADIOS] scripts, = [SimCLR] s=1)."""

    scale: Annotated[tuple[float, float], Within(0, 1, above=True, rising=True)] = (0.08, 1.0)
    """Area of the random resized crop, as a share of the image (smallest, largest)."""
    ratio: Annotated[tuple[float, float], Within(0, 100, above=True, rising=True)] = (3 / 4, 4 / 3)
    """Aspect ratio (width / height) of the crop (smallest, largest)."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Resampling of the crop, always antialiased ([ADIOS] scripts: bicubic)."""
    flip: Annotated[float, Within(0, 1)] = 0.5
    """Probability of a horizontal flip."""
    jitter: Annotated[float, Within(0, 1)] = 0.8
    """Probability of colour jitter; its four operations come in random order per image."""
    brightness: Annotated[float, Within(0)] = 0.8
    """Brightness factor is drawn from 1 ± this (not below 0)."""
    contrast: Annotated[float, Within(0)] = 0.8
    """Contrast factor is drawn from 1 ± this (not below 0)."""
    saturation: Annotated[float, Within(0)] = 0.8
    """Saturation factor is drawn from 1 ± this (not below 0)."""
    hue: Annotated[float, Within(0, 0.5)] = 0.2
    """Hue shift is drawn from ± this, in turns (at most 0.5)."""
    grayscale: Annotated[float, Within(0, 1)] = 0.2
    """Probability of dropping colour."""
    blur: Annotated[float, Within(0, 1)] = 0.5
    """Probability of a Gaussian blur."""
    blur_sigma: Annotated[tuple[float, float], Within(0, 1000, above=True, rising=True)] = (
        0.1,
        2.0,
    )
    """Standard deviation of the blur in pixels (smallest, largest)."""
    solarize: Annotated[float, Within(0, 1)] = 0.0
    """Probability of inverting all values above one half."""


@dataclass(frozen=True)
class EncoderConfig:
    """The network that is trained to be used afterwards."""

    backbone: Annotated[str, short("backbone")] = "resnet18"
    """Any timm model by name (`timm.list_models()`); random weights."""
    stem: Literal["auto", "standard", "small"] = "auto"
    """`small`: 3×3 stride-1 first convolution and no max-pool (ResNets); `auto` takes it below
    64 pixels ([ADIOS], solo-learn at 32 px), and prints which it took."""
    patch: Annotated[int, Within(0)] = 0
    """Side in pixels of a ViT's patches; 0: that of its name, or the next of 16, 8 and 4 that
    leaves at least 6×6 of them ([ADIOS]: 16 at 96 px)."""
    zero_init_last: bool = False
    """Start the last batch norm of each residual branch at zero, timm's default; [ADIOS] and
    torchvision's ResNet-18 start all from ones."""
    channels_last: bool = True
    """Memory layout of the encoder; never changes a result beyond rounding."""


@dataclass(frozen=True)
class MasksConfig:
    """Who removes what: images → masks [B, N, H, W] in [0, 1], 1 = removed."""

    masker: Annotated[str, short("masker")] = "sequential"
    """`none`, `random-patch`, `random-block`, `given` (object masks, [ADIOS]'s upper bound),
    `simultaneous` (ADIOS) or `sequential` ([Seq])."""
    n_masks: Annotated[int, short("n_masks"), Within(1)] = 4
    """Masks per image, N ([Seq] figures 4, table 5)."""
    budget: Annotated[str, short("budget")] = "0.25"
    """b: the share of pixels that the budget penalty pulls each mask towards ([Seq] table 4).
    `exact:0.25`: sequential masks remove just that share of every image. `0.1->0.5`,
    `exact:0.1->0.5`: the share moves from one to the other over the training. `superpixel`,
    `exact:superpixel`: mask k of an image has the size of cluster k of its superpixels ([Seq]
    §5)."""
    superpixels: Annotated[int, Within(2)] = 100
    """Superpixels of an image (SLIC), about, that are clustered by colour into N clusters."""
    morph: Literal["none", "erode", "dilate", "box"] = "none"
    """`given` only: what is done to the object masks ([ADIOS] code)."""
    morph_radius: Annotated[int, Within(1)] = 1
    """`given` only: radius of erosion and dilation, in pixels of the view."""
    ratio: Annotated[float, Within(0, 1)] = 0.25
    """Share of pixels that a random masker removes (equal to `budget` for a fair comparison;
    MAE uses 0.75, BEiT 0.4)."""
    patch: Annotated[int, Within(1)] = 8
    """Side in pixels of the cells that `random-patch` removes."""
    single: bool = False
    """Train on one of the N masks per image, drawn at random: ADIOS-s ([ADIOS]). Drawn once a step
    for both players ([ADIOS] code draws anew for each)."""
    compare: tuple[Literal["one", "each", "both", "none"], ...] = ("one",)
    """What the encoder compares ([ADIOS] SimSiam: each, none, both). `one`: a clean view with the
    other, masked; `each`: so with either view masked in turn; `both`: two masked views; `none`: two
    clean ones. The loss is the mean over all pairs and both directions of each."""
    one_sided: bool = False
    """`byol`, `simsiam`, `moco`: of a masked and a clean view the masked one is the prediction
    only, never the target ([ADIOS] SimSiam scripts: `use_symmetry_mask false`)."""
    drop: Annotated[float, Within(0, 1, below=True)] = 0.0
    """ViTs only: patches of which more than this share is masked are left out of the sequence, for
    faster masked passes. 0: masked pixels are blanked, nothing is left out."""
    reduction: Literal["mean", "sum"] = "mean"
    """Losses of the N masks are averaged ([Seq]) or summed ([ADIOS] code); and so are penalties
    over the views, where both are masked."""
    detach: bool = False
    """Sequential only: cut the gradient through earlier masks."""
    disjoint: bool = False
    """Sequential only: each mask acts on what those before it left (stick-breaking), so that no
    pixel is removed twice; leaves nothing to the overlap penalty."""
    width: Annotated[int, Within(1)] = 32
    """Base channels of the U-Net ([ADIOS] `fbase`)."""
    blocks: Annotated[int, Within(0)] = 0
    """Levels of the U-Net; 0: floor(log2 of its side) − 1 ([ADIOS]'s rule, not all its scripts)."""
    bottleneck: Annotated[int, Within(0)] = 128
    """Hidden width of the MLP across the U-Net's lowest level ([ADIOS] code); 0: no MLP, so that
    masks depend on place through the borders alone."""
    norm: Literal["instance", "group"] = "instance"
    """Normalisation in the U-Net ([ADIOS] scripts: `in`, or `gn` with 8 groups)."""
    every: Annotated[int, Within(1)] = 1
    """The masker moves in every so many steps, the encoder in each: fewer passes."""
    stack: Annotated[bool, short("stack")] = False
    """Encode all views of a batch in one pass, batch norm still view by view: the same step, faster
    for small images and batches, at N + 1 times the memory."""
    downscale: int = 1
    """Run the U-Net at 1/1, 1/2 or 1/4 of the resolution and upsample its masks: lighter."""


@dataclass(frozen=True)
class PenaltiesConfig:
    """What the adversary pays: weights of the terms of [Seq] and [ADIOS]; 0 leaves one out."""

    budget: Annotated[float, Within(0)] = 5.0
    """`(mean(m) − b)²`, mean over masks ([Seq] R_b), in units of what the loss can fall by
    (NT-Xent: log(2B − 1); of several comparisons the masked ones' share), which it has to hold
    against. Ours: the paper gives no weight."""
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
    """NAME=WEIGHT of penalties of one's own, which a file given by `--plugin` adds."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """How an anchor and a masked view are compared."""

    name: Annotated[str, short("objective")] = "simclr"
    """`simclr`, `byol`, `simsiam`, `vicreg` or `moco`."""
    form: Literal["standard", "cross-view"] = "standard"
    """NT-Xent with 2B − 2 negatives ([SimCLR], [ADIOS] code), or as [Seq] eq. 1 prints it, but for
    the sign: negatives from the other view only, the positive not among them, one direction."""
    temperature: Annotated[float, Within(0, above=True)] = 0.2
    """[Seq] table 3."""
    hidden: Annotated[tuple[int, ...], Within(1)] = (2048,)
    """Hidden widths of the projector ([ADIOS] code); empty: one linear map ([Seq])."""
    out_dim: Annotated[int, Within(1)] = 128
    """Width of the embeddings ([ADIOS] script)."""
    predictor: Annotated[int, Within(1)] = 512
    """`byol`, `simsiam`: hidden width of the predictor ([ADIOS]: SimSiam 512, BYOL 8192)."""
    momentum: Annotated[float, Within(0, 1, below=True)] = 0.99
    """`byol`: the target's momentum at the start; it rises to 1 along a cosine ([ADIOS]). `moco`:
    its fixed momentum (the paper: 0.999)."""
    queue: Annotated[int, Within(1)] = 4096
    """`moco`: keys of earlier batches that serve as negatives (the paper: 65,536 for ImageNet)."""


@dataclass(frozen=True)
class PlayerConfig:
    """Optimiser of one player; biases and norms get neither weight decay nor LARS."""

    optimizer: Literal["lars", "sgd", "adamw"] = "lars"
    """[ADIOS] wraps SGD in LARS by default, for both players."""
    lr: Annotated[float, Within(0)] = 0.11
    """Peak learning rate as used: never rescaled by the batch size ([Seq] table 3)."""
    weight_decay: Annotated[float, Within(0)] = 1e-4
    """[ADIOS] scripts; [Seq] gives none."""
    momentum: Annotated[float, Within(0, 1, below=True)] = 0.9
    """Momentum of SGD and LARS, β1 of AdamW ([Seq] table 3)."""


@dataclass(frozen=True)
class OptimConfig:
    """Optimisers and their schedule: linear warm-up, then a cosine to `min_lr`."""

    encoder: PlayerConfig = PlayerConfig()
    """The encoder (backbone and projector)."""
    masker: PlayerConfig = PlayerConfig(lr=0.0145)  # [ADIOS] script simclr/ImageNet100s
    """The mask network."""
    trust: Annotated[float, Within(0, above=True)] = 0.02
    """LARS trust coefficient; the local rate is clipped: min(trust · ‖w‖/‖g‖ / lr, 1) ([ADIOS])."""
    warmup_epochs: Annotated[int, Within(0)] = 10
    """[ADIOS] scripts."""
    warmup_start: Annotated[float, Within(0)] = 0.003
    """Learning rate at the start of the warm-up, for both players ([ADIOS] code)."""
    min_lr: Annotated[float, Within(0)] = 0.0
    """Where the cosine ends."""
    constant_predictor: bool = False
    """`byol`, `simsiam`: the predictor keeps the encoder's peak rate from the first step on
    ([ADIOS] SimSiam scripts; Chen & He 2021)."""
    per: Literal["epoch", "step"] = "epoch"
    """The rate changes once an epoch ([ADIOS] code) or at every step."""


@dataclass(frozen=True)
class LogConfig:
    """What is written and how often; 0 means only at the end."""

    every: Annotated[int, Within(1)] = 10
    """Steps between lines of `metrics.jsonl`, which hold means over these steps."""
    probe_every: Annotated[int, Within(0)] = 0
    """Epochs between kNN and linear probes, where labels exist; they never change training."""
    masks_every: Annotated[int, Within(0)] = 1
    """Epochs between mask figures."""
    checkpoint_every: Annotated[int, Within(0)] = 1
    """Epochs between checkpoints."""
    keep_checkpoints: Annotated[int, Within(1)] = 1
    """How many of the latest checkpoints to keep."""
    tensorboard: bool = False
    """Also write TensorBoard events (needs `pip install tensorboard`)."""


@dataclass(frozen=True)
class Config:
    """One pretraining run."""

    recipe: tyro.conf.Suppress[str] = "shapes-seamask"
    """Name of the recipe these settings started from."""
    out: str = ""
    """Folder of the run; default `runs/<recipe>-<date>`."""
    overwrite: bool = False
    """Replace what `--out` holds."""
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
    image_size: Annotated[int, Within(8)] = 96
    """Side of the views in pixels."""
    seed: Annotated[int, Within(0)] = 0
    """Every random draw is a function of (seed, epoch, step, rank)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    devices: Annotated[int, Within(1)] = 1
    """Number of GPUs, or of processes on the CPU."""
    threads: Annotated[int, Within(0)] = 0
    """CPU threads of a process that trains on the CPU; 0: the cores that are free at the start
    (written to `config.yaml`: another number adds in another order, to other last bits)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` computes in bfloat16 where that is safe; weights, losses and penalties stay fp32."""
    compile: bool = False
    """Compile the encoder and the mask network with `torch.compile`."""
    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    masks: MasksConfig = field(default_factory=MasksConfig)
    penalties: PenaltiesConfig = field(default_factory=PenaltiesConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def micro_batch(self) -> int:
        """Images that go through the encoder at once in one process."""
        return self.batch_size // (self.accumulate * self.devices)


def check(config: Config) -> Config:
    """Refuse values that cannot work; return `config` unchanged.

    Raises:
        UserError: the first setting found out of range, with its value and its range.
    """
    c = config
    check_ranges(c)
    from seamask.masks.budget import parse_budget

    budget = parse_budget(c.masks.budget)
    if c.masks.masker != "sequential" and (budget.exact or c.masks.disjoint):
        what = f"--budget {c.masks.budget}" if budget.exact else "--masks.disjoint"
        raise UserError(f"{what} needs --masker sequential, not {c.masks.masker}")
    if not set(c.masks.compare) - {"none"}:
        shown = " ".join(c.masks.compare) or "empty"
        raise UserError(f"--masks.compare is {shown}: masks need one, each or both")
    if c.masks.stack and c.masks.drop:
        raise UserError("--stack and --masks.drop exclude each other: take --masks.drop 0")
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
    return config
