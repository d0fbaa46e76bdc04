"""What a backbone must be able to do, tried before any image is read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seamask.base.errors import UserError, first_line
from seamask.base.memory import memory_asked


def feature_width(backbone: nn.Module) -> int:
    """Return the width of a timm model's features.

    Some models, MobileNetV3 say, have one more layer after their `num_features`.
    """
    return int(getattr(backbone, "head_hidden_size", backbone.num_features))  # type: ignore[arg-type]


def channels_of(backbone: nn.Module) -> int:
    """Return the channels of the images that a backbone takes, by its first convolution."""
    convolutions = (m for m in backbone.modules() if isinstance(m, nn.Conv2d))
    return next((first.in_channels for first in convolutions), 3)


def check_backbone(
    backbone: nn.Module, name: str, size: int, channels_last: bool = True, named: str = "--backbone"
) -> None:
    """Refuse a backbone that does not map squares of this size to features `[B, F]`.

    One forward pass, in the mode and on the device it is in: on `meta` nothing is computed.

    Args:
        backbone: just built.
        name: of it.
        size: side of the images in pixels.
        channels_last: memory layout of the images.
        named: what the user named it by, for errors.

    Raises:
        UserError: with the reason; a layout that it needs is named.
    """
    reason = _reason(backbone, size, channels_last)
    if reason is None:
        return
    said = f"{named} {name}".strip()
    if channels_last and _reason(backbone, size, False) is None:
        raise UserError(
            f"{said} cannot take images in the layout channels_last ({reason}): "
            "give --encoder.no-channels-last"
        )
    raise UserError(f"{said} cannot take {size} pixels: {reason}")


def _reason(backbone: nn.Module, size: int, channels_last: bool) -> str | None:
    """Return why a backbone gives no features; None: it does."""
    device = next((p.device for p in backbone.parameters()), torch.device("cpu"))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    shape = 2, channels_of(backbone), size, size
    images = torch.zeros(shape, device=device).contiguous(memory_format=layout)
    try:
        with torch.no_grad():
            features = backbone(images)
    except Exception as error:  # timm's models raise nearly anything
        if memory_asked(error) is not None:
            raise
        return first_line(error)
    if not isinstance(features, Tensor):
        return f"it gives a {type(features).__name__}, not features [B, F]"
    width = feature_width(backbone)
    if features.shape != (2, width):
        return f"it gives {list(features.shape)}, not features [2, {width}] of 2 images"
    return None
