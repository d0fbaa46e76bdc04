"""Binary masks with a straight-through gradient, of pixels or of whole patches."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.masks.cells import cells_of, strongest, to_pixels


def straight_through(masks: Tensor, patch: int = 1, disjoint: bool = False) -> Tensor:
    """Return binary masks that pass their gradient on to the soft ones as it comes.

    Each removes the cells where it is strongest, as many as it removes in all, so that budgets are
    met as before, and a mask that has not decided yet is not empty, as it would be beyond ½.

    Args:
        masks: `[B, N, H, W]` in [0, 1].
        patch: side in pixels of cells that go or stay whole, such as the patches of a ViT, which
            can then leave them out; it must divide H and W.
        disjoint: the masks of an image share its pixels, and so do the binary ones: each chooses
            among what those before it left.

    Returns:
        `[B, N, H, W]` of zeros and ones; the gradient is that of the means over cells.

    Raises:
        UserError: a patch that does not divide the image.
    """
    cells_of(masks, patch)
    soft = F.avg_pool2d(masks, patch) if patch > 1 else masks  # [B, N, R, C]
    with torch.no_grad():
        shares = soft.mean((2, 3))  # [B, N]
        hard = _in_turn(soft, shares) if disjoint else strongest(soft, shares)
    return to_pixels(hard.to(soft.dtype) + (soft - soft.detach()), masks)


def _in_turn(soft: Tensor, shares: Tensor) -> Tensor:
    """Return bool `[B, N, R, C]`: the strongest cells of each mask that are left to it."""
    cells = soft.shape[2] * soft.shape[3]
    ends = (shares.cumsum(1) * cells).round() / cells  # together they round as their sum does
    shares = ends.diff(dim=1, prepend=torch.zeros_like(ends[:, :1]))
    free = torch.ones_like(soft[:, 0], dtype=torch.bool)
    taken = []
    for mask, share in zip(soft.unbind(1), shares.unbind(1), strict=True):
        taken.append(strongest(mask.masked_fill(~free, -1), share) & free)
        free = free & ~taken[-1]
    return torch.stack(taken, dim=1)


def make_hard(masker: nn.Module, patch: int = 1) -> None:
    """Let all masks that a masker gives from now on go through `straight_through`."""
    disjoint = bool(getattr(masker, "disjoint", False))

    def harden(module: nn.Module, given: Any, masks: Tensor) -> Tensor:
        return straight_through(masks, patch, disjoint)

    masker.register_forward_hook(harden)
