"""STL-10, pretraining on train + unlabeled: 105,000 images of 96×96 pixels ([Seq] table 1)."""

from __future__ import annotations

from seamask.recipes.policies import over_policies
from seamask.recipes.sourced import Sourced

RECIPES = over_policies(
    "stl10",
    "STL-10, ResNet-18, 96 px",
    {
        "data.source": "stl10",
        "image_size": 96,
        "encoder.backbone": "resnet18",
        "epochs": Sourced(500, "[Seq] table 3; [ADIOS] script 400"),
        "batch_size": Sourced(256, "[Seq] table 3, [ADIOS] script"),
        "optim.encoder.lr": Sourced(0.11, "[Seq] table 3; [ADIOS] script 0.1323"),
        "optim.encoder.weight_decay": Sourced(8.5e-5, "[ADIOS] script; [Seq] gives none"),
        "optim.masker.lr": Sourced(0.0195, "[ADIOS] script"),
        "optim.masker.weight_decay": Sourced(8.5e-5, "[ADIOS] script"),
        # ADIOS's script has width 128 with group norm: 4.6 GMAC against the encoder's 0.33.
        "masks.width": 32,
        "masks.norm": "instance",
        "objective.out_dim": Sourced(256, "[ADIOS] script"),
        "log.masks_every": 5,
    },
)
