"""Masks that meet their budget exactly, instead of paying for missing it. Not in the paper."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seamask.base.errors import check_share
from seamask.base.precision import at_least_float32, in_float64

LARGEST = 1e4  # logits are clamped to ± this: beyond it a sigmoid is 0 or 1 in any precision
TOLERANCE = 1e-7  # of the share removed
STEPS = 64  # at most; about eight are taken
UNSEEN = 40  # where nobody may look whether that is enough: in a CUDA graph
LOOK = 4  # steps between two looks on a GPU, which waits for each


def exact_sigmoid(logits: Tensor, budget: float | Tensor, room: Tensor | None = None) -> Tensor:
    """Return masks that remove exactly a share b of each image: `room · σ(logits + t)`.

    The bias t, one a mask, solves `mean(room · σ(logits + t)) = b` (safeguarded Newton in float64);
    its gradient comes from the implicit function theorem, so that gradients move *where* a mask
    removes and never how much. A mask whose room is no more than b takes all of it.

    Args:
        logits: `[..., H, W]`, any floating dtype.
        budget: b in (0, 1), a number or `[...]`; its gradient is given too.
        room: `[..., H, W]` in [0, 1]: the most that may be removed at each pixel; None: 1.

    Returns:
        Masks `[..., H, W]` in at least float32; their share of removed pixels is b to 1e-6 of
        float32 rounding, whatever the logits.

    Raises:
        UserError: a number that is no share.
    """
    if not isinstance(budget, Tensor):
        check_share("budget", budget)
    logits = at_least_float32(logits)
    shares = torch.as_tensor(budget, dtype=logits.dtype, device=logits.device)
    room = logits.new_ones(()) if room is None else room.to(logits.dtype)
    masks: Tensor = _ExactSigmoid.apply(
        logits, shares.expand(logits.shape[:-2]), room.expand(logits.shape)
    )
    return masks


class _ExactSigmoid(torch.autograd.Function):
    """m = r σ(l + t), t such that mean(m) = b. With s = r σ' and g the gradient of the masks:

    t' = −(Σ s l' + Σ σ r' − n b') / Σ s, hence with G = Σ g s / Σ s
    ∂l = s (g − G), ∂r = σ (g − G), ∂b = n G.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, budget: Tensor, room: Tensor) -> Tensor:
        wide = in_float64(logits.detach()).clamp(-LARGEST, LARGEST).flatten(-2)
        free = in_float64(room.detach()).flatten(-2)
        look = LOOK if logits.is_cuda else 1
        if logits.is_cuda and torch.cuda.is_current_stream_capturing():
            look = 0
        bias, full = _solve(wide, in_float64(budget.detach()), free, look)
        share = torch.sigmoid(wide + bias[..., None])
        share = torch.where(full[..., None], 1.0, share).view_as(logits)
        share = share.to(logits.dtype).to(logits.device)
        ctx.save_for_backward(share, room)
        return share * room

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        share, room = ctx.saved_tensors
        slope = room * share * (1 - share)  # [..., H, W]
        total = slope.sum((-2, -1), keepdim=True)
        # Where every pixel is saturated nothing moves: no gradient, rather than 0 / 0.
        moves = total > torch.finfo(total.dtype).tiny
        common = (gradient * slope).sum((-2, -1), keepdim=True) / torch.where(moves, total, 1.0)
        common = torch.where(moves, common, 0.0)
        free = torch.where(moves, gradient - common, gradient)
        pixels = share.shape[-2] * share.shape[-1]
        return slope * free, pixels * common[..., 0, 0], share * free


def _solve(logits: Tensor, budget: Tensor, room: Tensor, look: int = 1) -> tuple[Tensor, Tensor]:
    """Solve mean(room · σ(logits + t)) = b for t by Newton's method, kept inside a bracket.

    Args:
        logits: float64 `[..., P]`.
        budget: float64 `[...]`.
        room: float64 `[..., P]` in [0, 1].
        look: steps between two looks whether these were enough; 0: never, a fixed number is taken.
            A mask whose budget is met stays as it is, so the answer is the same.

    Returns:
        t `[...]`, and where there is no more room than b `[...]`: there t means nothing.
    """
    available = room.mean(-1)
    full = available <= budget
    # With all logits equal the answer is logit(b / available) − logit: the bracket at its widest.
    level = torch.logit((budget / available.clamp(min=1e-300)).clamp(1e-15, 1 - 1e-15))
    low, high = level - logits.amax(-1), level - logits.amin(-1)
    # The quantile that splits off the share b is near the answer when masks are nearly binary.
    bias = (level - logits.mean(-1)).clamp(low, high)
    for taken in range(1, 1 + (STEPS if look else UNSEEN)):
        share = torch.sigmoid(logits + bias[..., None])
        value = (room * share).mean(-1) - budget
        met = (value.abs() <= TOLERANCE) | full
        if look and taken % look == 0 and bool(met.all()):
            break
        low, high = torch.where(value < 0, bias, low), torch.where(value > 0, bias, high)
        step = bias - value / (room * share * (1 - share)).mean(-1).clamp(min=1e-300)
        inside = (step > low) & (step < high)
        step = torch.where(inside, step, (low + high) / 2)
        bias = torch.where(met, bias, step)  # a mask is the same whatever others are in the batch
    return bias, full
