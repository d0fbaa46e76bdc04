"""Settings of optimisers, schedule and log.

Short names of sources: [Seq] Sam et al. 2022; [ADIOS] Shi et al., ICML 2022, and its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from seamask.base.settings import Within


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
    """Learning rate at the start of the warm-up, for both players ([ADIOS] code); of a player whose
    own rate is lower, that one."""
    min_lr: Annotated[float, Within(0)] = 0.0
    """Where the cosine ends, of a player whose own rate is not lower still."""
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
    checkpoint_minutes: Annotated[float, Within(0)] = 30.0
    """Minutes between checkpoints within an epoch: what a kill costs at most; 0: none there."""
    keep_checkpoints: Annotated[int, Within(1)] = 1
    """How many of the latest checkpoints to keep, of those at the end of an epoch or the latest."""
    tensorboard: bool = False
    """Also write TensorBoard events (needs `pip install tensorboard`)."""
    wandb: bool = False
    """Also log to Weights & Biases (needs `pip install wandb`; `WANDB_MODE=offline`: to files)."""
    mlflow: bool = False
    """Also log to MLflow (needs `pip install mlflow`): to `MLFLOW_TRACKING_URI`, else to a database
    in the run's folder."""
