"""The masks of a run on any image: sheets to look at, and masks of the photo's own size."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seamask.base import settings
from seamask.base.errors import UserError, printable
from seamask.base.files import atomic
from seamask.base.paths import absolute, check_writable, local
from seamask.base.progress import Progress
from seamask.config import Config
from seamask.data.files.decode import EXTENSIONS, allow, read_image, read_square
from seamask.data.files.depth import Ranges, as_ranges
from seamask.evaluate.following import predict
from seamask.export import load_encoder, load_masker
from seamask.masks.masker import asks
from seamask.runs import Normalization, RunFolder
from seamask.show.figures import mask_figure

A_SHEET = 8  # images
CELL = 224  # side in pixels of a picture on a sheet


@dataclass(frozen=True)
class Drawn:
    """What was written.

    Attributes:
        sheets: pictures of up to 8 images with their masks.
        masks: how many masks of a photo's own size.
        skipped: (file, reason) of images that could not be read.
    """

    sheets: tuple[Path, ...]
    masks: int
    skipped: tuple[tuple[str, str], ...]


def draw_masks_of_photos(
    run: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    out: Path,
    full: str | os.PathLike[str] | None = None,
) -> Drawn:
    """Write pictures of the masks that a run's masker gives to images.

    The masker sees of each image what pretraining would: its centre square, at the run's size.

    Args:
        run: a run's folder.
        paths: image files of any size and mode, or folders of them, of any nesting.
        out: of the PNG; for more than 8 images a folder of that name without its suffix, with
            `sheet-01.png`, `sheet-02.png`, … in it.
        full: a folder for each mask as a grey PNG as large as its photo, white = removed: of
            `a/1.jpg` `a/1.jpg.mask1.png`; outside the centre square it is black. None: none.

    Raises:
        UserError: no run, no weights, a run whose masks need more than an image, or not one image
            that can be read.
    """
    folder = RunFolder.of_run(os.fspath(run))
    config = folder.read_config()
    allow(config.data.max_megapixels)
    _check_masker(folder, config)
    photos = _photos(paths)
    sheets = _sheets(local(out, "--out"), len(photos))
    check_writable(sheets[0], "--out", file=True)
    own = None if full is None else local(full, "--full")
    if own is not None:
        check_writable(own, "--full")
    masker = load_masker(folder.path)
    encoder = load_encoder(folder.path) if asks(masker, "encoder") else None
    manifest = folder.read_manifest()
    normalization = settings.record(
        Normalization, manifest.get("normalization"), f"{folder.manifest}: normalization"
    )
    mean, std = normalization.mean, normalization.std
    skipped: list[tuple[str, str]] = []
    drawn: list[Path] = []
    written = 0
    if own is not None and len({name for _, name in photos}) < len(photos):
        raise UserError("--full: two images have the same name: give the folder that they lie in")
    # More than 8 bits a value become what they were in the training.
    ranges = as_ranges(manifest.get("data", {}).get("ranges", {}))
    readable = _readable(photos, config.image_size, ranges, own is not None, skipped)
    with Progress("masks", len(photos), "images") as progress:
        while shown := list(itertools.islice(readable, A_SHEET)):
            pixels = torch.from_numpy(np.stack([photo.seen for photo in shown]))
            masks = predict(masker, pixels, config.image_size, mean, std, encoder=encoder)
            larger = F.interpolate(masks.float(), (CELL, CELL), mode="bilinear").clamp(0, 1)
            pictures = torch.from_numpy(np.stack([photo.picture for photo in shown]))
            sheet = sheets[len(drawn)]
            if any(absolute(sheet) == absolute(path) for path, _ in photos):
                raise UserError(f"--out {sheet} is one of the images: name another file")
            mask_figure(pictures, larger, sheet, names=[photo.name for photo in shown])
            drawn.append(sheet)
            for photo, own_masks in zip(shown, masks, strict=True):
                if own is not None:
                    written += _write_full(photo, own_masks, own)
            progress.advance(len(shown))
    if not drawn:
        name, reason = skipped[0]
        others = f" (nor any of the {len(skipped) - 1} others)" if len(skipped) > 1 else ""
        raise UserError(f"cannot read the image {name}{others}: {reason}")
    return Drawn(tuple(drawn), written, tuple(skipped))


def _sheets(out: Path, images: int) -> list[Path]:
    """Return the files of the sheets that so many images need: `out`, or several in a folder."""
    count = -(-images // A_SHEET)
    if count == 1:
        return [out if out.suffix or out.is_dir() else out.with_suffix(".png")]
    digits = max(2, len(str(count)))
    return [out.with_suffix("") / f"sheet-{k:0{digits}d}.png" for k in range(1, count + 1)]


@dataclass(frozen=True)
class _Photo:
    """An image as it was read: uint8 `[S, S, 3]` for the masker, `[CELL, CELL, 3]` to show."""

    name: str  # below the folder that was given
    size: tuple[int, int]  # width and height in pixels
    seen: npt.NDArray[np.uint8]
    picture: npt.NDArray[np.uint8]


def _check_masker(folder: RunFolder, config: Config) -> None:
    """Refuse a run whose masks an image alone does not give."""
    if config.masks.masker == "none":
        raise UserError(f"{folder.path} has no masks: it was trained with --masker none")
    if config.masks.masker == "given":
        raise UserError(
            f"{folder.path} has no masks of its own: --masker given takes the objects of its images"
        )


def _photos(paths: Iterable[str | os.PathLike[str]]) -> list[tuple[Path, str]]:
    """Return each image file and its name: of a folder, all in it, named from there."""
    found: list[tuple[Path, str]] = []
    for path in map(local, paths):
        if not path.exists() and path.suffix.lower() not in EXTENSIONS:
            raise UserError(f"{printable(path)}: no such image or folder of images")
        if not path.is_dir():
            found.append((path, path.name))
            continue
        files = sorted(f for f in path.rglob("*") if f.suffix.lower() in EXTENSIONS)
        found += [(file, str(file.relative_to(path))) for file in files if not file.is_dir()]
        if not files:
            raise UserError(f"{printable(path)}: no images in this folder")
    if not found:
        raise UserError("no images are given: name some, or a folder of them, after the run")
    return found


def _readable(
    photos: Iterable[tuple[Path, str]],
    size: int,
    ranges: Ranges,
    full: bool,
    skipped: list[tuple[str, str]],
) -> Iterator[_Photo]:
    """Yield the images that can be read; the others are added to `skipped`."""
    for path, name in photos:
        try:
            seen, picture = read_square(path, size, ranges), read_square(path, CELL, ranges)
            whole = read_image(path).size if full else (CELL, CELL)
        except UserError as error:
            reason = str(error).removeprefix(f"cannot read the image {printable(path)}: ")
            skipped.append((printable(path), reason))
            continue
        yield _Photo(name, whole, seen, picture)


def _write_full(photo: _Photo, masks: Tensor, folder: Path) -> int:
    """Write each mask `[N, S, S]` of a photo at the photo's own size; return how many."""
    width, height = photo.size
    side = min(photo.size)
    place = (width - side) // 2, (height - side) // 2
    larger = F.interpolate(masks[None].float(), (side, side), mode="bilinear")[0].clamp(0, 1)
    for k, mask in enumerate((larger * 255).round().byte().numpy(), start=1):
        sheet = Image.new("L", photo.size)
        sheet.paste(Image.fromarray(mask), place)
        with atomic(folder / f"{photo.name}.mask{k}.png") as temporary:
            sheet.save(temporary, format="PNG")
    return len(masks)
