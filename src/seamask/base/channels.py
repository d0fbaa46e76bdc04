"""Images of one channel, grey, and of three, colours: one from the other."""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (19595, 38470, 7471)  # ITU-R 601 of red, green, blue, in 65536ths, as Pillow has it


def as_channels(pixels: Tensor, channels: int) -> Tensor:
    """Return images with as many channels as are asked for, uint8 `[..., 1 or 3]`.

    Colours become their luma (ITU-R 601, as Pillow's mode L), grey three equal channels: what is
    grey is the same there and back.

    Args:
        pixels: uint8 `[..., 1 or 3]`; a view of them is returned where nothing is to be computed.
        channels: 1 or 3.
    """
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return pixels.expand(*pixels.shape[:-1], 3)
    red, green, blue = pixels.to(torch.int32).unbind(-1)
    luma = red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]
    return (luma + 32768 >> 16).to(torch.uint8)[..., None]
