"""Backbones: any timm model by name, with a stem that fits small images."""

from __future__ import annotations

import re
import sys
from typing import Any, Literal

import timm
import torch
from timm.models import register_model
from torch import nn

from seamask.base.errors import UserError, unknown
from seamask.networks.products import as_products

Stem = Literal["auto", "standard", "small"]

SMALL_STEM = "_small_stem"
SMALL_STEM_BELOW = 64  # pixels; the standard stem would leave 2×2 of a 32-pixel image


PATCHES = (16, 8, 4)  # pixels
LEAST_GRID = 6  # patches a side: ADIOS's 16 pixels of 96


def build_backbone(
    name: str,
    image_size: int,
    stem: Stem = "auto",
    patch: int = 0,
    zero_init_last: bool = False,
    channels: int = 3,
) -> tuple[nn.Module, str, dict[str, Any]]:
    """Build an encoder backbone with random weights that maps images to pooled features.

    Args:
        name: a timm model name.
        image_size: side of the images in pixels; decides the stem, and the size of a
            position-dependent model.
        stem: `small` replaces a ResNet's first convolution and max-pool by one 3×3 stride-1
            convolution (ADIOS, solo-learn at 32 px); `auto` does so below 64 px.
        patch: side in pixels of a ViT's patches; 0: that of its name, or the next of 16, 8 and 4
            that leaves at least 6×6 of them.
        zero_init_last: leave batch norms that timm starts at zero (the last of each residual
            branch) so; False starts all from ones, as ADIOS's and torchvision's ResNets do.
        channels: C of the images.

    Returns:
        The module, `[B, C, H, W]` → `[B, F]`; and the timm name and keyword arguments
        that build it again: `timm.create_model(name, num_classes=0, **arguments)`.

    Raises:
        UserError: an unknown model, or a small stem or a size of patches asked of a model that has
            none, or a size that it cannot take.
    """
    if not timm.is_model(name):
        raise unknown("backbone", name, timm.list_models())
    architecture, dot, _ = name.partition(".")
    if dot and name not in (known := timm.list_pretrained(f"{architecture}.*")):
        raise unknown("backbone", name, [architecture, *known])
    plain = architecture.removesuffix(SMALL_STEM)
    can_be_small = timm.is_model(plain + SMALL_STEM)
    if stem == "small" and not can_be_small:
        raise UserError(f"--encoder.stem small: {name} is not a ResNet and has no small stem")
    if stem == "auto" and can_be_small:
        stem = "small" if architecture != plain or image_size < SMALL_STEM_BELOW else "standard"
    small = stem == "small"
    name = plain + SMALL_STEM if small else name.removesuffix(SMALL_STEM)
    always = {} if channels == 3 else {"in_chans": channels}
    arguments = {**always, "img_size": image_size}
    if timm.models.is_model_in_modules(name, ["vision_transformer"]):
        arguments["patch_size"] = patch or _fitting_patch(name, image_size)
        if image_size % arguments["patch_size"]:
            raise UserError(
                f"{name} cannot take {image_size} pixels: patches of {arguments['patch_size']} "
                "do not divide them"
            )
    elif patch:
        raise UserError(f"--encoder.patch {patch}: {name} is not a ViT and has no patches")
    try:
        model = timm.create_model(name, num_classes=0, **arguments)
    except TypeError:  # a model that takes any size
        arguments = always
        model = timm.create_model(name, num_classes=0, **arguments)
    except (AssertionError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"--backbone {name} cannot take {image_size} pixels: {error}") from error
    if not zero_init_last:
        _start_from_ones(model)
    return as_products(model), name, arguments


@torch.no_grad()
def _start_from_ones(model: nn.Module) -> None:
    """Set the weights of batch norms that are all zero to one."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            weight = module.weight
            weight.add_((weight == 0).all().to(weight.dtype))


def _fitting_patch(name: str, image_size: int) -> int:
    named = re.search(r"patch(\d+)", name)
    own = int(named[1]) if named else PATCHES[0]
    sides = [own, *(p for p in PATCHES if p < own)]
    fits = [p for p in sides if image_size % p == 0 and image_size // p >= LEAST_GRID]
    return fits[0] if fits else sides[-1]


def _register_small_stems() -> None:
    """Register `<resnet>_small_stem` with timm, so that such weights load by name."""

    def register(plain: str) -> None:
        def build(
            pretrained: bool = False, pretrained_cfg: Any = None, **arguments: Any
        ) -> nn.Module:
            if pretrained and pretrained_cfg is None:
                raise UserError(f"{plain}{SMALL_STEM} has no pretrained weights")
            model: Any = timm.create_model(
                plain, pretrained=False, pretrained_cfg=pretrained_cfg, **arguments
            )
            width, channels = model.bn1.num_features, arguments.get("in_chans") or 3
            model.conv1 = nn.Conv2d(channels, width, 3, stride=1, padding=1, bias=False)
            nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
            model.maxpool = nn.Identity()
            for stage in model.feature_info:  # strides, which segmentation looks up
                stage["reduction"] = max(1, stage["reduction"] // 4)
            if pretrained:  # of a run's folder: `local-dir:`
                timm.models.load_pretrained(
                    model, model.pretrained_cfg, model.num_classes, channels
                )
            small: nn.Module = model
            return small

        build.__name__ = build.__qualname__ = plain + SMALL_STEM
        setattr(sys.modules[__name__], build.__name__, build)
        register_model(build)

    for plain in timm.list_models(module="resnet"):
        if not plain.endswith(SMALL_STEM):
            register(plain)


_register_small_stems()
