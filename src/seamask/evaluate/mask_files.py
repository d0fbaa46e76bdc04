"""The masks of a run for every image of a folder, as files under the same relative names."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seamask.base.devices import check_device, kind_of
from seamask.base.documents import read_json
from seamask.base.errors import UserError, printable
from seamask.base.files import atomic, is_empty
from seamask.base.paths import check_writable, local
from seamask.base.precision import use_precision
from seamask.base.progress import Progress
from seamask.data.files.decode import read_image
from seamask.evaluate.following import THRESHOLD
from seamask.evaluate.photos import Seer, found_images, none_readable, unreadable
from seamask.show.figures import overlaid

AT_ONCE = 32  # images
OVERLAY = 512  # pixels of the longer side of a picture to look at, at most
ABOUT = "masks.json"  # in the folder: what its files are
Kind = Literal["soft", "hard", "labels"]
Format = Literal["png", "npz"]


@dataclass(frozen=True)
class Written:
    """What became of the images of a folder.

    Attributes:
        images: that have their masks now.
        before: of them, those that had them already.
        skipped: (file, reason) of images that could not be read.
    """

    images: int
    before: int
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _About:
    """What the files of a folder are: others are not mixed with them."""

    masker: str
    kind: Kind
    format: Format
    overlay: bool


def write_masks(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    kind: Kind = "soft",
    file_format: Format = "png",
    overlay: bool = False,
    device: str = "auto",
) -> Written:
    """Write the masks of every image of a folder, each as large as its image.

    Of `a/1.jpg` they are `a/1.mask1.png`, `a/1.mask2.png`, …; of labels `a/1.png`; as NPZ `a/1.npz`
    with `masks` `[N, H, W]` or `labels` `[H, W]`. The masker sees the centre square: outside it
    nothing is removed. Images that have their masks already keep them, so that a command that was
    stopped is started again.

    Args:
        run: a run's folder.
        data: folder of images, of any nesting.
        out: folder to write to.
        kind: `soft`: uint8, 0 to 255 = removed; `hard`: 0 or 255; `labels`: k where mask k is the
            strongest and removes at least half, else 0.
        file_format: `png` or `npz`.
        overlay: also write a picture to look at, `a/1.overlay.png`.
        device: where to compute: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        UserError: no run, or one without masks of its own; no folder, or one without images or
            with two of a name; an output folder that is inside it or holds other masks.
    """
    check_device(device)
    use_precision("fp32")
    seer = Seer(run, kind_of(device))
    source, folder = local(os.fspath(data), "--data"), local(os.fspath(out), "--out")
    if not source.is_dir():
        what = "is no folder of images" if source.exists() else "no such folder"
        raise UserError(f"--data {printable(source)}: {what}; an archive is to be unpacked")
    if folder.resolve().is_relative_to(source.resolve()):
        raise UserError(
            f"--out {printable(folder)}: lies inside --data, whose images are read: name a folder "
            "outside it"
        )
    photos = found_images([source])
    _check_names(photos)
    check_writable(folder, "--out")
    weights = hashlib.sha256(seer.folder.masker.read_bytes()).hexdigest()
    _claim(folder, _About(weights, kind, file_format, overlay))

    def files(name: str) -> list[Path]:
        base = folder / PurePosixPath(name).with_suffix("")
        ends = [f".{file_format}"]
        if kind != "labels" and file_format == "png":
            ends = [f".mask{k}.png" for k in range(1, seer.n_masks + 1)]
        return [base.with_name(base.name + end) for end in (*ends, *[".overlay.png"] * overlay)]

    missing = [p for p in photos if not all(file.exists() for file in files(p[1]))]
    before = len(photos) - len(missing)
    skipped: list[tuple[str, str]] = []
    with Progress("masks", len(photos), "images") as progress:
        progress.skip(before)
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            for path, name, sides, masks in _seen(seer, part, skipped):
                arrays = _as_images(masks, sides, kind)
                places = files(name)
                looked_at = places.pop() if overlay else None
                if file_format == "npz":
                    kept = np.stack(arrays)
                    with atomic(places[0]) as temporary, temporary.open("wb") as file:
                        if kind == "labels":
                            np.savez_compressed(file, labels=kept[0])
                        else:
                            np.savez_compressed(file, masks=kept)
                else:
                    for place, array in zip(places, arrays, strict=True):
                        _write_png(array, place)
                if looked_at is not None:
                    soft = _as_images(masks, sides, "soft")
                    _write_png(_small(read_image(path), soft), looked_at)
            progress.advance(len(part))
    if len(skipped) == len(photos):
        raise none_readable(skipped)
    return Written(len(photos) - len(skipped), before, tuple(skipped))


def _check_names(photos: list[tuple[Path, str]]) -> None:
    """Refuse images whose masks would have one name."""
    found: dict[str, str] = {}
    for _, name in photos:
        other = found.setdefault(str(PurePosixPath(name).with_suffix("")), name)
        if other != name:
            raise UserError(
                f"--data: {printable(other)} and {printable(name)} differ only in their suffix, "
                "and their masks would have one name: rename one"
            )


def _claim(folder: Path, about: _About) -> None:
    """Note what the files of a folder are; refuse one that holds others."""
    noted = folder / ABOUT
    if not folder.exists() or is_empty(folder):
        with atomic(noted) as temporary:
            temporary.write_text(json.dumps(asdict(about)))
    elif not noted.exists() or read_json(noted) != asdict(about):
        what = "masks of another run or with other options" if noted.exists() else "other files"
        raise UserError(f"--out {printable(folder)}: holds {what}: name another folder")


def _seen(
    seer: Seer, photos: list[tuple[Path, str]], skipped: list[tuple[str, str]]
) -> Iterator[tuple[Path, str, tuple[int, int], Tensor]]:
    """Yield each image that can be read: file, name, width and height, masks `[N, S, S]`."""
    read = []
    for path, name in photos:
        try:
            read.append((path, name, *seer.look(path)))
        except UserError as error:
            skipped.append(unreadable(path, error))
    if read:
        masks = seer.masks([square for _, _, square, _ in read])
        for (path, name, _, sides), own in zip(read, masks, strict=True):
            yield path, name, sides, own


def _as_images(masks: Tensor, size: tuple[int, int], kind: Kind) -> list[npt.NDArray[np.uint8]]:
    """Return masks `[N, S, S]` as images of a size (width, height), uint8 `[H, W]` each."""
    width, height = size
    side = min(size)
    left, top = (width - side) // 2, (height - side) // 2
    larger = F.interpolate(masks[None].float(), (side, side), mode="bilinear")[0].clamp(0, 1)
    if kind == "labels":
        strongest, which = larger.max(dim=0)
        squares = ((which + 1) * (strongest >= THRESHOLD))[None].byte()
    else:
        larger = (larger >= THRESHOLD).float() if kind == "hard" else larger
        squares = (larger * 255).round().byte()
    around = left, width - side - left, top, height - side - top
    return list(F.pad(squares, around).numpy())


def _small(photo: Image.Image, masks: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Return a photo with its masks laid on it, small enough to look at many."""
    shown = photo.copy()
    shown.thumbnail((OVERLAY, OVERLAY))
    small = [np.asarray(Image.fromarray(mask).resize(shown.size)) for mask in masks]
    return overlaid(np.asarray(shown), np.stack(small))


def _write_png(array: npt.NDArray[np.uint8], path: Path) -> None:
    with atomic(path) as temporary:
        Image.fromarray(array).save(temporary, format="PNG")
