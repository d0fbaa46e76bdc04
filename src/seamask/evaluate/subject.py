"""What is evaluated: a run, exported weights, a timm model, or a network before any training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from seamask.base import settings
from seamask.base.documents import parse_json
from seamask.base.draws import derive_seed
from seamask.base.errors import UserError, first_line, unknown
from seamask.base.paths import local
from seamask.base.settings import MOST_PIXELS, Within
from seamask.config import Config
from seamask.data import Normalization
from seamask.data.registry import HeldOut
from seamask.evaluate.task import UNTRAINED
from seamask.export import load_encoder, load_masker, read_weights
from seamask.masks import build_masker
from seamask.networks import build_backbone
from seamask.networks.backbone import SMALL_STEM, Stem
from seamask.runs import RunFolder


@dataclass(frozen=True, eq=False)
class Subject:
    """An encoder to evaluate.

    Attributes:
        name: as it was asked for.
        backbone: `[B, C, H, W]` → features `[B, F]`, in eval mode.
        image_size: side in pixels of the images it was made for.
        normalization: of the images that it was trained on; None: it was not.
        run: the folder of the run it comes from, if any.
        config: the settings of that run.
        weights: which ones of that run; see `RunFolder.weights`.
        held_out: what it was not trained on, of a folder; None: it was trained on none.
    """

    name: str
    backbone: nn.Module
    image_size: int
    normalization: Normalization | None = None
    run: RunFolder | None = None
    config: Config | None = None
    weights: str = ""
    held_out: HeldOut | None = None

    def masker(self, size: int) -> nn.Module:
        """Return the run's mask network, in eval mode.

        Args:
            size: side in pixels of the images that it is for.

        Raises:
            UserError: this is no run, or one without learned masks, or of another size.
        """
        if self.run is None:
            raise UserError(f"{self.name} has no mask network: give the folder of a run")
        masker = load_masker(self.run.path)
        if not masker.learned:
            raise UserError(f"{self.name} has no learned masks: its masker draws them, or has none")
        own = self.config.image_size if self.config else size
        if own != size:
            raise UserError(f"--image-size {size}: the mask network sees {own} pixels")
        return masker

    def untrained_masker(self) -> nn.Module:
        """Return the mask network that the run began with, in eval mode.

        Raises:
            UserError: this is no run.
        """
        if self.config is None:
            raise UserError(f"{self.name} has no mask network: give the folder of a run")
        c = self.config
        torch.manual_seed(derive_seed(c.seed, "masker"))  # as a run with this seed begins
        return build_masker(c.masks, c.image_size, c.data.channels).eval()


def open_subject(name: str, image_size: int = 0, seed: int = 0) -> Subject:
    """Find what is to be evaluated.

    Args:
        name: a run's folder; a `.safetensors` file that a run exported; `untrained:` and a timm
            model or a run's folder (the same network before any training); or a timm model, whose
            weights timm finds on disk or downloads.
        image_size: asked for; 0: the one the encoder was made for.
        seed: of the weights of an `untrained:` timm model.

    Raises:
        UserError: there is nothing of that name, or its weights cannot be had.
    """
    if name.startswith(UNTRAINED):
        return _untrained(name, image_size, seed)
    path = local(name)
    if path.is_dir():
        run = RunFolder.of_run(path)
        config = run.read_config()
        size = image_size or config.image_size
        weights = run.weights()  # before they are read: the run may be about to write others
        encoder = load_encoder(path)
        held = run.read_held_out(config)
        return Subject(name, encoder, size, _normalization(run), run, config, weights, held)
    if path.suffix == ".safetensors":
        return _exported(name, path, image_size)
    if timm.is_model(name):
        return _pretrained(name, image_size)
    raise unknown("run, weights file or timm model", name, timm.list_models())


def _untrained(name: str, image_size: int, seed: int) -> Subject:
    what = name.removeprefix(UNTRAINED)
    stem: Stem = "auto"
    patch, zeros, channels, normalization = 0, False, 3, None
    if local(what).is_dir():
        run = RunFolder.of_run(what)
        config, normalization = run.read_config(), _normalization(run)
        seed, stem, patch = config.seed, config.encoder.stem, config.encoder.patch
        zeros, channels = config.encoder.zero_init_last, config.data.channels
        model, size = config.encoder.backbone, image_size or config.image_size
    else:
        model, size = what, image_size or Config().image_size
    torch.manual_seed(derive_seed(seed, "encoder"))  # as a run with this seed begins
    backbone, _, _ = build_backbone(model, size, stem, patch, zeros, channels)
    return Subject(name, backbone.eval(), size, normalization)


def _normalization(run: RunFolder) -> Normalization | None:
    """Return what a run's images are normalised by; None before its first checkpoint."""
    said = run.read_manifest().get("normalization") if run.manifest.exists() else None
    if said is None:
        return None
    return settings.record(Normalization, said, f"{run.manifest}: normalization")


@dataclass(frozen=True)
class About:
    """What exported weights say of themselves, as `seamask.training.snapshot` writes it."""

    backbone: str
    image_size: Annotated[int, Within(8, MOST_PIXELS)]
    patch_size: Annotated[int, Within(0, MOST_PIXELS)] = 0
    in_chans: Literal[1, 3] = 3
    normalization: Normalization | None = None  # of weights of before, as below
    held_out: HeldOut | None = None


def read_about(path: Path) -> About:
    """Return what exported weights say of themselves.

    Raises:
        UserError: there are none, or the file is damaged or of another kind.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            texts = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot read {path}: not a safetensors file, or damaged") from error
    if not {"backbone", "image_size"} <= texts.keys():
        raise UserError(
            f"{path} does not say which backbone it holds: give a file that seamask exported, "
            "or the run's folder"
        )
    where = f"the metadata of {path}"
    said = {k: int(v) if v.isdecimal() and len(v) < 10 else v for k, v in texts.items()}
    said |= {k: parse_json(texts[k], where) for k in ("normalization", "held_out") if k in texts}
    return settings.record(About, said, where)


def _exported(name: str, path: Path, image_size: int) -> Subject:
    said = read_about(path)
    stem: Stem = "small" if said.backbone.endswith(SMALL_STEM) else "standard"
    backbone, _, _ = build_backbone(
        said.backbone, said.image_size, stem, said.patch_size, channels=said.in_chans
    )
    size = image_size or said.image_size
    weights = read_weights(backbone, path)
    return Subject(name, weights, size, said.normalization, held_out=said.held_out)


def _pretrained(name: str, image_size: int) -> Subject:
    try:
        backbone = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # the hub, the network and timm raise very different things
        raise UserError(
            f"{name}: timm found no pretrained weights ({first_line(error)[:120]}); for random "
            f"weights, write {UNTRAINED}{name}"
        ) from error
    made_for = backbone.pretrained_cfg
    size = image_size or int(made_for["input_size"][-1])
    normalization = Normalization(tuple(made_for["mean"]), tuple(made_for["std"]))
    return Subject(name, backbone.eval(), size, normalization)
