"""ImageNet100s: ImageNet-100 resized to 96×96 pixels ([Seq] tables 1 and 2).

[ADIOS] crops its 96-pixel views from full-size files instead: `seamask data imagenet100s
--size 256` and `--data.size 256` come close. See docs/reproduce.md.
"""

from __future__ import annotations

from seamask.recipes.policies import over_policies
from seamask.recipes.sourced import Sourced

RECIPES = over_policies(
    "imagenet100s",
    "ImageNet100s, ResNet-18, 96 px",
    {
        "data.source": "imagenet100s",
        "image_size": 96,
        "encoder.backbone": "resnet18",
        "epochs": Sourced(500, "[Seq] table 3"),
        "batch_size": Sourced(256, "[Seq] table 3; [ADIOS] script 128"),
        "optim.encoder.lr": Sourced(0.11, "[Seq] table 3; [ADIOS] script 0.1113"),
        "optim.encoder.weight_decay": Sourced(1e-4, "[ADIOS] script; [Seq] gives none"),
        "optim.masker.lr": Sourced(0.0145, "[ADIOS] script"),
        "optim.masker.weight_decay": Sourced(1e-4, "[ADIOS] script"),
        "masks.width": Sourced(32, "[ADIOS] script"),
        "masks.norm": Sourced("instance", "[ADIOS] script"),
        "log.masks_every": 5,
    },
)
