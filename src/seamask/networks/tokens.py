"""ViTs that leave masked patches out of their sequence. Not in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.errors import UserError

if TYPE_CHECKING:  # timm takes longer to import than torch
    from timm.models.vision_transformer import VisionTransformer

FAINT = 1e-6  # the least weight of a token, so that its logarithm and its gradient are finite
NOTHING = 1e-30  # of one that is left out and only fills a sequence up: lost in any rounding


def check_drops(backbone: nn.Module, name: str) -> None:
    """Refuse a backbone whose tokens cannot be left out.

    Raises:
        UserError: it is no plain ViT with a class token or average pooling.
    """
    from timm.models.vision_transformer import VisionTransformer

    plain = isinstance(backbone, VisionTransformer) and backbone.global_pool in ("token", "avg")
    if not plain or getattr(backbone.patch_embed, "proj", None) is None:
        raise UserError(
            f"--masks.drop: {name} has no tokens to leave out: take a ViT such as "
            "vit_tiny_patch16_224, or --masks.drop 0"
        )


class Kept(NamedTuple):
    """What a ViT made of the tokens that are left to it.

    Attributes:
        first: class token and the like, `[B, P, D]`.
        tokens: of patches, `[B, T', D]`.
        weight: the share of each patch that is kept, `[B, T']`.
        places: of these tokens among all T, `[B, T']`; None: all are there, in their order.
        total: T.
    """

    first: Tensor
    tokens: Tensor
    weight: Tensor
    places: Tensor | None
    total: int

    def spread(self) -> tuple[Tensor, Tensor]:
        """Return tokens `[B, T, D]` and their weights `[B, T, 1]`, 0 where none was kept."""
        weight = self.weight[:, :, None]
        if self.places is None:
            return self.tokens, weight
        at = self.places[:, :, None]
        batch, _, width = self.tokens.shape
        tokens = self.tokens.new_zeros(batch, self.total, width)
        return (
            tokens.scatter(1, at.expand_as(self.tokens), self.tokens),
            weight.new_zeros(batch, self.total, 1).scatter(1, at, weight),
        )


def encode_kept(
    vit: VisionTransformer,
    images: Tensor,
    mask: Tensor,
    threshold: float,
    longest: int | None = None,
) -> Tensor:
    """Encode images whose masked patches are left out; see `kept_tokens`.

    Returns:
        Features `[B, F]`.
    """
    first, tokens, weight, _, _ = kept_tokens(vit, images, mask, threshold, longest)
    if vit.global_pool == "avg":
        share = weight / weight.sum(1, keepdim=True)
        x = (tokens * share[:, :, None]).sum(1)
    else:
        x = vit.pool(torch.cat([first, tokens], dim=1))
    features: Tensor = vit.head(vit.head_drop(vit.fc_norm(x)))
    return features


def most_kept(vit: VisionTransformer, masks: Sequence[Tensor], threshold: float) -> list[int]:
    """Return how many patches of an image each of some masks `[B, 1, H, W]` leaves at most.

    The device is waited for once. The masks are of one shape.
    """
    kept = [1 - _weights(vit, mask) <= threshold for mask in masks]
    found: list[int] = torch.stack(kept).sum(2).amax(1).clamp(min=1).tolist()
    return found


def _weights(vit: VisionTransformer, mask: Tensor) -> Tensor:
    """Return the share of each patch that is kept, `[B, T]`."""
    return 1 - F.avg_pool2d(mask, vit.patch_embed.patch_size).flatten(1)


def kept_tokens(
    vit: VisionTransformer,
    images: Tensor,
    mask: Tensor,
    threshold: float,
    longest: int | None = None,
) -> Kept:
    """Encode images whose masked patches are left out of the sequence of tokens.

    Their pixels are removed already. On top, every other token attends to a token with the weight
    w, the share of its patch that is kept: log w is added to the attention's logits, so that w = 0
    is the same as leaving it out. Tokens with 1 − w above the threshold are left out, and the
    sequences of a batch cut to the longest. Where a gradient for the mask is wanted, all tokens
    stay, those that would be left out with a weight next to 0: so both players see one loss (but
    for images of which nothing is kept: what they are worth is arbitrary). The gradient goes
    through pixels and weights, straight through to the w of those: what it would bring to attend to
    them again.

    Args:
        vit: with a class token or average pooling.
        images: `[B, 3, H, W]`, without what the mask removes.
        mask: `[B, 1, H, W]` in [0, 1], 1 = removed.
        threshold: in (0, 1), a share of a patch.
        longest: what `most_kept` says of the mask; None: it is asked, and the device waited for.

    Returns:
        The last block's tokens, after its norm.
    """
    prefix = vit.num_prefix_tokens
    tokens = vit._pos_embed(vit.patch_embed(images))  # [B, P + T, D]
    first, tokens = tokens[:, :prefix], tokens[:, prefix:]
    weight = _weights(vit, mask)
    order, total = None, weight.shape[1]
    left_out = 1 - weight > threshold
    # Exactly faint, whatever the precision; a clamp would give a patch that is gone no gradient.
    faint = FAINT + (weight - weight.detach())
    weight = torch.where(left_out | (weight < FAINT), faint, weight)
    if not mask.requires_grad:
        if longest is None:
            (longest,) = most_kept(vit, [mask], threshold)
        order = left_out.byte().argsort(dim=1, stable=True)[:, :longest]  # [B, T'], the kept first
        weight = weight.masked_fill(left_out, NOTHING).gather(1, order)
        tokens = tokens.gather(1, order[:, :, None].expand(-1, -1, tokens.shape[2]))
    bias = F.pad(weight.log(), (prefix, 0))[:, None, None]  # [B, 1, 1, P + T']
    x = vit.norm_pre(torch.cat([first, tokens], dim=1))
    for block in vit.blocks:
        x = block(x, attn_mask=bias.to(x.dtype))
    x = vit.norm(x)
    return Kept(x[:, :prefix], x[:, prefix:], weight, order, total)
