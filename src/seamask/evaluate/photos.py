"""The masks of runs on any image: sheets to look at."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from seamask.base.channels import as_channels
from seamask.base.errors import UserError, printable
from seamask.base.paths import absolute, check_writable, local, names_apart, numbered
from seamask.base.progress import Progress
from seamask.config import Config
from seamask.data.files.decode import EXTENSIONS, allow, read_square_and_sides
from seamask.data.files.depth import as_ranges
from seamask.data.sets.folder import list_folder
from seamask.evaluate.following import predict
from seamask.export import load_encoder, load_masker
from seamask.masks.masker import asks
from seamask.runs import RunFolder
from seamask.show.figures import LETTER, NAME, comparison_figure, mask_figure, overlaid
from seamask.views.fill import filled_pixels

A_SHEET = 8  # images
CELL = 224  # side in pixels of a picture on a sheet


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        sheets: pictures of up to 8 images with their masks.
        skipped: (file, reason) of images that could not be read.
    """

    sheets: tuple[Path, ...]
    skipped: tuple[tuple[str, str], ...]


class Seer:
    """A run's masker with all that it needs to look at images that are not of its data set.

    It sees of each image what pretraining would: its centre square, at the run's size.

    Args:
        run: a run's folder.
        device: to compute on.

    Attributes:
        folder: of the run.
        config: its settings.
        size: side in pixels at which images are seen.
        n_masks: N.

    Raises:
        UserError: no run, no weights, or a run whose masks need more than an image.
    """

    def __init__(self, run: str | os.PathLike[str], device: str = "cpu") -> None:
        self.folder = folder = RunFolder.of_run(os.fspath(run))
        self.config = config = folder.read_config()
        self.size = config.image_size
        _check_masker(folder, config)
        self._masker = load_masker(folder.path).to(device)
        self.n_masks: int = self._masker.n_masks  # type: ignore[assignment]
        looks = asks(self._masker, "encoder")
        self._encoder = load_encoder(folder.path).to(device) if looks else None
        self._normalization = folder.read_normalization()
        # More than 8 bits a value become what they were in the training.
        self._ranges = as_ranges(folder.read_manifest().get("data", {}).get("ranges", {}))

    def read(self, path: Path, size: int = 0) -> npt.NDArray[np.uint8]:
        """Return what is seen of an image, at a size or the run's: uint8 `[size, size, 3]`.

        Raises:
            UserError: it cannot be read.
        """
        return self.look(path, size)[0]

    def look(self, path: Path, size: int = 0) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
        """Return what `read` does, and the whole image's width and height."""
        allow(self.config.data.max_megapixels)
        exact = self.config.data.jpeg == "exact"
        return read_square_and_sides(path, size or self.size, self._ranges, exact)

    def masks(self, squares: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """Return the masks of images as they were read, `[n, N, size, size]` in [0, 1]."""
        pixels = torch.from_numpy(np.stack(squares))
        return predict(self._masker, pixels, self.size, self._normalization, encoder=self._encoder)

    def fill(self, pictures: Tensor) -> Tensor:
        """Return what the run puts where masks remove something of pictures, `[n, S, S, 3]`."""
        seen = as_channels(pictures, self.config.data.channels)
        return filled_pixels(self.config.masks.fill, seen, *self._normalization)


def draw_masks_of_photos(
    runs: Sequence[str | os.PathLike[str]],
    paths: Sequence[str | os.PathLike[str]],
    out: Path,
    overlay: bool = False,
) -> Drawn:
    """Write pictures of the masks that runs give to images, of several beside each other.

    Args:
        runs: folders of runs.
        paths: image files of any size and mode, or folders of them, of any nesting.
        out: of the PNG; for more than 8 images a folder of that name without its suffix, with
            `sheet-01.png`, `sheet-02.png`, … in it.
        overlay: of each run one picture an image, its masks laid on it in colours, instead of one
            a mask and view.

    Raises:
        UserError: no run, no weights, a run whose masks need more than an image, or not one image
            that can be read.
    """
    seers = [Seer(run) for run in runs]
    photos = found_images(paths)
    sheets = _sheets(local(out, "--out"), len(photos))
    check_writable(sheets[0], "--out", file=True)
    skipped: list[tuple[str, str]] = []
    drawn: list[Path] = []
    readable = _readable(photos, seers, skipped)
    names = names_apart(runs, CELL // LETTER if overlay else NAME)
    with Progress("masks", len(photos), "images") as progress:
        while shown := list(itertools.islice(readable, A_SHEET)):
            masks = []
            for k, seer in enumerate(seers):
                own = seer.masks([photo.seen[k] for photo in shown]).float()
                masks.append(F.interpolate(own, (CELL, CELL), mode="bilinear").clamp(0, 1))
            pictures = torch.from_numpy(np.stack([photo.picture for photo in shown]))
            sheet = sheets[len(drawn)]
            if any(absolute(sheet) == absolute(path) for path, _ in photos):
                raise UserError(f"--out {sheet} is one of the images: name another file")
            if overlay:
                _draw_overlays(shown, dict(zip(names, masks, strict=True)), sheet)
            else:
                makers = {n: seer.n_masks for n, seer in zip(names, seers, strict=True)}
                mask_figure(
                    pictures,
                    torch.cat(masks, dim=1),
                    sheet,
                    names=[photo.name for photo in shown],
                    makers=makers if len(seers) > 1 else None,
                    fills=[filled for s in seers for filled in [s.fill(pictures)] * s.n_masks],
                )
            drawn.append(sheet)
            progress.advance(len(shown))
    if not drawn:
        raise none_readable(skipped)
    return Drawn(tuple(drawn), tuple(skipped))


def _draw_overlays(photos: Sequence[_Photo], masks: Mapping[str, Tensor], path: Path) -> None:
    """Write a picture with a row an image: it, and with the masks of each run laid on it.

    Args:
        photos: n images.
        masks: by the name of a run, `[n, N, CELL, CELL]` in [0, 1].
        path: of the PNG.
    """
    labels = numbered([photo.name for photo in photos])
    rows, captions = {}, {}
    for k, (label, photo) in enumerate(zip(labels, photos, strict=True)):
        shades = [(own[k] * 255).round().byte().numpy() for own in masks.values()]
        rows[label] = [photo.picture, *(overlaid(photo.picture, shade) for shade in shades)]
        removed = [own[k].mean((1, 2)) for own in masks.values()]
        captions[label] = ["", *(" ".join(f"{m:.0%}" for m in each) for each in removed)]
    comparison_figure(rows, ["image", *masks], captions, path, CELL)


def none_readable(skipped: Sequence[tuple[str, str]]) -> UserError:
    """Build the error of images of which not one can be read."""
    name, reason = skipped[0]
    others = f" (nor any of the {len(skipped) - 1} others)" if len(skipped) > 1 else ""
    return UserError(f"cannot read the image {name}{others}: {reason}")


def _sheets(out: Path, images: int) -> list[Path]:
    """Return the files of the sheets that so many images need: `out`, or several in a folder."""
    count = -(-images // A_SHEET)
    if count == 1:
        return [out if out.suffix or out.is_dir() else out.with_suffix(".png")]
    digits = max(2, len(str(count)))
    return [out.with_suffix("") / f"sheet-{k:0{digits}d}.png" for k in range(1, count + 1)]


@dataclass(frozen=True)
class _Photo:
    """An image as it was read.

    Attributes:
        name: below the folder that was given.
        seen: by each run, uint8 `[S, S, 3]`.
        picture: to show, uint8 `[CELL, CELL, 3]`.
    """

    name: str
    seen: list[npt.NDArray[np.uint8]]
    picture: npt.NDArray[np.uint8]


def _check_masker(folder: RunFolder, config: Config) -> None:
    """Refuse a run whose masks an image alone does not give."""
    if config.masks.masker == "none":
        raise UserError(f"{folder.path} has no masks: it was trained with --masker none")
    if config.masks.masker == "given":
        raise UserError(
            f"{folder.path} has no masks of its own: --masker given takes the objects of its images"
        )


def found_images(paths: Iterable[str | os.PathLike[str]]) -> list[tuple[Path, str]]:
    """Return each image file and its name: of a folder, all in it, named from there."""
    found: list[tuple[Path, str]] = []
    for path in map(local, paths):
        if not path.exists() and path.suffix.lower() not in EXTENSIONS:
            raise UserError(f"{printable(path)}: no such image or folder of images")
        if not path.is_dir():
            found.append((path, path.name))
            continue
        names = list_folder(path).names
        found += [(path / name, name) for name in names]
        if not names:
            raise UserError(f"{printable(path)}: no images in this folder")
    if not found:
        raise UserError("no images are given: name some, or a folder of them, after the run")
    return found


def _readable(
    photos: Iterable[tuple[Path, str]], seers: Sequence[Seer], skipped: list[tuple[str, str]]
) -> Iterator[_Photo]:
    """Yield the images that can be read; the others are added to `skipped`."""
    for path, name in photos:
        try:
            yield _Photo(name, [seer.read(path) for seer in seers], seers[0].read(path, CELL))
        except UserError as error:
            skipped.append(unreadable(path, error))


def unreadable(path: Path, error: UserError) -> tuple[str, str]:
    """Return the name of an image that cannot be read, and the reason."""
    name = printable(path)
    return name, str(error).removeprefix(f"cannot read the image {name}: ")
