"""Mask networks: the adversary that learns which regions an encoder misses most."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seamask.base.errors import UserError, check_whole
from seamask.base.precision import at_least_float32
from seamask.masks.budget import Budget
from seamask.masks.exact import exact_sigmoid
from seamask.masks.masker import MASKERS
from seamask.masks.resample import enlarged
from seamask.masks.settings import LearnedSettings, SequentialSettings
from seamask.masks.superpixels import clusters_of_views
from seamask.masks.unet import BOTTLENECK, Norm, UNet, both_sides, check_size


class _LearnedMasker(nn.Module):
    """U-Net features, run once for all masks; what follows turns them into masks.

    Args:
        n_masks: N, at least 1.
        image_size: (height, width) of the images in pixels, or one number for both, sides that the
            U-Net can take.
        width: base channels of the U-Net.
        norm: `instance` or `group`.
        downscale: 2 or 4 runs the U-Net on the image averaged over that many pixels and
            upsamples the masks bilinearly: about 4 or 16 times cheaper.
        blocks: levels of the U-Net; 0: what its side gives.
        bottleneck: hidden width of the MLP across its lowest level; 0: none.
        in_channels: of the images.

    Raises:
        UserError: fewer than one mask, or a size that the U-Net cannot take.
    """

    learned = True
    takes_shares = False

    def __init__(
        self,
        n_masks: int = 4,
        image_size: int | tuple[int, int] = 96,
        width: int = 32,
        norm: Norm = "instance",
        downscale: int = 1,
        blocks: int = 0,
        bottleneck: int = BOTTLENECK,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        check_whole("n_masks", n_masks, 1, 254)
        check_size(image_size, downscale, blocks)
        self.n_masks = n_masks
        self.downscale = downscale
        self.in_channels = in_channels
        self.sides = height, width_ = both_sides(image_size)
        inside = height // downscale, width_ // downscale
        self.unet = UNet(inside, width, norm, blocks, bottleneck, in_channels)
        self.head = self.head_of(width)

    def forward(self, images: Tensor, shares: Tensor | None = None) -> Tensor:
        """Map images `[B, C, H, W]`, normalised, to masks `[B, N, H, W]` in [0, 1], float32.

        Args:
            images: of the sides and channels given at construction.
            shares: what each mask removes exactly, `[B, N]` or `[B, 1]`, of those that can; None:
                what `own_shares` says.

        Raises:
            UserError: images of another shape.
        """
        if images.ndim != 4 or images.shape[1:] != (self.in_channels, *self.sides):
            height, width = self.sides
            raise UserError(
                f"this masker was made for images [B, {self.in_channels}, {height}, {width}] "
                f"({height}×{width} pixels), and is given {list(images.shape)}: "
                "make it with image_size=(H, W) and in_channels of the images"
            )
        shares = self.own_shares(images) if shares is None else shares
        if self.downscale > 1:
            images = F.avg_pool2d(images, self.downscale)
        masks = self.heads(self.unet(images), shares)
        if self.downscale > 1:
            masks = enlarged(masks, self.downscale)
        return masks

    def head_of(self, width: int) -> nn.Module:
        """Build what `heads` applies to features of `width` channels."""
        raise NotImplementedError

    def own_shares(self, images: Tensor) -> Tensor | None:
        """Return what each mask removes exactly if nothing is asked; None: as the network likes."""
        return None

    def heads(self, features: Tensor, shares: Tensor | None = None) -> Tensor:
        """Map features `[B, width, H, W]` to masks `[B, N, H, W]` of the shares, if there are."""
        raise NotImplementedError


class SimultaneousMasker(_LearnedMasker):
    """ADIOS's mask network: a softmax over the N masks at each pixel (Shi et al. 2022).

    The masks are disjoint and together remove everything.

    Args:
        n_masks: N, at least 1 (with 1, everything is removed).
        image_size: (height, width) of the images in pixels, or one number for both, sides that the
            U-Net can take.
        width: base channels of the U-Net.
        norm: `instance` or `group`.
        downscale: 2 or 4 runs the U-Net at 1/2 or 1/4 of the resolution.
        blocks: levels of the U-Net; 0: what its side gives.
        bottleneck: hidden width of the MLP across its lowest level; 0: none.
        in_channels: of the images.

    Raises:
        UserError: fewer than one mask, or a size that the U-Net cannot take.
    """

    disjoint = True

    def head_of(self, width: int) -> nn.Module:
        """Build one convolution for all masks."""
        return nn.Conv2d(width, self.n_masks, 1)

    def heads(self, features: Tensor, shares: Tensor | None = None) -> Tensor:
        """Map features `[B, width, H, W]` to masks `[B, N, H, W]` that sum to 1."""
        return at_least_float32(self.head(features)).softmax(dim=1)


class SequentialMasker(_LearnedMasker):
    """The sequential mask network: each mask sees the ones before it (Sam et al. 2022).

    `m^k = sigmoid(head_k([features, m^1 … m^(k−1)]))`, every head a 1×1 convolution.

    Two things go past the paper. Disjoint masks break a stick: each acts on what those before it
    left, `m^k = r^k · sigmoid(·)`, `r^k = 1 − Σ_{j<k} m^j`. With an exact budget every mask removes
    just that share of every image (see `exact_sigmoid`).

    Args:
        n_masks: N, at least 1.
        image_size: (height, width) of the images in pixels, or one number for both, sides that the
            U-Net can take.
        width: base channels of the U-Net.
        norm: `instance` or `group`.
        downscale: 2 or 4 runs the U-Net at 1/2 or 1/4 of the resolution.
        detach: cut the gradient through earlier masks.
        disjoint: no pixel is removed by two masks.
        budget: what masks remove where `shares` are not given: if it is exact, its share at the
            end of the training, or the areas of clusters that are computed here, which is slow.
        superpixels: of an image whose clusters are computed, about.
        blocks: levels of the U-Net; 0: what its side gives.
        bottleneck: hidden width of the MLP across its lowest level; 0: none.
        in_channels: of the images.

    Raises:
        UserError: fewer than one mask, a size that the U-Net cannot take, or disjoint masks whose
            exact shares add up to more than the image, or superpixels of what has not three
            channels.
    """

    takes_shares = True

    def __init__(
        self,
        n_masks: int = 4,
        image_size: int | tuple[int, int] = 96,
        width: int = 32,
        norm: Norm = "instance",
        downscale: int = 1,
        detach: bool = False,
        disjoint: bool = False,
        budget: Budget | None = None,
        superpixels: int = 100,
        blocks: int = 0,
        bottleneck: int = BOTTLENECK,
        in_channels: int = 3,
    ) -> None:
        super().__init__(
            n_masks, image_size, width, norm, downscale, blocks, bottleneck, in_channels
        )
        self.budget = budget if budget and budget.exact else None
        if self.budget and disjoint and self.budget.of == "image":
            most = max(self.budget.at(0), self.budget.at(1))
            if n_masks * most > 1:
                raise UserError(
                    f"{n_masks} disjoint masks cannot remove {most:g} of an image each: "
                    f"take a budget of exact:{1 / n_masks:.2g} or less, or fewer masks"
                )
        if self.budget and self.budget.of == "superpixels" and in_channels not in (1, 3):
            raise UserError(
                f"in_channels is {in_channels}: superpixels, by which the budget goes, are of "
                "images with 3 channels, or 1"
            )
        self.detach, self.disjoint, self.superpixels = detach, disjoint, superpixels

    def head_of(self, width: int) -> nn.ModuleList:
        """Build a head for each mask, which is given features and the masks before it."""
        return nn.ModuleList(nn.Conv2d(width + k, 1, 1) for k in range(self.n_masks))

    def own_shares(self, images: Tensor) -> Tensor | None:
        """Return what each mask removes exactly if nothing is asked, `[B, N]` or `[B, 1]`."""
        if self.budget is None:
            return None
        followed = self.budget.of == "superpixels"
        clusters = clusters_of_views(images, self.n_masks, self.superpixels) if followed else None
        return self.budget.target(images, clusters, self.n_masks)

    def heads(self, features: Tensor, shares: Tensor | None = None) -> Tensor:
        """Map features `[B, width, H, W]` to masks `[B, N, H, W]`, each given those before.

        What the heads make of the features is one product for all; what they make of earlier masks
        is added mask by mask. Equal to one convolution per head over features and masks.
        """
        width = features.shape[1]
        heads = [cast(nn.Conv2d, head) for head in cast(nn.ModuleList, self.head)]
        weights = torch.cat([head.weight[:, :width, :, 0] for head in heads], dim=2)
        weights = weights.mT.expand(len(features), -1, -1)  # [B, N, width]
        biases = torch.cat([cast(Tensor, head.bias) for head in heads])[:, None]  # [N, 1]
        alone = torch.baddbmm(biases, weights, features.flatten(2))  # [B, N, H · W]
        alone = at_least_float32(alone).unflatten(2, features.shape[2:])  # areas need it
        shares = None if shares is None else shares.expand(-1, len(heads))  # [B, N]
        masks: list[Tensor] = []
        room: Tensor | None = None  # [B, 1, H, W]: what earlier masks left, if they are disjoint
        for k, head in enumerate(heads):
            logits = alone[:, k : k + 1]
            for j, earlier in enumerate(masks):
                seen = earlier.detach() if self.detach else earlier
                logits = logits + head.weight[:, width + j] * seen
            if shares is not None:
                mask = exact_sigmoid(logits, shares[:, k : k + 1], room)
            else:
                mask = logits.sigmoid() if room is None else room * logits.sigmoid()
            masks.append(mask)
            if self.disjoint:
                taken = mask.detach() if self.detach else mask
                left = 1 - taken if room is None else room - taken
                room = left.clamp(min=0)
        return torch.cat(masks, dim=1)


@MASKERS.register("simultaneous", LearnedSettings)
def _simultaneous(
    settings: LearnedSettings, image_size: int, channels: int = 3
) -> SimultaneousMasker:
    more = _network(settings)
    return SimultaneousMasker(settings.n_masks, image_size, in_channels=channels, **more)


@MASKERS.register("sequential", SequentialSettings)
def _sequential(
    settings: SequentialSettings, image_size: int, channels: int = 3
) -> SequentialMasker:
    return SequentialMasker(
        settings.n_masks,
        image_size,
        detach=settings.detach,
        disjoint=settings.disjoint,
        budget=settings.budget,
        superpixels=settings.superpixels,
        in_channels=channels,
        **_network(settings),
    )


def _network(settings: LearnedSettings) -> dict[str, Any]:
    return {
        "width": settings.width,
        "norm": settings.norm,
        "downscale": settings.downscale,
        "blocks": settings.blocks,
        "bottleneck": settings.bottleneck,
    }
