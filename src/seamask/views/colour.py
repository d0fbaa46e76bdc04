"""Colour operators with one parameter per image; each equals torchvision's on float images.

Images are [B, 3, H, W] float32 in [0, 1] and stay so; of the first two, and of solarisation, also
[B, 1, H, W]. They may be overwritten: use the result.
Parameters are [B].
"""

from __future__ import annotations

import torch
from torch import Tensor


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Scale every value: torchvision's `adjust_brightness`."""
    return images.mul_(_per_image(factor)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean luma of the image: torchvision's `adjust_contrast`."""
    mean = _luma(images.mean(dim=(2, 3)))  # luma is linear, so the mean may come first
    return _blend(images, _per_image(mean), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the luma of each pixel: torchvision's `adjust_saturation`."""
    return _blend(images, _luma(images)[:, None], factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` in [-0.5, 0.5] turns: torchvision's `adjust_hue`.

    Turning the hue keeps the largest and the smallest value of each pixel and moves the channels
    between them, so the saturation of HSV is not needed.
    """
    r, g, b = images.unbind(1)
    high, low = images.amax(dim=1), images.amin(dim=1)
    span = high - low
    # The angle in sixths of a turn, times the span: which formula holds depends on the largest
    # channel. `lerp` with a weight of exactly 0 or 1 selects several times faster than `where`.
    not_r, not_g = (high - r).sign_(), (high - g).sign_()
    angle = (b - r).add_(span, alpha=2).lerp_((r - g).add_(span, alpha=4), not_g)
    angle = (g - b).lerp_(angle, not_r)
    # Greys have no hue: 0 / tiny. The turn added keeps the fraction from being negative.
    turn = angle.div_(6 * span.clamp(min=1e-30)).add_((shift + 1)[:, None, None])
    angle = turn.frac_().mul_(6)
    # A channel is at its largest within 1 of its own angle (0, 2, 4), at its smallest beyond 2;
    # red sits where the circle closes.
    share = torch.stack(
        [(angle - 3).abs_().sub_(1), 2 - (angle - 2).abs_(), 2 - (angle - 4).abs_()], dim=1
    )
    return share.clamp_(0, 1).mul_(span[:, None]).add_(low[:, None]).clamp_(0, 1)


def grayscale(images: Tensor) -> Tensor:
    """Set the three channels to the luma: torchvision's `rgb_to_grayscale`."""
    return _luma(images)[:, None].expand_as(images)


def solarize(images: Tensor) -> Tensor:
    """Invert the values from one half up: torchvision's `solarize(threshold=0.5)`."""
    return torch.where(images >= 0.5, 1 - images, images)


def _luma(images: Tensor) -> Tensor:
    """[B, 3, ...] to [B, ...]: ITU-R 601 luma, with torchvision's digits; grey is its own."""
    if images.shape[1] == 1:
        return images[:, 0]
    r, g, b = images.unbind(1)
    return (0.2989 * r).add_(g, alpha=0.587).add_(b, alpha=0.114)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Go from `other` (factor 0) to the images (factor 1) and beyond."""
    factor = _per_image(factor)
    return images.mul_(factor).add_(other * (1 - factor)).clamp_(0, 1)


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]
