"""Settings of the encoder.

Short names of sources: [ADIOS] Shi et al., ICML 2022, and its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from seamask.base.settings import MOST_PIXELS, Within, short

SMALL_ENCODER = {"encoder.backbone": "test_resnet", "encoder.stem": "standard"}  # timm's smallest


@dataclass(frozen=True)
class EncoderConfig:
    """The network that is trained to be used afterwards."""

    backbone: Annotated[str, short("backbone")] = "resnet18"
    """Any timm model by name (`timm.list_models()`)."""
    init: str = ""
    """Weights to start from: `imagenet` (timm's pretrained ones of this backbone), a
    `.safetensors` file, a run's folder; empty: random ones. What did not fit is printed, and all of
    it is in the manifest."""
    stem: Literal["auto", "standard", "small"] = "auto"
    """`small`: 3×3 stride-1 first convolution and no max-pool (ResNets); `auto` takes it below
    64 pixels ([ADIOS], solo-learn at 32 px), and prints which it took."""
    patch: Annotated[int, Within(0, MOST_PIXELS)] = 0
    """Side in pixels of a ViT's patches; 0: that of its name, or the next of 16, 8 and 4 that
    leaves at least 6×6 of them ([ADIOS]: 16 at 96 px)."""
    zero_init_last: bool = False
    """Start the last batch norm of each residual branch at zero, timm's default; [ADIOS] and
    torchvision's ResNet-18 start all from ones."""
    channels_last: bool = True
    """Memory layout of the encoder; never changes a result beyond rounding."""
