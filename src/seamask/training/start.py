"""Weights that an encoder starts from, instead of random ones: ImageNet's, a file, a run."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from seamask.base.errors import UserError, first_line, printable
from seamask.base.paths import local
from seamask.base.progress import amount
from seamask.config import Config
from seamask.networks import build_backbone
from seamask.networks.backbone import SMALL_STEM
from seamask.runs import RunFolder

IMAGENET = "imagenet"
NAMED = 4  # tensors, at most, that a line names


@dataclass(frozen=True)
class Start:
    """Weights to start from.

    Attributes:
        name: as they were asked for.
        source: where they are from: a model of timm, or a file and its sha256.
        weights: by the names that timm gives them.
    """

    name: str
    source: str
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Started:
    """What became of them, for the manifest.

    Attributes:
        name: as they were asked for.
        source: where they are from.
        loaded: how many tensors of the backbone they filled.
        random: its other tensors, which stay as they were drawn.
        unused: weights that the backbone has no place for, of that shape.
    """

    name: str
    source: str
    loaded: int
    random: tuple[str, ...]
    unused: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"random": [*self.random], "unused": [*self.unused]}

    def __str__(self) -> str:
        said = f"encoder starts from {self.source}: {amount(self.loaded, 'tensor')} loaded"
        left = f"; random as before: {_some(self.random)}" if self.random else ""
        return said + left + (f"; not used: {_some(self.unused)}" if self.unused else "")


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def read_start(config: Config) -> Start | None:
    """Return the weights that `--encoder.init` names; None: random ones.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    name = config.encoder.init
    if not name:
        return None
    if name == IMAGENET:
        return _pretrained(config)
    path = local(name, "--encoder.init")
    if path.is_dir():
        path = RunFolder.of_run(path).encoder
    if not path.is_file():
        raise UserError(
            f"--encoder.init {printable(name)}: no such file; give imagenet, a .safetensors "
            "file or a run's folder"
        )
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"--encoder.init {printable(path)}: not a safetensors file, or damaged"
        ) from error
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    return Start(name, f"{printable(path)} (sha256 {checksum[:16]})", weights)


def _pretrained(config: Config) -> Start:
    c = config.encoder
    _, name, arguments = build_backbone(
        c.backbone, config.image_size, c.stem, c.patch, channels=config.data.channels
    )
    name = name.removesuffix(SMALL_STEM)
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0, **arguments)
    except Exception as error:  # the hub, the network and timm raise very different things
        raise UserError(
            f"--encoder.init {IMAGENET}: timm found no pretrained weights of {name} "
            f"({first_line(error)[:120]}); give a .safetensors file"
        ) from error
    own = model.pretrained_cfg
    tag = f".{own['tag']}" if own.get("tag") else ""
    return Start(IMAGENET, f"timm's {own.get('architecture', name)}{tag}", model.state_dict())


def fill(backbone: nn.Module, start: Start) -> Started:
    """Give a backbone the weights that have its names and shapes.

    Raises:
        UserError: not one parameter fits.
    """
    own = backbone.state_dict()
    fits = {
        name: weight
        for name, weight in start.weights.items()
        if name in own and own[name].shape == weight.shape
    }
    if not fits.keys() & dict(backbone.named_parameters()).keys():
        raise UserError(
            f"--encoder.init {printable(start.name)}: none of its {len(start.weights)} tensors "
            "fits the backbone: take the --backbone that they are of"
        )
    backbone.load_state_dict(fits, strict=False)
    random = tuple(name for name in own if name not in fits)
    unused = tuple(name for name in start.weights if name not in fits)
    return Started(start.name, start.source, len(fits), random, unused)
