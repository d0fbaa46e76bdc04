"""CIFAR-10 at 32×32 pixels. Neither paper pretrains on it: settings of ImageNet100s unless said."""

from __future__ import annotations

from seamask.recipes.policies import over_policies

RECIPES = over_policies(
    "cifar10",
    "CIFAR-10, ResNet-18 with small stem, 32 px",
    {
        "data.source": "cifar10",
        "image_size": 32,
        "encoder.backbone": "resnet18",
        "epochs": 500,
        "batch_size": 256,
        "optim.encoder.lr": 0.11,
        "optim.masker.lr": 0.0145,
        # [SimCLR] appendix B.9: on CIFAR-10 colour strength 0.5, no blur
        "views.brightness": 0.4,
        "views.contrast": 0.4,
        "views.saturation": 0.4,
        "views.hue": 0.1,
        "views.blur": 0.0,
        "log.masks_every": 5,
    },
)
