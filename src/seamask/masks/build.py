"""Maskers by name. Each is registered in its own file."""

from __future__ import annotations

import inspect
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from seamask.base.documents import parse_json
from seamask.base.errors import UserError
from seamask.base.paths import local
from seamask.base.progress import amount
from seamask.base.settings import extended, from_dict, record
from seamask.masks import (  # noqa: F401  # they register their maskers
    attention,
    given,
    grid,
    hardest,
    learned,
    multiblock,
    noise,
    random,
    segments,
)
from seamask.masks.cells import check_patch
from seamask.masks.frozen import KEY, PREFIX, About, FrozenMasker, is_frozen
from seamask.masks.hard import make_hard
from seamask.masks.masker import MASKERS
from seamask.masks.settings import MaskerSettings

__all__ = ["MASKERS", "build_masker", "read_trained"]

FILE = "masker.safetensors"  # in a run's folder


def build_masker(settings: MaskerSettings, image_size: int, channels: int = 3) -> nn.Module:
    """Build the masker that settings name, for images of `image_size` pixels.

    Args:
        settings: of the group `masks`.
        image_size: side of the images in pixels.
        channels: of the images.

    Raises:
        UserError: an unknown masker, or settings that it cannot work with.
    """
    if is_frozen(settings.masker):
        masker: nn.Module = _trained(settings, image_size, channels)
    else:
        make = MASKERS[settings.masker]
        asks = "channels" in inspect.signature(make).parameters
        masker = make(settings, image_size, **({"channels": channels} if asks else {}))
    if settings.hard:
        check_patch(settings.hard_patch, image_size, image_size)
        make_hard(masker, settings.hard_patch)
    return masker


def read_trained(path: Path | str) -> FrozenMasker:
    """Return a trained masker, of a run's folder or of a file `masker.safetensors`.

    Raises:
        UserError: there is none, it is damaged, or what made the masks there is not learned.
    """
    place = local(path)
    file = place / FILE if place.is_dir() else place
    if not file.is_file():
        why = f"it holds no {FILE}" if place.is_dir() else "no such file or folder"
        raise UserError(f"no trained masker at {path}: {why}; give a run's folder, or its {FILE}")
    try:
        with safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(KEY)
        if text is None:
            raise UserError(
                f"{file} does not say which masker it holds: give a {FILE}; that of a run of an "
                "earlier seamask is written anew by `seamask resume RUN`"
            )
        said = record(About, parse_json(text, str(file)), str(file))
        start = extended(MaskerSettings(), MASKERS.settings)
        settings = from_dict(said.settings, start)
        masker = build_masker(settings, said.image_size, len(said.mean))
        if not masker.learned:
            raise UserError(
                f"no trained masker at {path}: it was trained with --masker {settings.masker}, "
                "which learns nothing"
            )
        masker.load_state_dict(load_file(file), assign=True)  # whatever device it is built on
    except (SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"cannot read {file}: damaged, or no weights of a masker") from error
    return FrozenMasker(masker, said)


def _trained(settings: MaskerSettings, image_size: int, channels: int) -> FrozenMasker:
    """Return the trained masker that `run:PATH` names."""
    masker = read_trained(local(settings.masker.removeprefix(PREFIX), f"--masker {PREFIX}"))
    if (own := len(masker.said.mean)) != channels:
        raise UserError(
            f"--masker {settings.masker}: it sees images of {amount(own, 'channel')}, not "
            f"{channels}: take --data.channels {own}"
        )
    if masker.said.image_size != image_size:
        raise UserError(
            f"--masker {settings.masker}: it sees images of {masker.said.image_size} pixels, not "
            f"{image_size}: take --image-size {masker.said.image_size}"
        )
    own_patch = masker.said.settings.get("hard_patch", 1)
    if settings.hard and masker.said.settings.get("hard") and settings.hard_patch != own_patch:
        raise UserError(
            f"--masker {settings.masker}: its masks are binary, of cells of {own_patch} pixels: "
            "leave out --masks.hard"
        )
    if masker.n_masks != settings.n_masks:
        raise UserError(
            f"--masker {settings.masker}: it makes {masker.n_masks} masks, not "
            f"{settings.n_masks}: take --n-masks {masker.n_masks}"
        )
    return masker
