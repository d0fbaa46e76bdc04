"""Masks of superpixels: random segments of an image, whose edges they follow. Not in the paper."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from seamask.base.draws import drawn_per_image
from seamask.base.errors import check_whole
from seamask.masks.masker import MASKERS, check_drawn
from seamask.masks.settings import RandomSettings
from seamask.masks.superpixels import LABELS, segments_of_views


class SuperpixelMasker(nn.Module):
    """Remove segments of an image (SLIC, Achanta et al. 2012) in random order up to a share of it.

    Between random blocks and learned masks: masks have the shapes that colours give, at places that
    nobody has chosen.

    Args:
        n_masks: N, masks per image, drawn independently.
        ratio: share of the pixels to remove, in [0, 1]; reached from below, within one segment.
        superpixels: of an image, about, where segments are not given and computed here.
    """

    learned = False

    def __init__(self, n_masks: int = 1, ratio: float = 0.25, superpixels: int = 100) -> None:
        super().__init__()
        check_drawn(n_masks, ratio)
        check_whole("superpixels", superpixels, 2)
        self.n_masks, self.ratio, self.superpixels = n_masks, ratio, superpixels

    def forward(
        self,
        images: Tensor,
        generator: Generator | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """Map images `[B, 3, H, W]` to masks `[B, N, H, W]` of zeros and ones.

        Args:
            images: their type and, without segments, their pixels matter.
            generator: a CPU generator, so that masks do not depend on the device.
            segments: labels of their pixels, integer `[B, H, W]` below 256; None: computed here,
                which is slow.
        """
        if segments is None:
            segments = segments_of_views(images, self.superpixels)

        def draw(n: int, source: Generator | None) -> Tensor:
            return torch.rand((n, self.n_masks, LABELS), generator=source)

        order = drawn_per_image(draw, len(images), generator, images.device).argsort(-1)
        labels = segments.flatten(1).long()  # [B, H · W]
        area = images.new_zeros(len(images), LABELS, dtype=torch.float32)
        area = area.scatter_add_(1, labels, torch.ones_like(labels, dtype=area.dtype))
        area = area[:, None].expand_as(order).gather(2, order)
        goes = area.cumsum(2) <= self.ratio * labels.shape[1]
        removed = torch.zeros_like(goes).scatter_(2, order, goes)  # of each label
        masks: Tensor = removed.gather(2, labels[:, None].expand(-1, self.n_masks, -1))
        masks = masks.unflatten(2, images.shape[-2:])
        return masks.to(images.dtype)


@MASKERS.register("superpixel", RandomSettings)
def _superpixel(settings: RandomSettings, image_size: int) -> SuperpixelMasker:
    return SuperpixelMasker(settings.n_masks, settings.ratio, settings.superpixels)
