"""An evaluation: alignment and uniformity of frozen features (Wang & Isola 2020). Low is good.

seamask evaluate RUN uniformity --plugin examples/plugins/evaluation.py --t 2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from seamask.base.settings import Within
from seamask.evaluate import TASKS, Context, EvaluationConfig, Metric, Task
from seamask.views import Views, ViewsConfig

BATCH = 256  # images at once


@dataclass(frozen=True)
class UniformityConfig(EvaluationConfig):
    """Alignment of two views of an image, uniformity of views of different images."""

    alpha: Annotated[float, Within(0, above=True)] = 2.0
    """Power of the distance between two views (the paper: 2)."""
    t: Annotated[float, Within(0, above=True)] = 2.0
    """Scale of the squared distance between images (the paper: 2)."""
    images: Annotated[int, Within(2)] = 4096
    """Held-out images that are compared, at most, drawn at random."""


def alignment(x: Tensor, y: Tensor, alpha: float) -> float:
    """Return `mean ‖x − y‖^α` over pairs of unit features `[n, F]` of two views."""
    return float((x - y).norm(dim=1).pow(alpha).mean())


def uniformity(x: Tensor, t: float) -> float:
    """Return `log mean exp(−t ‖x_i − x_j‖²)` over the pairs i < j of unit features `[n, F]`."""
    return float(torch.pdist(x).square().mul(-t).exp().mean().log())


@torch.no_grad()
def run(context: Context) -> dict[str, float]:
    """Return both of the held-out images, or of the training images where none are held out."""
    config: UniformityConfig = context.config
    generator = torch.Generator().manual_seed(config.seed)
    pixels = (context.data.probe_test or context.data.train).pixels  # [n, S, S, 3]
    pixels = pixels[torch.randperm(len(pixels), generator=generator)[: config.images]]
    draw_view = Views(ViewsConfig(), context.size, *context.data.normalization)

    def features() -> Tensor:  # of a new view of each image, [n, F], of length 1
        parts = (part.to(context.device).permute(0, 3, 1, 2) for part in pixels.split(BATCH))
        found = [context.subject.backbone(draw_view(part, generator)[0]).cpu() for part in parts]
        return functional.normalize(torch.cat(found).float(), dim=1)

    x, y = features(), features()
    return {
        "alignment": alignment(x, y, config.alpha),
        "uniformity": (uniformity(x, config.t) + uniformity(y, config.t)) / 2,
    }


TASKS.register("uniformity")(
    Task(
        "alignment and uniformity of frozen features on the unit sphere",
        UniformityConfig,
        run,
        (Metric("alignment"), Metric("uniformity")),
    )
)
