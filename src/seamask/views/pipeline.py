"""Images to views: the augmentations of [SimCLR] in their order, batched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from seamask.base.draws import drawn
from seamask.base.ranges import named
from seamask.views import colour
from seamask.views.geometry import Interpolation, blur, crop_images
from seamask.views.parameters import ViewParameters, draw
from seamask.views.settings import ViewsConfig


class Views:
    """Draws random views of every image.

    Args:
        config: the augmentations.
        size: side of the views in pixels.
        mean: of each channel, in [0, 1].
        std: of each channel, in the same unit.
    """

    def __init__(
        self, config: ViewsConfig, size: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.config = config
        self.size = size
        self.mean = mean
        self.std = std

    def __call__(
        self, images: Tensor, generator: torch.Generator, views: int = 1
    ) -> tuple[Tensor, ViewParameters]:
        """Return views [V·B, C, size, size], normalised float32, and what was done.

        Args:
            images: [B, C, H, W] uint8 on any device, C = 3 or 1.
            generator: a CPU generator.
            views: V of each image, made together: the first of all images, then the second of all.
        """
        with named("views"):
            n, _, height, width = images.shape
            make = partial(draw, n, height, width, self.config, generator, views)
            if images.device.type == "cpu":
                params = make()
            else:
                params = ViewParameters.unpack(drawn(lambda: make().pack(), images.device))
            images = images.repeat(views, 1, 1, 1) if views > 1 else images
            c = self.config
            seen = apply(images, params, self.size, c.interpolation, widest=c.blur_sigma[1])
            return _standardize(seen, self.mean, self.std), params


def apply(
    images: Tensor,
    params: ViewParameters,
    size: int,
    interpolation: Interpolation = "bicubic",
    every: bool | None = None,
    widest: float = 2.0,
) -> Tensor:
    """Crop, flip, jitter, grey, blur and solarise each image with its own parameters.

    Computes in float32, also under autocast, and does not wait for a GPU. The crop is clamped to
    [0, 1], as torchvision does for uint8 images (and does not for float images).

    Args:
        images: [B, C, H, W], uint8, or floating in [0, 1], C = 3 or 1; any strides. Not changed.
        params: of B views, on any device.
        size: side of the views in pixels.
        interpolation: `bicubic` or `bilinear`, always antialiased.
        every: apply each step to every image, and keep the result where it is due, instead of only
            to the images that take it; None: on a GPU, which would have to be asked which these
            are.
        widest: see `blur`.

    Returns:
        [B, C, size, size] float32 in [0, 1], contiguous: channel planes suit both the matrix
        products and the colour operators.
    """
    params = params.to(images.device)
    every = images.device.type != "cpu" if every is None else every
    with torch.autocast(images.device.type, enabled=False):
        planes = images.to(torch.float32, memory_format=torch.contiguous_format)
        if images.dtype == torch.uint8:
            planes.div_(255)
        views = crop_images(planes, params, size, interpolation).clamp_(0, 1)
        for due, operator, arguments in _steps(params, images.shape[1], widest):
            if every:
                changed = operator(views.clone(), *arguments)
                views = torch.where(due[:, None, None, None], changed, views)
            elif len(rows := due.nonzero()[:, 0]):
                taken = (t.index_select(0, rows) for t in (views, *arguments))
                views.index_copy_(0, rows, operator(*taken))
    return views


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float], size: int) -> Tensor:
    """Return the deterministic view for evaluation: resize, centre crop, normalise.

    Args:
        images: [B, C, H, W] uint8.
        mean: of each channel, in [0, 1].
        std: of each channel.
        size: the shorter side is resized to it (bicubic, antialiased) unless it has it already.

    Returns:
        [B, C, size, size] float32, contiguous.
    """
    views = images.float().div_(255)
    height, width = images.shape[2:]
    shorter = min(height, width)
    if shorter != size:
        height, width = size * height // shorter, size * width // shorter
        # Antialiased resizing is none of the operations that Apple's GPU has.
        home = views.cpu() if images.device.type == "mps" else views
        views = F.interpolate(home, (height, width), mode="bicubic", antialias=True).clamp_(0, 1)
        views = views.to(images.device)
    top, left = round((height - size) / 2), round((width - size) / 2)
    views = views[:, :, top : top + size, left : left + size].contiguous()
    return _standardize(views, mean, std)


Step = tuple[Tensor, Callable[..., Tensor], tuple[Tensor, ...]]


def _steps(params: ViewParameters, channels: int, widest: float) -> list[Step]:
    """List what follows the crop: which images [B] bool, the operator, its parameters.

    Grey images have no saturation and hue, and are grey: what would leave them be is left out.
    """
    jitters: list[tuple[Callable[..., Tensor], Tensor]] = [
        (colour.brightness, params.brightness),
        (colour.contrast, params.contrast),
        (colour.saturation, params.saturation),
        (colour.hue, params.hue),
    ]
    in_colour = channels == 3
    steps: list[Step] = [
        (params.jitter & (params.order[:, place] == which), operator, (parameter,))
        for place in range(4)
        for which, (operator, parameter) in enumerate(jitters if in_colour else jitters[:2])
    ]
    if in_colour:
        steps.append((params.grayscale, colour.grayscale, ()))
    return [
        *steps,
        (params.sigma > 0, partial(blur, widest=widest), (params.sigma,)),
        (params.solarize, colour.solarize, ()),
    ]


def _standardize(views: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(views - mean) / std in place; channel by channel, so that nothing is sent to the device."""
    for channel, m, s in zip(views.unbind(1), mean, std, strict=True):
        channel.sub_(m).div_(s)
    return views
