"""Weights for others: safetensors that timm and torchvision load, and how to build the networks."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from seamask.base.errors import UserError, first_line, printable
from seamask.base.files import atomic
from seamask.base.paths import check_writable, local
from seamask.data import Normalization
from seamask.masks import build_masker
from seamask.masks.frozen import PREFIX, FrozenMasker, is_frozen
from seamask.networks import build_backbone
from seamask.networks.backbone import SMALL_STEM
from seamask.networks.check import feature_width
from seamask.networks.products import as_layers
from seamask.runs import RunFolder

ONNX_TOLERANCE = 1e-3  # of the largest number: float32, added in another order
TRIED = 1, 3  # images of a batch, neither of which is traced


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
    frozen = is_frozen(config.masks.masker)
    # The run's own file holds the trained one, wherever that came from.
    masks = replace(config.masks, masker=f"{PREFIX}{folder.masker}") if frozen else config.masks
    masker = build_masker(masks, config.image_size, config.data.channels)
    if isinstance(masker, FrozenMasker):
        return masker.normalized_by(*folder.read_normalization())
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


class _OfImages(nn.Module):
    """A network that is given images and nothing else."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.network(images)
        return found


def export_onnx(run: Path | str, out: Path | str) -> list[tuple[Path, float]]:
    """Write a run's encoder, and its masker if it is learned, as ONNX; compare what they give.

    `images`, float32 `[batch, C, S, S]`, normalised as the file's metadata `mean` and `std` say
    (JSON), become `features` `[batch, F]` or `masks` `[batch, N, S, S]`.

    Args:
        run: a run's folder.
        out: folder for `encoder.onnx` and `masker.onnx`.

    Returns:
        Each file, and by how much numbers of onnxruntime and of PyTorch differ: the largest
        difference, of hard masks the mean one, relative to the largest number, at least 1.

    Raises:
        UserError: no run, packages that are missing, or a network that ONNX cannot hold, such as
            the search for exact budgets, or that gives other numbers there; of that one no file is
            left.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch.onnx needs it
    except ImportError as error:
        raise UserError(f"--to onnx needs {error.name}: pip install 'seamask[onnx]'") from error
    folder, place = RunFolder.of_run(run), local(out, "--out")
    check_writable(place, "--out")
    config, normalization = folder.read_config(), folder.read_normalization()
    networks = {"encoder": ("features", as_layers(load_encoder(run)))}
    masker = load_masker(run)
    if masker.learned or is_frozen(config.masks.masker):
        networks["masker"] = ("masks", masker)
    shape = len(normalization.mean), config.image_size, config.image_size
    written = []
    for name, (output, network) in networks.items():
        refused = f"{printable(run)}: ONNX cannot hold its {name}"
        if getattr(getattr(network, "trained", network), "budget", None) is not None:
            raise UserError(f"{refused}: exact budgets are met by a search; its encoder is written")
        alone, file = _OfImages(network).eval(), place / f"{name}.onnx"
        try:
            with _quiet():
                program = torch.onnx.export(
                    alone, (torch.randn(2, *shape),), dynamo=True, verbose=False,
                    input_names=["images"], output_names=[output],
                    dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                    custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
                )  # fmt: skip
            assert program is not None
            program.model.metadata_props.update(
                mean=json.dumps(normalization.mean), std=json.dumps(normalization.std)
            )
            model = program.model_proto.SerializeToString()
            session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            differ = 0.0
            for batch in TRIED:
                images = torch.randn(batch, *shape)
                (theirs,) = session.run(None, {"images": images.numpy()})
                with torch.no_grad():
                    ours = alone(images)
                apart = (ours - torch.from_numpy(theirs)).abs()
                # Rounding may choose another pixel for a hard mask.
                most = apart.mean() if name == "masker" and config.masks.hard else apart.max()
                differ = max(differ, float(most / ours.abs().max().clamp(1)))
        except Exception as error:  # the exporter and the runtime raise very different things
            raise UserError(f"{refused}: {first_line(_first_cause(error))[:120]}") from error
        if not differ <= ONNX_TOLERANCE:
            raise UserError(
                f"{printable(run)}: its {name} gives other numbers in ONNX: they differ by "
                f"{differ:.2g} of the largest"
            )
        with atomic(file) as temporary:
            temporary.write_bytes(model)
        written.append((file, differ))
    return written


def _stable_sort(
    values: Any, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> Any:
    """Sort in ONNX, which the exporter does not know how to: of equal values the first first."""
    from onnxscript import opset18

    count = opset18.Gather(opset18.Shape(values), opset18.Constant(value_ints=[dim]))
    return opset18.TopK(values, count, axis=dim, largest=int(descending), sorted=1)


def _first_cause(error: Exception) -> Exception:
    cause = error.__cause__
    return _first_cause(cause) if isinstance(cause, Exception) else error


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, torch's exporter does not talk of itself."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def loading_code(name: str, arguments: dict[str, Any], path: Path | str) -> str:
    """Return the Python line that loads a backbone's weights at `path`, of any name, with timm."""
    extra = "".join(f", {key}={value!r}" for key, value in arguments.items())
    imports = "timm, seamask.networks.backbone" if name.endswith(SMALL_STEM) else "timm"
    call = f"timm.create_model({name!r}, num_classes=0{extra}, checkpoint_path={str(path)!r})"
    return f"import {imports}; {call}"
