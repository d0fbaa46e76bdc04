"""The built-in data: small enough for five minutes on two CPU cores."""

from __future__ import annotations

from typing import Any

RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "shapes-sequential": (
        "built-in scenes, small encoder, 48 px: sequential learned masks in five minutes on a CPU",
        {
            "data.source": "shapes",
            "image_size": 48,
            "encoder.backbone": "test_resnet",  # timm's smallest ResNet: 0.4 M parameters
            "encoder.stem": "standard",
            "epochs": 12,
            "batch_size": 128,
            "masks.masker": "sequential",
            "masks.n_masks": 3,
            "masks.width": 16,
            "masks.downscale": 1,
            "optim.encoder.optimizer": "adamw",
            "optim.encoder.lr": 2e-3,
            "optim.masker.optimizer": "adamw",
            "optim.masker.lr": 1e-3,
            "optim.warmup_epochs": 1,
            "optim.warmup_start": 0.0,
            "optim.per": "step",
            "objective.hidden": (256,),
            "objective.out_dim": 64,
        },
    )
}
