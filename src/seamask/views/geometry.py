"""Where the pixels of a view come from: crop, flip and blur as batched matrix products.

A separable linear resampling of an image X is R X Cᵀ. With one pair (R, C) per image, the crops
of a whole batch are two batched products, whatever their places and sizes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from seamask.views.parameters import ViewParameters

Interpolation = Literal["bicubic", "bilinear"]


def crop_images(
    images: Tensor, params: ViewParameters, size: int, interpolation: Interpolation
) -> Tensor:
    """Crop, resize with antialiasing, flip and turn.

    Equals torchvision's `resized_crop(antialias=True)` on float images: bicubic overshoots.

    Args:
        images: [B, C, H, W] float32, contiguous.
        params: of B views, on the device of the images.
        size: side of the result, pixels.
        interpolation: `bicubic` or `bilinear`.

    Returns:
        [B, C, size, size] float32.
    """
    top, left, height, width = params.crop.unbind(1)
    centres = _centres(height, size, params.upside)
    rows = _filter(top, height, centres, images.shape[2], interpolation)
    centres = _centres(width, size, params.flip)
    columns = _filter(left, width, centres, images.shape[3], interpolation)
    return _swapped(_resample(images, rows, columns), params)


def crop_masks(masks: Tensor, params: ViewParameters, size: int) -> Tensor:
    """Take label maps through the crop, flips and turn of their images, by the nearest pixel.

    Equals torchvision's `resized_crop` with NEAREST_EXACT: the label at the centre of each pixel.
    Where that lies just between two source pixels it is the second, in whole numbers; PyTorch
    computes it in float32 and may take either.

    Args:
        masks: [B, H, W] or [B, K, H, W], any dtype, as large as the source images.
        params: of B views, on any device.
        size: side of the result, pixels.

    Returns:
        [B, size, size] or [B, K, size, size], dtype of `masks`.
    """
    params = params.to(masks.device)
    top, left, height, width = params.crop.long().unbind(1)
    place = torch.arange(size, device=masks.device).expand(len(masks), -1)  # [B, size]
    down = torch.where(params.upside[:, None], size - 1 - place, place)
    across = torch.where(params.flip[:, None], size - 1 - place, place)
    rows = top[:, None] + (2 * down + 1) * height[:, None] // (2 * size)
    columns = left[:, None] + (2 * across + 1) * width[:, None] // (2 * size)
    maps = masks.reshape(len(masks), -1, *masks.shape[-2:])  # [B, K, H, W]
    batch = torch.arange(len(masks), device=masks.device)[:, None, None, None]
    each = torch.arange(maps.shape[1], device=masks.device)[:, None, None]
    cropped = maps[batch, each, rows[:, None, :, None], columns[:, None, None, :]]
    cropped = _swapped(cropped, params)
    return cropped.reshape(*masks.shape[:-2], size, size)


def _swapped(views: Tensor, params: ViewParameters) -> Tensor:
    """Swap the rows and columns of the views `[B, K, S, S]` that are due, if any is."""
    if views.device.type == "cpu" and not params.swap.any():  # a GPU would have to be waited for
        return views
    return torch.where(params.swap[:, None, None, None], views.mT, views)


def blur(images: Tensor, sigma: Tensor, widest: float = 2.0) -> Tensor:
    """Blur each image with its own Gaussian, reflecting at the border.

    Equals torchvision's `gaussian_blur` with a kernel of three standard deviations of the widest
    blur to each side, as [SimCLR]'s has with 13 taps for 2 pixels, and never fewer; images too
    small for it get the widest kernel that fits.

    Args:
        images: [B, C, S, S] float32 in [0, 1], contiguous.
        sigma: [B], pixels, above 0.
        widest: the largest that `sigma` may hold, which a GPU is not asked for.

    Returns:
        Like `images`.
    """
    side = images.shape[-1]
    reach = min(max(6, math.ceil(3 * widest)), side - 1)
    offset = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.softmax(-0.5 * (offset / sigma[:, None]).square(), dim=1)  # [B, taps]
    pixel = torch.arange(side, device=images.device)
    source = (offset[:, None] + pixel).abs()  # [taps, S], reflected at the near edge,
    source = (side - 1) - (side - 1 - source).abs()  # then at the far one
    reads = (source[:, :, None] == pixel).float()  # [taps, S, S]
    matrix = (kernel @ reads.flatten(1)).view(-1, side, side)
    return _resample(images, matrix, matrix).clamp_(0, 1)  # rounding may overshoot


def _resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """R X Cᵀ: images X [B, C, H, W], rows R [B, h, H], columns C [B, w, W] to [B, C, h, w]."""
    wide = torch.bmm(images.flatten(1, 2), columns.mT)  # [B, C·H, w]
    return torch.matmul(rows[:, None], wide.view(*images.shape[:3], -1))


def _centres(extent: Tensor, size: int, flip: Tensor | None = None) -> Tensor:
    """Centres of `size` output pixels in a crop of `extent` [B] pixels, in its pixels [B, size].

    float32 in this order of operations, as torch's own resampling computes them.
    """
    position = (torch.arange(size, device=extent.device) + 0.5).expand(len(extent), -1)
    if flip is not None:
        position = torch.where(flip[:, None], size - position, position)
    return position * (extent / size)[:, None]


def _filter(
    start: Tensor, extent: Tensor, centres: Tensor, length: int, interpolation: Interpolation
) -> Tensor:
    """Weights [B, size, length] of the source pixels in each output pixel.

    The antialiasing filter of torch (`_upsample_bicubic2d_aa`, `_upsample_bilinear2d_aa`):
    stretched by the scale where that shrinks the image, cut off at the edges of the crop
    [start, start + extent), and normalised. `centres` [B, size] count from `start`.
    """
    pixel = torch.arange(length, device=start.device) + 0.5 - start[:, None]  # [B, length]
    stretch = (extent / centres.shape[1]).clamp(min=1)[:, None]
    distance = (pixel / stretch)[:, None] - (centres / stretch)[:, :, None]
    # Powers of 2 - |d| and 1 - |d|, cut off at 0, replace the usual cases; in place, since memory
    # traffic is what this costs.
    far = distance.abs_().neg_().add_(2).clamp_(min=0)
    near = (far - 1).clamp_(min=0)
    if interpolation == "bilinear":
        weight = near
    else:  # Keys' cubic with a = -1/2: far² (far - 1) / 2 - near² (2 near - 1)
        weight = far.square().mul_(far.sub_(1).mul_(0.5))
        weight.sub_(near.square().mul_(near.mul_(2).sub_(1)))
    inside = (pixel > 0) & (pixel < extent[:, None])
    weight.mul_(inside[:, None])
    return weight.div_(weight.sum(dim=2, keepdim=True))
