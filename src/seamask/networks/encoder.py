"""The encoder: a backbone and the head that its training objective asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from seamask.networks.tokens import encode_kept, most_kept


class Encoder(nn.Module):
    """`I` of the method: backbone, then head (the projector of SimCLR).

    Args:
        backbone: `[B, 3, H, W]` → features `[B, F]`.
        head: `[B, F]` → embeddings `[B, D]`.
        channels_last: memory layout of the images inside.

    Attributes:
        drop: share of a patch above which a ViT leaves a masked patch out, in (0, 1); 0: none is
            left out.
    """

    drop: float = 0.0

    def __init__(self, backbone: nn.Module, head: nn.Module, channels_last: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.layout)

    def forward(
        self, images: Tensor, mask: Tensor | None = None, longest: int | None = None
    ) -> Tensor:
        """Map images `[B, 3, H, W]` to `[B, D]`.

        `mask`, `[B, 1, H, W]`, says what was removed of them: patches that may be left out. Where
        they are, `longest` is what `most_kept` says of the mask.
        """
        if mask is not None and self.drop:
            features = encode_kept(cast(Any, self.backbone), images, mask, self.drop, longest)
        else:
            features = self.backbone(images.contiguous(memory_format=self.layout))
        return cast(Tensor, self.head(features))

    def most_kept(self, masks: Sequence[Tensor]) -> Sequence[int | None]:
        """Return how many patches of an image each mask `[B, 1, H, W]` leaves at most.

        None: none is left out. The device is waited for once, not in each pass.
        """
        if not self.drop or not masks or masks[0].requires_grad:
            return [None] * len(masks)
        return most_kept(cast(Any, self.backbone), masks, self.drop)


def projector(
    in_dim: int,
    hidden: Sequence[int] = (2048,),
    out_dim: int = 128,
    norm: bool = False,
    norm_last: bool = False,
) -> nn.Sequential:
    """Build a projector or predictor: linear maps with ReLU between (ADIOS code with SimCLR).

    Args:
        in_dim: width of the features.
        hidden: hidden widths; empty gives a single linear map (Sam et al. 2022).
        out_dim: width of the embeddings.
        norm: batch norm before each ReLU (BYOL, SimSiam).
        norm_last: batch norm, without scale and shift, after the last map too (SimSiam).
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(in_dim, width, bias=not norm)]
        layers += [nn.BatchNorm1d(width), nn.ReLU()] if norm else [nn.ReLU()]
        in_dim = width
    layers += [nn.Linear(in_dim, out_dim, bias=not norm_last)]
    if norm_last:
        layers += [nn.BatchNorm1d(out_dim, affine=False)]
    return nn.Sequential(*layers)
