"""Weights for others: safetensors that timm and torchvision load, and how to build the networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from seamask.base.errors import UserError
from seamask.base.files import atomic
from seamask.data import Normalization
from seamask.masks import build_masker, read_trained
from seamask.masks.frozen import is_frozen
from seamask.networks import build_backbone
from seamask.networks.backbone import SMALL_STEM
from seamask.networks.check import feature_width
from seamask.runs import RunFolder


def save_weights(module: nn.Module, path: Path, about: dict[str, str] | None = None) -> None:
    """Write a module's parameters and buffers, whole or not at all.

    Args:
        module: any.
        path: of the `.safetensors` file.
        about: what else the file says about them, as its metadata.

    Raises:
        UserError: the file cannot be written.
    """
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }
    with atomic(path) as temporary:  # `save_file` would put another file there, of mode 0600
        temporary.write_bytes(save(state, metadata={"format": "pt", **(about or {})}))


def load_encoder(run: Path | str) -> nn.Module:
    """Return the pretrained backbone of a run, in eval mode: `[B, C, H, W]` → `[B, F]`.

    Images must be scaled to [0, 1] and normalised with the `normalization` in the run's
    `manifest.json`.

    Args:
        run: a run's folder.

    Raises:
        UserError: no run there, or its weights are missing or damaged.
    """
    folder = RunFolder.of_run(run)
    config = folder.read_config()
    encoder = config.encoder
    backbone, _, _ = build_backbone(
        encoder.backbone, config.image_size, encoder.stem, encoder.patch,
        channels=config.data.channels,
    )  # fmt: skip
    return read_weights(backbone, folder.encoder)


def load_masker(run: Path | str) -> nn.Module:
    """Return the mask network of a run, in eval mode: `[B, C, H, W]` → masks `[B, N, H, W]`.

    Args:
        run: a run's folder.

    Raises:
        UserError: no run there, or its weights are missing or damaged.
    """
    folder = RunFolder.of_run(run)
    config = folder.read_config()
    if is_frozen(config.masks.masker):  # its file holds the trained one
        normalization = folder.read_normalization()
        return read_trained(folder.masker).normalized_by(normalization.mean, normalization.std)
    masker = build_masker(config.masks, config.image_size, config.data.channels)
    return read_weights(masker, folder.masker)


def read_weights(module: nn.Module, path: Path) -> nn.Module:
    """Return the module with the weights at `path`, in eval mode.

    Raises:
        UserError: there are none, or they are damaged or of another model.
    """
    if not path.exists():
        raise UserError(f"no weights at {path}: the run has not reached its first checkpoint")
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"cannot load {path}: damaged, or weights of another model") from error
    return module.eval()


def timm_config(
    name: str,
    arguments: dict[str, Any],
    backbone: nn.Module,
    image_size: int,
    normalization: Normalization,
) -> dict[str, Any]:
    """Return what a `config.json` beside a backbone's weights tells timm's `local-dir:`.

    Args:
        name: of timm.
        arguments: of `timm.create_model` beside it.
        backbone: that was built so.
        image_size: side of its images in pixels.
        normalization: of its images.
    """
    own: dict[str, Any] = getattr(backbone, "pretrained_cfg", {})
    where = {part: own[part] for part in ("first_conv", "classifier") if own.get(part)}
    mean, std = map(list, normalization)
    return {
        "architecture": name,
        "num_classes": 0,
        "num_features": feature_width(backbone),
        "model_args": arguments,
        "pretrained_cfg": {
            **where,
            "num_classes": 0,
            "input_size": [len(mean), image_size, image_size],
            "mean": mean,
            "std": std,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
        },
    }


def loading_code(name: str, arguments: dict[str, Any], path: Path | str) -> str:
    """Return the Python line that loads a backbone's weights at `path`, of any name, with timm."""
    extra = "".join(f", {key}={value!r}" for key, value in arguments.items())
    imports = "timm, seamask.networks.backbone" if name.endswith(SMALL_STEM) else "timm"
    call = f"timm.create_model({name!r}, num_classes=0{extra}, checkpoint_path={str(path)!r})"
    return f"import {imports}; {call}"
