"""Settings of the objectives, each with the part that reads them.

Short names of sources: [Seq] Sam et al. 2022; [ADIOS] Shi et al., ICML 2022, and its code;
[SimCLR] Chen et al. 2020; [MSN] Assran et al. 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from seamask.base.settings import Within, short


@dataclass(frozen=True)
class ObjectiveSettings:
    """What every objective is told."""

    name: Annotated[str, short("objective")] = "simclr"
    """Views are compared: `simclr`, `byol`, `simsiam`, `vicreg`, `moco`, `msn`. Removed pixels are
    predicted: `reconstruct`. What each is and costs: `docs/parts.md`."""
    hidden: Annotated[tuple[int, ...], Within(1, 2**20)] = (2048,)
    """Hidden widths of the projector ([ADIOS] code); empty: one linear map ([Seq])."""
    out_dim: Annotated[int, Within(1, 2**20)] = 128
    """Width of the embeddings ([ADIOS] script)."""


@dataclass(frozen=True)
class ContrastiveSettings(ObjectiveSettings):
    """One image is recognised among others."""

    temperature: Annotated[float, Within(0, above=True)] = 0.2
    """[Seq] table 3 (`msn`: the paper has 0.1)."""


@dataclass(frozen=True)
class SimCLRSettings(ContrastiveSettings):
    """NT-Xent."""

    form: Literal["standard", "cross-view"] = "standard"
    """NT-Xent with 2B − 2 negatives ([SimCLR], [ADIOS] code), or as [Seq] eq. 1 prints it, but for
    the sign: negatives from the other view only, the positive not among them, one direction."""


@dataclass(frozen=True)
class MomentumSettings(ObjectiveSettings):
    """A slowly moving copy of the encoder is the target."""

    momentum: Annotated[float, Within(0, 1, below=True)] = 0.99
    """`byol`: the target's momentum at the start; it rises to 1 along a cosine ([ADIOS]). `moco`:
    its fixed momentum (the paper: 0.999). `msn`: at the start; it rises linearly (the paper:
    0.996)."""


@dataclass(frozen=True)
class SiameseSettings(MomentumSettings):
    """One view is predicted from the other."""

    predictor: Annotated[int, Within(1, 2**20)] = 512
    """`byol`, `simsiam`: hidden width of the predictor ([ADIOS]: SimSiam 512, BYOL 8192)."""


@dataclass(frozen=True)
class MoCoSettings(ContrastiveSettings, MomentumSettings):
    """A queue of keys."""

    queue: Annotated[int, Within(1, 2**26)] = 4096
    """`moco`: keys of earlier batches that serve as negatives (the paper: 65,536 for ImageNet)."""


@dataclass(frozen=True)
class MSNSettings(ContrastiveSettings, MomentumSettings):
    """Prototypes."""

    prototypes: Annotated[int, Within(2, 2**20)] = 1024
    """`msn`: K, to which views are assigned ([MSN])."""
    sharpen: Annotated[float, Within(0, above=True)] = 0.25
    """`msn`: T, the temperature by which targets are sharpened ([MSN])."""
    mean_entropy: Annotated[float, Within(0)] = 1.0
    """`msn`: λ, the weight of the entropy of the mean assignment, which is raised ([MSN])."""
    entropy: Annotated[float, Within(0)] = 0.0
    """`msn`: the weight of the mean entropy of assignments, which is lowered ([MSN] recipe: 0)."""


@dataclass(frozen=True)
class ReconstructSettings(ObjectiveSettings):
    """Removed pixels."""

    pixels: Literal["l1", "l2"] = "l1"
    """`reconstruct`: the error of a pixel, its size (SimMIM) or its square (MAE)."""
    normalise: bool = False
    """`reconstruct`: predict pixels normalised in each patch (MAE, with ViTs)."""
    decoder: Annotated[int, Within(0, 64)] = 0
    """`reconstruct`: transformer blocks of the decoder; 0: one linear map (SimMIM; MAE: 8)."""
    decoder_width: Annotated[int, Within(32, 2**14)] = 512
    """`reconstruct`: width of these blocks, a multiple of 32 (MAE)."""


@dataclass(frozen=True)
class ObjectiveConfig(
    SimCLRSettings, SiameseSettings, MoCoSettings, MSNSettings, ReconstructSettings
):
    """How an anchor and a masked view are compared."""
