"""Masks that are given: the objects that people marked, ADIOS's upper bound."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.errors import UserError, check_choice, check_whole
from seamask.masks.masker import MASKERS
from seamask.masks.settings import GivenSettings

Morph = Literal["none", "erode", "dilate", "box"]


class GivenMasker(nn.Module):
    """Mask k removes object k; the last of several removes what none of the others does.

    As ADIOS's code does with the objects of CLEVR. An object that a view does not show leaves an
    empty mask, and a view that shows none only empty ones: nothing would be left of it.

    Args:
        n_masks: N; 1 removes the first object alone.
        morph: `erode` or `dilate` the objects (not from the border of the image), or remove their
            bounding `box`.
        radius: of erosion and dilation, in pixels.
    """

    learned = False

    def __init__(self, n_masks: int = 2, morph: Morph = "none", radius: int = 1) -> None:
        super().__init__()
        check_whole("n_masks", n_masks, 1, 254)
        check_whole("radius", radius, 1, 1024)
        check_choice("morph", morph, get_args(Morph))
        self.n_masks, self.morph, self.radius = n_masks, morph, radius

    def forward(self, images: Tensor, objects: Tensor | None = None) -> Tensor:
        """Map images `[B, 3, H, W]` to masks `[B, N, H, W]` of zeros and ones.

        Args:
            images: only their type matters.
            objects: integer `[B, H, W]`: 0 background, k = object k, 255 = void.

        Raises:
            UserError: no objects.
        """
        if objects is None:
            raise UserError(
                "objects is None: GivenMasker takes the objects of the images, integer [B, H, W]; "
                "in a step they are View(images, objects)"
            )
        count = max(1, self.n_masks - 1)
        labels = torch.arange(1, count + 1, device=objects.device)[:, None, None]
        masks = self._morph((objects[:, None] == labels).to(images.dtype))  # [B, N − 1, H, W]
        if self.n_masks > 1:
            things = masks.amax(dim=1, keepdim=True)
            shown = things.amax((2, 3), keepdim=True)  # 1 where there is an object at all
            masks = torch.cat([masks, shown * (1 - things)], dim=1)
        return masks

    def _morph(self, masks: Tensor) -> Tensor:
        if self.morph == "box":
            return _between(masks.amax(3, keepdim=True), 2) * _between(masks.amax(2, True), 3)
        if self.morph == "dilate":
            return self._grow(masks)
        return 1 - self._grow(1 - masks) if self.morph == "erode" else masks

    def _grow(self, masks: Tensor) -> Tensor:
        return F.max_pool2d(masks, 2 * self.radius + 1, stride=1, padding=self.radius)


def _between(marks: Tensor, dim: int) -> Tensor:
    """Fill what lies between the first and the last 1 along a dimension."""
    after = marks.cummax(dim).values
    return after * marks.flip(dim).cummax(dim).values.flip(dim)


@MASKERS.register("given", GivenSettings)
def _given(settings: GivenSettings, image_size: int) -> GivenMasker:
    return GivenMasker(settings.n_masks, settings.morph, settings.morph_radius)
