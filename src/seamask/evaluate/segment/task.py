"""Semantic segmentation: settings and metrics; the work is done in `training`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from seamask.base.settings import MOST_PIXELS, Within
from seamask.evaluate.task import TASKS, Context, EvaluationConfig, Metric, Task
from seamask.show.figures import segmentation_figure


@dataclass(frozen=True)
class SegmentConfig(EvaluationConfig):
    """Semantic segmentation: a fully convolutional network on the backbone, fine-tuned with SGD.

    Linear warm-up, then a polynomial decay (power 0.9). [FCN] Shelhamer et al. 2015; [torchvision]
    its reference training of FCN; [Seq] gives none.
    """

    image_size: Annotated[int, Within(0, MOST_PIXELS)] = 480
    """Shorter side in pixels that images are resized to, aspect kept ([torchvision]: 480–520)."""
    crop: Annotated[int, Within(0, MOST_PIXELS)] = 0
    """Side in pixels of the square training crops; 0 means the image size ([torchvision])."""
    scale: Annotated[tuple[float, float], Within(0, 100, above=True, rising=True)] = (0.5, 2.0)
    """Images are rescaled by a random factor before the crop (least, most; [torchvision])."""
    epochs: Annotated[int, Within(1)] = 30
    """Passes over the training images ([torchvision])."""
    batch_size: Annotated[int, Within(2)] = 16
    """Crops per step."""
    lr: Annotated[float, Within(0)] = 0.01
    """Peak learning rate ([torchvision]); never rescaled by the batch size."""
    backbone_lr_factor: Annotated[float, Within(0)] = 1.0
    """The backbone's learning rate, as a factor of `lr`; 1 as in [FCN] and [torchvision]."""
    weight_decay: Annotated[float, Within(0)] = 1e-4
    """[torchvision]."""
    momentum: Annotated[float, Within(0, 1, below=True)] = 0.9
    """[torchvision]."""
    warmup_epochs: Annotated[int, Within(0)] = 1
    """Epochs over which the learning rate rises linearly."""
    workers: Annotated[int, Within(-1, 1024)] = -1
    """Processes that prepare images beside the training; −1: up to 8 beside a GPU, none on a CPU.
    Never changes a result."""

    def unused(self) -> tuple[str, ...]:
        """Return what never changes a result."""
        return ("workers",)


def run(context: Context) -> dict[str, float]:
    """Return what `finetune_segmentation` finds."""
    from seamask.evaluate.segment.training import finetune_segmentation  # imports torchvision

    data = context.data
    metrics, pictures = finetune_segmentation(
        context.subject.backbone, data, settings=context.config, device=context.device
    )
    if context.keep is not None:
        shown = (pictures.images, pictures.truths, pictures.predictions, data.classes)
        context.keep(partial(segmentation_figure, *shown))
    return metrics


TASKS.register("segment")(
    Task(
        "semantic segmentation with an FCN: voc2012, a folder in Pascal VOC layout, shapes",
        SegmentConfig,
        run,
        (Metric("miou", "%"), Metric("pixel_accuracy", "%"), Metric("iou/*", "%")),
        needs=("pixels",),
        draws=True,
    )
)
