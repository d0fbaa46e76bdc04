"""What a network sees of images of which a mask removes something."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Masked(NamedTuple):
    """Images, what is removed of them, and what stands there instead.

    Attributes:
        images: `[B, C, H, W]`, normalised.
        mask: `[B, 1, H, W]` in [0, 1], 1 = removed; None: nothing is.
        fill: `[B, C, H, W]`, what stands where something was removed; None: zero, the mean colour.
        longest: what `Encoder.most_kept` says of the mask, if it was asked.
    """

    images: Tensor
    mask: Tensor | None = None
    fill: Tensor | None = None
    longest: int | None = None

    def seen(self) -> Tensor:
        """Return `x (1 − m) + fill m`, `[B, C, H, W]`; its gradient for m is `fill − x`."""
        if self.mask is None:
            return self.images
        left = self.images * (1 - self.mask)
        return left if self.fill is None else left + self.fill * self.mask
