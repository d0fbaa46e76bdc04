"""What stands where a mask removes something: the mean colour, noise, a blur, another image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from seamask.base.draws import drawn, drawn_per_image, generator
from seamask.views.settings import Fill

BLUR = 10 / 224  # standard deviation of the blur, of the side (Fong & Vedaldi 2017)


def fill(kind: Fill, images: Tensor, source: Generator | None = None) -> Tensor | None:
    """Return what stands where masks remove something of views, `[B, C, S, S]`; see `MasksConfig`.

    Args:
        kind: `mean`, `noise`, `blur` or `other`.
        images: `[B, C, S, S]`, normalised, so that 0 is the mean colour and 1 a deviation.
        source: a CPU generator of what is drawn.

    Returns:
        As large as the images; None: zero, the mean colour.
    """
    if kind == "noise":
        return noise(images, source)
    if kind == "blur":
        return blurred(images, BLUR * images.shape[-1])
    return other(images) if kind == "other" else None


def noise(images: Tensor, source: Generator | None = None) -> Tensor:
    """Return white noise of the data set's mean and deviation, `[B, C, S, S]`.

    The images of a batch share one field, of which each has its own shift, drawn at random and
    cyclic. A field for each image would take 50 ms a step to draw, 256 of 96 pixels.
    """
    height, width = images.shape[-2:]
    field = drawn(lambda: torch.randn(images.shape[1:], generator=source), images.device)

    def shifts(n: int, source: Generator | None) -> Tensor:
        return torch.randint(height * width, (n, 1), generator=source)

    shift = drawn_per_image(shifts, len(images), source, images.device)
    place = (torch.arange(height * width, device=images.device) + shift) % (height * width)
    return field.flatten(1).to(images.dtype)[:, place].movedim(1, 0).reshape(images.shape)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Return images blurred by a Gaussian of `sigma` pixels, which is cut off at the border."""
    rows, columns = (
        torch.softmax(-0.5 * ((at[:, None] - at) / sigma).square(), dim=1)  # [S, S]
        for side in images.shape[-2:]
        for at in [torch.arange(side, device=images.device, dtype=images.dtype)]
    )
    return rows @ images @ columns.mT


def other(images: Tensor) -> Tensor:
    """Return of each image its neighbour: 2k and 2k + 1 are each other's.

    A batch is in random order, so that it is any other image. Processes that have an even number
    each need no image of another, and pair them as one process does.
    """
    n = len(images)
    partner = torch.arange(n, device=images.device) ^ 1
    return images[torch.where(partner < n, partner, partner - 2)]  # an odd one has the one before


def filled_pixels(
    kind: Fill, pixels: Tensor, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Return `fill` of images as they are stored, uint8 `[n, S, S, C]`, to look at.

    Args:
        kind: `mean`, `noise`, `blur` or `other`.
        pixels: uint8 `[n, S, S, C]`.
        mean: of each channel, in [0, 1].
        std: the same.
    """
    by = torch.tensor(mean), torch.tensor(std)
    images = (pixels / 255 - by[0]) / by[1]
    found = fill(kind, images.movedim(-1, 1), generator(0, "fill"))
    images = torch.zeros_like(images) if found is None else found.movedim(1, -1)
    return ((images * by[1] + by[0]).clamp(0, 1) * 255).round().byte()
