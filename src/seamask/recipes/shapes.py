"""The built-in data: small enough for a few minutes on two CPU cores."""

from __future__ import annotations

from typing import Any

from seamask.masks.budget import Budget
from seamask.recipes.policies import ADIOS, RANDOM_BLOCK, SEAMASK, SIMCLR
from seamask.recipes.sourced import Sourced

# No published counterpart. Chosen with probes on scenes other than the held-out ones (those had
# another `TEST_START` then), for what they give in five minutes on a CPU.
BASE: dict[str, Any] = {
    "data.source": "shapes",
    "data.shapes_train": 3072,
    "image_size": 40,
    "encoder.backbone": Sourced("test_resnet", "timm's smallest ResNet: 0.4 M parameters"),
    "encoder.stem": "standard",
    "epochs": 16,
    "batch_size": 64,
    # Class is shape: views vary the colour fully and leave outlines readable.
    "views.scale": (0.5, 1.0),
    "views.brightness": 0.4,
    "views.contrast": 0.4,
    "views.saturation": 0.4,
    "views.hue": 0.5,
    "views.grayscale": 0.5,
    "views.blur": 0.0,
    "masks.width": 16,
    "masks.downscale": 2,
    "optim.encoder.optimizer": "adamw",
    "optim.encoder.lr": 4e-3,
    "optim.masker.optimizer": "adamw",
    "optim.masker.lr": Sourced(
        4e-3, "with 1e-3 masks are still soft when so short a training ends"
    ),
    "optim.warmup_epochs": 1,
    "optim.warmup_start": 0.0,
    "optim.per": "step",
    "objective.hidden": (256,),
    "objective.out_dim": 64,
    "log.masks_every": 4,
}

MASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "seamask": (
        "ours: learned masks that follow the image, in a few minutes on a CPU",
        # At a quarter of 40 pixels masks are coarse: half is as far as they are light here.
        {**SEAMASK, "masks.n_masks": 3, "masks.budget": Budget(0.2), "masks.downscale": 2},
    ),
    "sequential": (
        "sequential learned masks under a budget",
        {
            "masks.masker": "sequential",
            "masks.n_masks": 3,
            "masks.budget": Budget(0.2),
            "penalties.budget": 5.0,
            "penalties.overlap": Sourced(
                3e-4, "3 × [Seq]: below 96 px its weight leaves near copies"
            ),
        },
    ),
    "simclr": ("no masks", SIMCLR),
    "random-block": (
        "random blocks, as many and as large as those of -sequential",
        {**RANDOM_BLOCK, "masks.n_masks": 3, "masks.ratio": 0.2},
    ),
    "adios": (
        "simultaneous learned masks",
        {**ADIOS, "masks.n_masks": 3},
    ),
}

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    f"shapes-{policy}": (f"built-in scenes, tiny encoder, 40 px: {line}", {**BASE, **masks})
    for policy, (line, masks) in MASKS.items()
}
