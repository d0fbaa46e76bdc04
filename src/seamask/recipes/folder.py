"""A folder of images of one's own: the paper's settings at 96 pixels, with a light mask network."""

from __future__ import annotations

from typing import Any

from seamask.recipes.policies import SEAMASK, SEQUENTIAL
from seamask.recipes.sourced import Sourced

BASE: dict[str, Any] = {
    "image_size": 96,
    "encoder.backbone": "resnet18",
    "epochs": Sourced(200, "ours; [Seq] trains 500 epochs of 125,000 images"),
    "batch_size": Sourced(256, "[Seq] table 3"),
    "optim.encoder.lr": Sourced(0.11, "[Seq] table 3"),
    "optim.masker.lr": Sourced(0.0145, "[ADIOS] script simclr/ImageNet100s"),
    "log.probe_every": 20,
}

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "folder-seamask": (
        "your own images (--data DIR), ResNet-18, 96 px: ours: masks that follow the image",
        {**BASE, **SEAMASK},
    ),
    "folder-sequential": (
        "your own images (--data DIR), ResNet-18, 96 px: sequential learned masks under a budget",
        # Ours: a quarter of the mask network's cost.
        {**BASE, **SEQUENTIAL, "masks.downscale": 2},
    ),
}
