"""A folder of images of one's own: the paper's settings at 96 pixels, with a light mask network."""

from __future__ import annotations

from typing import Any

from seamask.recipes import shapes
from seamask.recipes.policies import SEAMASK, over_policies
from seamask.recipes.sourced import Sourced

YOURS: dict[str, Any] = {
    "data.source": Sourced("", "yours: --data DIR"),
    "precision": Sourced("auto", "ours: 1.5 to 2 times as fast; published recipes stay fp32"),
}
BASE: dict[str, Any] = {
    **YOURS,
    "image_size": 96,
    "encoder.backbone": "resnet18",
    "epochs": Sourced(200, "ours; [Seq] trains 500 epochs of 125,000 images"),
    "batch_size": Sourced(256, "[Seq] table 3"),
    "optim.encoder.lr": Sourced(0.11, "[Seq] table 3"),
    "optim.masker.lr": Sourced(0.0145, "[ADIOS] script simclr/ImageNet100s"),
    "log.probe_every": 20,
}

# Ours: a quarter of the mask network's cost.
LIGHTER: dict[str, Any] = {"masks.downscale": 2}

RECIPES = over_policies("folder", "your own images (--data DIR), ResNet-18, 96 px", BASE)
# For a CPU, which finishes a thousand images in minutes: the encoder and the optimisers of the
# built-in data, at the smallest size at which photos are still told apart.
SMALL: dict[str, Any] = {
    **{path: value for path, value in shapes.BASE.items() if path.startswith("optim.")},
    **{path: value for path, value in shapes.BASE.items() if path.startswith("objective.")},
    **SEAMASK,
    **YOURS,
    "encoder.backbone": shapes.BASE["encoder.backbone"],
    "encoder.stem": "standard",
    "image_size": 64,
    "epochs": 30,
    "batch_size": 64,
    "masks.width": 16,
    "masks.n_masks": 3,
    "log.probe_every": 10,
    "log.masks_every": 5,
}
RECIPES["folder-small"] = (
    "your own images on a CPU (--data DIR), tiny encoder, 64 px: ours",
    SMALL,
)
for _name in ("folder-adios", "folder-sequential"):
    RECIPES[_name] = (RECIPES[_name][0], {**RECIPES[_name][1], **LIGHTER})
