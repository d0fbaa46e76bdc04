"""What a masker is, and which there are.

A masker is a module: images `[B, C, H, W]`, normalised → masks `[B, N, H, W]` in [0, 1], 1 =
removed. Its attribute `learned` says whether it is a player with weights of its own, `n_masks` is
N. Its `forward` may ask for more, each by the name of a parameter, and is given what it names:

- `generator`: a CPU generator for what is drawn, so that masks do not depend on the device; what
  `seamask.base.draws.per_image` draws with it does not depend on the number of processes either;
- `objects`: labels of pixels, integer `[B, H, W]`: 0 background, k = object k, 255 = void;
- `segments`: labels of their superpixels, integer `[B, H, W]` below 256; None: not computed yet;
- `encoder`: what it may ask the encoder, a `Seen`; None where there is none;
- `shares`: `[B, N]` or `[B, 1]`, what each mask must remove exactly; None: as the masker likes.
  A masker that keeps to them says so by an attribute `takes_shares = True`.

Masks of an image depend on that image alone: batch norm in a masker would be of one process's part.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from seamask.base.errors import UserError, check_share, check_whole
from seamask.base.registry import Registry

# Settings of the group `masks` and the side of the images in pixels → the masker. One that depends
# on the channels of the images names a parameter `channels`.
MASKERS: Registry[Callable[..., nn.Module]] = Registry("masker", "masks")


class Seen(Protocol):
    """The encoder as a masker sees it: asked about the images at hand, without gradient."""

    def attention(self) -> Tensor:
        """Return how much the encoder attends to each place, `[B, h, w]`."""

    @property
    def compares(self) -> bool:
        """Whether there is a loss to ask for: inside a step, where images are compared."""

    def losses(self, masks: Tensor) -> Tensor:
        """Return the loss of each image under each of some masks, `[B, K, H, W]` → `[B, K]`."""


CONTRACT = (
    "a masker is a module with attributes `learned` and `n_masks` that maps images [B, C, H, W] to "
    "masks [B, N, H, W] in [0, 1], 1 = removed"
)


def masks_of(masker: nn.Module, images: Tensor, **more: Any) -> Tensor:
    """Return the masks `[B, N, H, W]` of images.

    Args:
        masker: see above.
        images: `[B, C, H, W]`.
        **more: what there is beside them: `generator`, `objects`, `segments`, `encoder`, `shares`;
            it is given what its `forward` names.

    Raises:
        UserError: what it returns are no masks of these images.
    """
    given = {name: value for name, value in more.items() if asks(masker, name)}
    masks: Tensor = masker(images, **given)
    size = [*getattr(masks, "shape", ())]
    if len(size) != 4 or [size[0], *size[2:]] != [len(images), *images.shape[2:]]:
        n = getattr(masker, "n_masks", "N")
        wanted = f"[{len(images)}, {n}, {images.shape[2]}, {images.shape[3]}]"
        found = size or type(masks).__name__
        raise UserError(
            f"{type(masker).__name__} returned {found} for images {list(images.shape)}: expected "
            f"masks {wanted}; {CONTRACT}"
        )
    return masks


def asks(masker: nn.Module, name: str) -> bool:
    """Say whether a masker's `forward` names something that it may be given."""
    return name in inspect.signature(masker.forward).parameters


def check_drawn(n_masks: int, ratio: float, patch: int = 1) -> None:
    """Refuse what no masker that draws can work with.

    Raises:
        UserError: the first thing found.
    """
    check_whole("n_masks", n_masks, 1, 254)
    check_share("ratio", ratio, ends=True)
    check_whole("patch", patch, 1)


def check_masker(masker: nn.Module, image_size: int, channels: int = 3) -> None:
    """Refuse a masker that does not keep the contract, by asking it for masks of two images.

    Args:
        masker: on the CPU.
        image_size: side of the images in pixels.
        channels: of the images.

    Raises:
        UserError: with what it does instead.
    """
    name = type(masker).__name__
    for attribute, kind in (("learned", bool), ("n_masks", int)):
        if type(getattr(masker, attribute, None)) is not kind:
            raise UserError(f"{name} has no {attribute} ({kind.__name__}): {CONTRACT}")
    images = torch.randn(2, channels, image_size, image_size)
    objects = torch.zeros(2, image_size, image_size, dtype=torch.uint8)
    draw = torch.Generator().manual_seed(0)
    masks = masks_of(masker, images, generator=draw, objects=objects)
    if masks.shape[1] != masker.n_masks:
        raise UserError(
            f"{name} gives {masks.shape[1]} masks and says n_masks = {masker.n_masks}: {CONTRACT}"
        )
    low, high = masks.min().item(), masks.max().item()
    if not 0 <= low <= high <= 1:
        raise UserError(f"{name} gives masks between {low:g} and {high:g}: {CONTRACT}")
    if masker.learned and not masks.requires_grad:
        raise UserError(f"{name} is learned, but its masks have no gradient: {CONTRACT}")
