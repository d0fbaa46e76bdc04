"""Soft masks as boolean masks of patches, as MAE, iBOT and I-JEPA take them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seamask.base.errors import UserError, check_share
from seamask.masks.cells import check_patch


@torch.no_grad()
def token_masks(
    masks: Tensor, patch: int, keep: float | None = None, threshold: float | None = None
) -> Tensor:
    """Return which patches masks remove: those they remove most of.

    Args:
        masks: `[B, N, H, W]` in [0, 1], 1 = removed.
        patch: side of a patch in pixels, a divisor of H and W.
        keep: share of patches that stay, in [0, 1], the same in every mask: `round(keep · T)` of T,
            those with the least removed; of equals the first are removed. MAE keeps 0.25.
        threshold: or else, patches go of which more than this share is removed, in [0, 1].

    Returns:
        bool `[B, N, T]`, True = removed, T = H W / patch², row by row.

    Raises:
        UserError: a patch that does not divide the masks, not one of `keep` and `threshold`, or a
            share that is none.
    """
    if masks.ndim != 4:
        raise UserError(f"masks are {[*masks.shape]}: expected [B, N, H, W]")
    if (keep is None) == (threshold is None):
        raise UserError("give token_masks one of keep and threshold")
    check_patch(patch, *masks.shape[2:])
    shares = functional.avg_pool2d(masks.float(), patch).flatten(2)  # [B, N, T]
    if threshold is not None:
        check_share("threshold", threshold, ends=True)
        return shares.double() > threshold  # float32 would round the threshold
    assert keep is not None
    check_share("keep", keep, ends=True)
    tokens = shares.shape[2]
    order = shares.argsort(dim=2, descending=True, stable=True)
    removed = torch.zeros_like(shares, dtype=torch.bool)
    return removed.scatter(2, order[:, :, : tokens - round(keep * tokens)], True)
