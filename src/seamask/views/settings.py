"""Settings of the views.

Short names of sources: [ADIOS] Shi et al., ICML 2022, and its code; [SimCLR] Chen et al. 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from seamask.base.settings import Within

Fill = Literal["mean", "noise", "blur", "other"]  # what stands where a mask removes something


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
    vertical_flip: Annotated[float, Within(0, 1)] = 0.0
    """Probability of a vertical flip: for images without an up (slides, satellites)."""
    rotate90: Annotated[float, Within(0, 1)] = 0.0
    """Probability of a turn by 90, 180 or 270 degrees, each as likely; 0.75 shows all ways up as
    often, with any flips."""
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
