"""Masks that are drawn, not learned: what learned masks are measured against."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from seamask.base.draws import drawn, per_image
from seamask.masks.cells import cells_of, check_patch, strongest, to_pixels
from seamask.masks.masker import MASKERS, check_drawn
from seamask.masks.settings import MaskerSettings, RandomSettings

BLOCK_ROUNDS = 20  # rectangles at most
BLOCK_ASPECT = 0.3


class NoMasker(nn.Module):
    """Remove nothing: the second view as it is, plain SimCLR."""

    learned = False
    n_masks = 1

    def forward(self, images: Tensor) -> Tensor:
        """Map images `[B, 3, H, W]` to one empty mask `[B, 1, H, W]` each."""
        return images.new_zeros((images.shape[0], 1, *images.shape[-2:]))


class RandomPatchMasker(nn.Module):
    """Remove a share of the cells of a grid, drawn uniformly without replacement (MAE).

    Args:
        n_masks: N, masks per image, drawn independently.
        ratio: share of the cells to remove, in [0, 1]; rounded to a whole number of cells.
        patch: side of a cell in pixels; must divide the image's sides.
    """

    learned = False

    def __init__(self, n_masks: int = 1, ratio: float = 0.25, patch: int = 8) -> None:
        super().__init__()
        check_drawn(n_masks, ratio, patch)
        self.n_masks, self.ratio, self.patch = n_masks, ratio, patch

    def forward(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Map images `[B, 3, H, W]` to masks `[B, N, H, W]` of zeros and ones.

        Args:
            images: only their shape and device matter.
            generator: a CPU generator, so that masks do not depend on the device.

        Raises:
            UserError: a patch that does not divide the image.
        """
        rows, columns = cells_of(images, self.patch)

        def draw(n: int, source: Generator | None) -> Tensor:
            return torch.rand(n, self.n_masks, rows, columns, generator=source)

        def make() -> Tensor:
            return strongest(-per_image(draw, len(images), generator), self.ratio)

        return to_pixels(drawn(make, images.device), images)


class RandomBlockMasker(nn.Module):
    """Remove rectangles until a share of the image is gone, as BEiT does (Bao et al. 2022).

    BEiT works on the patches of a ViT; here the pixels are the grid.

    Args:
        n_masks: N, masks per image, drawn independently.
        ratio: share of the pixels to remove, in [0, 1]; reached from below, within
            about 1 % up to one half.
    """

    learned = False

    def __init__(self, n_masks: int = 1, ratio: float = 0.25) -> None:
        super().__init__()
        check_drawn(n_masks, ratio)
        self.n_masks, self.ratio = n_masks, ratio

    def forward(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Map images `[B, 3, H, W]` to masks `[B, N, H, W]` of zeros and ones.

        Args:
            images: only their shape and device matter.
            generator: a CPU generator, so that masks do not depend on the device.
        """
        batch, _, height, width = images.shape
        ratio = torch.full((batch, self.n_masks), self.ratio, device=images.device)
        return random_blocks(ratio, height, width, generator).to(images.dtype)


def random_blocks(
    ratio: Tensor, height: int, width: int, generator: Generator | None = None
) -> Tensor:
    """Draw unions of rectangles that cover given shares of an image.

    Each rectangle has an area drawn between a sixteenth of the image and what is still missing,
    and an aspect ratio drawn log-uniformly in [0.3, 1/0.3], as in BEiT.

    Args:
        ratio: shares in [0, 1], `[B, N]`; reached from below, within
            about 1 % up to one half.
        height: in pixels.
        width: in pixels.
        generator: a CPU generator.

    Returns:
        bool `[B, N, height, width]`, on the device of `ratio`.
    """
    batch, n_masks = ratio.shape

    def draw(images: int, source: Generator | None) -> Tensor:
        return torch.rand(BLOCK_ROUNDS, 4, images, n_masks, generator=source).movedim(2, 0)

    def make() -> Tensor:
        uniform = per_image(draw, batch, generator).movedim(0, 2)
        area, aspect, *corner = uniform.unbind(1)  # each [rounds, B, N] in [0, 1)
        skew = torch.exp((aspect - 0.5) * -math.log(BLOCK_ASPECT))
        return torch.stack([area, skew, *corner], dim=1)

    # A GPU is asked for each operation by itself: both sides of a rectangle go through one.
    room = torch.stack([torch.full_like(ratio, side + 1) for side in (height, width)])
    place = torch.arange(max(height, width), device=ratio.device)
    wanted = ratio * (pixels := height * width)
    removed = torch.zeros(*ratio.shape, height, width, dtype=torch.bool, device=ratio.device)
    for draws in drawn(make, ratio.device):
        area, skew, corner = draws[0], draws[1], draws[2:]  # [B, N] twice, [2, B, N]: top, left
        missing = wanted - removed.sum((2, 3), dtype=torch.int32)  # quicker than int64's
        smallest = missing.clamp(max=pixels / 16)
        side = (smallest + area * (missing - smallest)).clamp(min=0).sqrt()
        h = (side * skew).floor().clamp(max=height)
        w = torch.minimum(side / skew, missing / h.clamp(min=1)).floor().clamp(max=width)
        size = torch.stack([h, w])  # [2, B, N]
        first = (corner * (room - size)).floor()
        end = first + size
        within = (place >= first[..., None]) & (place < end[..., None])  # [2, B, N, longer side]
        rows, columns = within[0, ..., :height, None], within[1, ..., None, :width]
        removed |= rows & columns
    return removed


@MASKERS.register("none", MaskerSettings)
def _none(settings: MaskerSettings, image_size: int) -> NoMasker:
    return NoMasker()


@MASKERS.register("random-patch", RandomSettings)
def _random_patch(settings: RandomSettings, image_size: int) -> RandomPatchMasker:
    check_patch(settings.patch, image_size, image_size)
    return RandomPatchMasker(settings.n_masks, settings.ratio, settings.patch)


@MASKERS.register("random-block", RandomSettings)
def _random_block(settings: RandomSettings, image_size: int) -> RandomBlockMasker:
    return RandomBlockMasker(settings.n_masks, settings.ratio)
