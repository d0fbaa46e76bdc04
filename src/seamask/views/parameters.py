"""What happens to each image: random parameters, drawn on the CPU."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from seamask.base.devices import upload
from seamask.base.draws import per_image
from seamask.views.settings import ViewsConfig

# Columns and types of `ViewParameters`, in its order.
WIDTHS = [4, 1, 1, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1]
KINDS = [torch.float32, torch.bool, torch.bool, torch.int64, *4 * [torch.float32], torch.bool,
         torch.float32, *3 * [torch.bool]]  # fmt: skip
TRIES = 10  # draws of a crop before the central one is taken (torchvision's RandomResizedCrop)
DRAWS = 2 * TRIES + 16  # numbers that a view takes


@dataclass(frozen=True)
class ViewParameters:
    """The parameters of B views; every tensor has the batch as its first dimension."""

    crop: Tensor  # [B, 4] float32, whole source pixels: top, left, height, width
    flip: Tensor  # [B] bool: mirror left and right, after the crop
    jitter: Tensor  # [B] bool: whether the four colour operations take place
    order: Tensor  # [B, 4] int64, permuted 0 brightness, 1 contrast, 2 saturation, 3 hue
    brightness: Tensor  # [B] float32, at least 0; 1 changes nothing
    contrast: Tensor  # [B] float32, at least 0; 1 changes nothing
    saturation: Tensor  # [B] float32, at least 0; 1 changes nothing
    hue: Tensor  # [B] float32, turns in [-0.5, 0.5]; 0 changes nothing
    grayscale: Tensor  # [B] bool: drop colour
    sigma: Tensor  # [B] float32, standard deviation of the blur in output pixels; 0: no blur
    solarize: Tensor  # [B] bool: invert the values from one half up
    upside: Tensor  # [B] bool: mirror up and down, after the crop
    swap: Tensor  # [B] bool: swap rows and columns, after both mirrors

    def to(self, device: torch.device | str) -> ViewParameters:
        """Return the parameters on `device`, sent as one; a GPU is not waited for."""
        device = torch.device(device)
        if device == self.crop.device:
            return self
        return ViewParameters.unpack(upload(self.pack(), device))

    def pack(self) -> Tensor:
        """Return all of them side by side, float32 `[B, 19]`, exactly."""
        parts = (getattr(self, f.name) for f in fields(self))
        return torch.cat([p.view(len(p), -1).float() for p in parts], dim=1)

    @classmethod
    def unpack(cls, packed: Tensor) -> ViewParameters:
        """Return what was packed, on the device of `packed` `[B, 19]`."""
        parts = [p.squeeze(1) for p in packed.split(WIDTHS, dim=1)]
        return cls(*(p.to(kind) for p, kind in zip(parts, KINDS, strict=True)))


def draw(
    n: int,
    height: int,
    width: int,
    config: ViewsConfig,
    generator: torch.Generator,
    views: int = 1,
) -> ViewParameters:
    """Draw the parameters of views of `n` images of `height` × `width` pixels.

    The result depends on these arguments only, never on the device of the images, and consumes
    the same number of random values whatever they turn out to be.

    Args:
        n: number of images, B.
        height: of the source images, pixels.
        width: of the source images, pixels.
        config: ranges and probabilities, within the limits of `seamask.config.check`.
        generator: a CPU generator.
        views: of each image: the first of all images, then the second of all.
    """
    # float64: u < 1 then gives floor(u * k) < k for every whole k.
    uniform = per_image(
        lambda n, g: torch.rand(views, n, DRAWS, generator=g, dtype=torch.float64).movedim(1, 0),
        n,
        generator,
    )
    area, aspect, place, order, factors, chance = torch.split(
        uniform.movedim(1, 0).flatten(0, 1), [TRIES, TRIES, 2, 4, 5, 5], dim=1
    )
    brightness, contrast, saturation, hue, sigma = factors.unbind(1)
    flip, jitter, grayscale, blur, solarize = chance.unbind(1)
    mirrored = flip < config.flip
    upside = swap = torch.zeros_like(mirrored)
    if config.vertical_flip or config.rotate90:  # drawn apart: other views stay as they are
        more = per_image(
            lambda n, g: torch.rand(views, n, 3, generator=g, dtype=torch.float64).movedim(1, 0),
            n,
            generator,
        )
        vertical, due, quarters = more.movedim(1, 0).flatten(0, 1).unbind(1)
        # A quarter turn, counter-clockwise, is a mirror left and right and a swap; three are one up
        # and down and a swap, two are both mirrors.
        turns = torch.where(due < config.rotate90, 1 + (3 * quarters).floor(), 0)
        mirrored = mirrored ^ (turns == 1) ^ (turns == 2)
        upside = (vertical < config.vertical_flip) ^ (turns == 2) ^ (turns == 3)
        swap = (turns == 1) | (turns == 3)
    return ViewParameters(
        crop=_crop(area, aspect, place, height, width, config),
        flip=mirrored,
        jitter=jitter < config.jitter,
        order=order.argsort(dim=1),
        brightness=_factor(brightness, config.brightness),
        contrast=_factor(contrast, config.contrast),
        saturation=_factor(saturation, config.saturation),
        hue=_between(hue, -config.hue, config.hue).float(),
        grayscale=grayscale < config.grayscale,
        sigma=(_between(sigma, *config.blur_sigma) * (blur < config.blur)).float(),
        solarize=solarize < config.solarize,
        upside=upside,
        swap=swap,
    )


def _crop(
    area: Tensor, aspect: Tensor, place: Tensor, height: int, width: int, config: ViewsConfig
) -> Tensor:
    """Turn draws in [0, 1) – [B, TRIES], [B, TRIES], [B, 2] – into crops [B, 4].

    As torchvision's `RandomResizedCrop.get_params`: the first try that fits, at a random place;
    else the largest central crop within the range of aspect ratios.
    """
    low, high = config.ratio
    area = height * width * _between(area, *config.scale)
    aspect = _between(aspect, math.log(low), math.log(high)).exp()
    h, w = (area / aspect).sqrt().round(), (area * aspect).sqrt().round()
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)

    # At least one pixel, which torchvision forgets where the source is but a pixel or two wide.
    central_h = max(1, min(height, round(width / low)))
    central_w = max(1, min(width, round(height * high)))
    found, first = fits.any(dim=1), fits.int().argmax(dim=1, keepdim=True)
    h = torch.where(found, h.gather(1, first)[:, 0], central_h)
    w = torch.where(found, w.gather(1, first)[:, 0], central_w)

    room = torch.stack([height - h, width - w], dim=1)
    corner = torch.where(found[:, None], (place * (room + 1)).floor(), (room / 2).floor())
    return torch.cat([corner, h[:, None], w[:, None]], dim=1).float()


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + uniform * (high - low)


def _factor(uniform: Tensor, strength: float) -> Tensor:
    return _between(uniform, max(0.0, 1 - strength), 1 + strength).float()
