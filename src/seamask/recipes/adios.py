"""ADIOS as its own scripts have it, beside SimCLR: BYOL, SimSiam and ViT-Tiny at 96 pixels.

[ADIOS] bash_files/training/<data>/{resnet18,vittiny}/*_adios.sh. Scripts sum losses over masks,
wrap SGD in LARS and step the cosine per epoch, as the `-adios` recipes do.
"""

from __future__ import annotations

from typing import Any

from seamask.recipes.policies import ADIOS
from seamask.recipes.sourced import Sourced

BASE: dict[str, Any] = {
    **ADIOS,
    "image_size": 96,
    "encoder.backbone": "resnet18",
    "batch_size": 128,
    "masks.norm": "group",
    "penalties.entropy": 0.0,
    "log.masks_every": 5,
}
BYOL: dict[str, Any] = {
    "objective.name": "byol",
    "objective.hidden": (4096,),
    "objective.predictor": 8192,
    "objective.out_dim": 256,
}
SIMSIAM: dict[str, Any] = {
    "objective.name": "simsiam",
    "objective.hidden": (2048, 2048),
    "objective.predictor": 512,
    "masks.one_sided": Sourced(True, "use_symmetry_mask false"),
    "optim.constant_predictor": Sourced(True, "static_lr, as in Chen & He 2021"),
}
VIT: dict[str, Any] = {"encoder.backbone": "vit_tiny_patch16_224"}


def _numbers(
    epochs: int, lr: float, masker_lr: float, n_masks: int, width: int, sparsity: float
) -> dict[str, Any]:
    return _of_scripts({
        "epochs": epochs,
        "optim.encoder.lr": lr,
        "optim.masker.lr": masker_lr,
        "masks.n_masks": n_masks,
        "masks.width": width,
        "penalties.sparsity": sparsity,
    })  # fmt: skip


def _decay(weight_decay: float) -> dict[str, Any]:
    paths = ("optim.encoder.weight_decay", "optim.masker.weight_decay")
    return _of_scripts(dict.fromkeys(paths, weight_decay))


def _jitter(brightness: float, contrast: float, saturation: float, hue: float) -> dict[str, Any]:
    return _of_scripts({
        "views.brightness": brightness,
        "views.contrast": contrast,
        "views.saturation": saturation,
        "views.hue": hue,
    })  # fmt: skip


def _of_scripts(given: dict[str, Any]) -> dict[str, Any]:
    return {path: Sourced(value, "[ADIOS] script") for path, value in given.items()}


SCRIPTS: dict[str, tuple[str, dict[str, Any]]] = {
    "imagenet100s-adios-byol": (
        "BYOL, ResNet-18",
        BYOL
        | _numbers(500, 0.2414, 0.0660, 6, 16, 0.404)
        | _decay(1e-5)
        | _jitter(0.4, 0.4, 0.2, 0.1),
    ),
    "imagenet100s-adios-simsiam": (
        "SimSiam, ResNet-18",
        SIMSIAM
        | _numbers(500, 0.8471, 0.0802, 4, 16, 0.200)
        | _decay(1e-5)
        | _jitter(0.4, 0.4, 0.4, 0.1)
        | {
            "objective.out_dim": 2048,
            "penalties.entropy": 0.286,
            "masks.compare": ("each", "none", "both"),
            "masks.blocks": Sourced(
                4, "the bottom is 12×12; the other scripts leave it to the size"
            ),
        },
    ),
    "imagenet100s-adios-vit": (
        "SimCLR, ViT-Tiny with patches of 16",
        VIT | _numbers(300, 0.1157, 0.0334, 6, 16, 0.889) | _decay(1e-4),
    ),
    "stl10-adios-byol": (
        "BYOL, ResNet-18",
        BYOL | _numbers(400, 0.2920, 0.0928, 6, 64, 1.719) | _decay(9.9e-6),
    ),
    "stl10-adios-simsiam": (
        "SimSiam, ResNet-18",
        SIMSIAM
        | _numbers(400, 0.4436, 0.0383, 6, 32, 1.0)
        | _decay(7.2e-6)
        | _jitter(0.552, 0.478, 0.578, 0.2)
        | {"objective.out_dim": 256, "masks.compare": ("each", "none")},
    ),
    "stl10-adios-vit": (
        "SimCLR, ViT-Tiny with patches of 16",
        VIT | _numbers(200, 0.1025, 0.0941, 4, 32, 0.391) | _decay(1e-4),
    ),
}

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    name: (
        f"{'STL-10' if name.startswith('stl10') else 'ImageNet100s'}, 96 px: ADIOS with {about}",
        {"data.source": name.partition("-")[0], **BASE, **numbers},
    )
    for name, (about, numbers) in SCRIPTS.items()
}
