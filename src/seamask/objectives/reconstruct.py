"""Masked image modelling: the removed pixels are predicted from what is left.

SimMIM (Xie et al., CVPR 2022) with any backbone that has a map of features; with patches left out
of a ViT (`--masks.drop`) and a decoder of some depth it is MAE (He et al., CVPR 2022).
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.errors import UserError
from seamask.base.precision import at_least_float32
from seamask.networks.check import channels_of
from seamask.networks.encoder import Encoder
from seamask.networks.maps import feature_map, grid_of_tokens
from seamask.networks.tokens import kept_tokens
from seamask.objectives.base import OBJECTIVES, Objective
from seamask.objectives.settings import ReconstructSettings

HEAD = 32  # width of an attention head (MAE's decoder: 512 wide, 16 heads)
EPSILON = 1e-5  # SimMIM's code


class Decoder(nn.Module):
    """Map of features `[B, F, h, w]` → pixels `[B, C, s h, s w]`: one linear map (SimMIM).

    Args:
        features: F.
        stride: s, pixels a side that one place stands for.
        channels: C.
        depth: transformer blocks before it (MAE), over all places.
        width: of these blocks, a multiple of 32.
    """

    def __init__(self, features: int, stride: int, channels: int, depth: int, width: int) -> None:
        super().__init__()
        self.width = width
        if depth:
            self.embed = nn.Linear(features, width)
            self.removed = nn.Parameter(0.02 * torch.randn(width))  # stands where nothing was seen
            block = nn.TransformerEncoderLayer(
                width, width // HEAD, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            norm = nn.LayerNorm(width)
            self.blocks = nn.TransformerEncoder(block, depth, norm, enable_nested_tensor=False)
        self.pixels = nn.Conv2d(width if depth else features, stride**2 * channels, 1)
        self.shuffle = nn.PixelShuffle(stride)

    def forward(self, features: Tensor, seen: Tensor | None = None) -> Tensor:
        """Decode features `[B, F, h, w]` of which a share `seen`, `[B, 1, h, w]`, is there."""
        if hasattr(self, "blocks"):
            x = self.embed(features.flatten(2).mT)  # [B, h · w, width]
            if seen is not None:
                share = seen.flatten(2).mT
                x = share * x + (1 - share) * self.removed
            x = self.blocks(x + places(features, self.width))
            features = x.mT.unflatten(2, features.shape[2:])
        decoded: Tensor = self.shuffle(self.pixels(features))
        return decoded


def places(features: Tensor, width: int) -> Tensor:
    """Return the fixed sine and cosine codes of the places of `[B, F, h, w]`: `[h · w, width]`."""
    rate = 1e4 ** -torch.arange(0, 1, 4 / width, dtype=features.dtype, device=features.device)
    codes = []
    for side in features.shape[2:]:
        angle = torch.arange(side, dtype=features.dtype, device=features.device)[:, None] * rate
        codes.append(torch.cat([angle.sin(), angle.cos()], dim=1))  # [side, width / 2]
    y, x = codes
    return torch.cat([y.repeat_interleave(len(x), 0), x.repeat(len(y), 1)], dim=1)


class ReconstructingEncoder(Encoder):
    """Returns the pixels that it predicts, flat, and behind them the mean of its features.

    Args:
        backbone: with a map of features.
        head: the decoder.
        channels_last: memory layout of the images inside.
    """

    def forward(
        self, images: Tensor, mask: Tensor | None = None, longest: int | None = None
    ) -> Tensor:
        """Map images `[B, C, H, W]`, of which `mask` `[B, 1, H, W]` was removed, to
        `[B, C · H · W + F]`.
        """
        seen = None
        if mask is not None and self.drop:
            vit = cast(Any, self.backbone)
            tokens, weight = kept_tokens(vit, images, mask, self.drop, longest).spread()
            features, seen = grid_of_tokens(tokens, images), grid_of_tokens(weight, images)
        else:
            features = feature_map(self.backbone, images.contiguous(memory_format=self.layout))
        height, width = images.shape[2:]
        pixels = self.head(features, seen)[:, :, :height, :width]
        return torch.cat([pixels.flatten(1), features.mean((2, 3))], dim=1)


@OBJECTIVES.register("reconstruct", ReconstructSettings)
class Reconstruct(Objective):
    """The mean error over removed pixels, of each image: `Σ m |x − x̂| / Σ m`.

    ℓ1 (SimMIM) or the square (MAE) of pixels, or of pixels normalised in each patch (MAE's
    `norm_pix_loss`, patches being what one place of the last map stands for). The mean is over
    images, which equals theirs where all masks are of one size. The masker's gradient comes through
    the view that it blanks and through the pixels that count. No clean view is encoded.
    """

    def encoder(self, backbone: nn.Module, n_features: int, channels_last: bool = True) -> Encoder:
        """Build backbone and decoder.

        Raises:
            UserError: a backbone without a map of features, or a decoder of an odd width.
        """
        c = self.config
        if c.decoder and c.decoder_width % HEAD:
            raise UserError(
                f"--objective.decoder-width is {c.decoder_width}: it must be a multiple of {HEAD}"
            )
        info = getattr(backbone, "feature_info", None)
        if not info or not hasattr(backbone, "forward_features"):
            raise UserError(
                f"--objective reconstruct needs a backbone with a map of features, and "
                f"{type(backbone).__name__} tells of none: take a ResNet or a ViT"
            )
        self.stride = int(info[-1]["reduction"])
        features = int(getattr(backbone, "num_features", n_features))
        self.features = features
        decoder = Decoder(features, self.stride, channels_of(backbone), c.decoder, c.decoder_width)
        return ReconstructingEncoder(backbone, decoder, channels_last)

    def of_view(self, encoded: Tensor, images: Tensor, mask: Tensor) -> Tensor:
        """Return the error of each image over what its mask removed, `[B]`.

        Args:
            encoded: what the encoder returned of the masked view.
            images: `[B, C, H, W]`, of which nothing is removed.
            mask: `[B, 1, H, W]` in [0, 1], 1 = removed.

        Raises:
            UserError: patches to be normalised that do not divide the images.
        """
        predicted = at_least_float32(encoded[:, : images[0].numel()]).view(images.shape)
        target = at_least_float32(images)
        if self.config.normalise:
            target = normalised(target, self.stride)
        wrong = predicted - target
        error = (wrong.abs() if self.config.pixels == "l1" else wrong.square()).mean(1)
        weight = at_least_float32(mask[:, 0])
        return (weight * error).sum((1, 2)) / (weight.sum((1, 2)) + EPSILON)

    def range(self, batch_size: int) -> float:
        """Return 1: about the error of the mean colour, of images of variance 1."""
        return 1.0

    def embedding(self, encoded: Tensor) -> Tensor:
        """Return the mean features `[B, F]`."""
        return encoded[:, -self.features :]


def normalised(images: Tensor, patch: int) -> Tensor:
    """Return images `[B, C, H, W]` with mean 0 and variance 1 in each patch (MAE's code).

    Raises:
        UserError: a patch that does not divide the images.
    """
    height, width = images.shape[2:]
    if height % patch or width % patch:
        raise UserError(
            f"--objective.normalise: patches of {patch} pixels do not divide {height}×{width}: "
            "take another --image-size or --backbone"
        )
    patches = F.unfold(images, patch, stride=patch)  # [B, C · patch², L]
    mean, variance = patches.mean(1, keepdim=True), patches.var(1, keepdim=True)
    patches = (patches - mean) / (variance + 1e-6).sqrt()
    return F.fold(patches, (height, width), patch, stride=patch)
