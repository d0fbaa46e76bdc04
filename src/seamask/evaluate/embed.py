"""Features of every image of a folder, with their paths, in a file for other programs."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from seamask.base.devices import check_device, kind_of
from seamask.base.errors import UserError, check_choice
from seamask.base.files import atomic
from seamask.base.paths import check_writable, local
from seamask.base.precision import use_precision
from seamask.base.progress import Progress
from seamask.data.files.decode import allow, read_square
from seamask.data.files.depth import Ranges, as_ranges
from seamask.data.normalize import imagenet
from seamask.data.settings import DataConfig
from seamask.evaluate.features import extract
from seamask.evaluate.photos import found_images, none_readable, unreadable
from seamask.evaluate.subject import open_subject
from seamask.networks.check import channels_of

AT_ONCE = 64  # images


@dataclass(frozen=True)
class Embedded:
    """What was written.

    Attributes:
        images: rows.
        width: of the features.
        skipped: (file, reason) of images that could not be read.
    """

    images: int
    width: int
    skipped: tuple[tuple[str, str], ...]


def embed(
    encoder: str,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    device: str = "auto",
) -> Embedded:
    """Write the features of every image of a folder, and its path below that folder.

    The encoder sees of each image its centre square, at its own size, as in evaluations.

    Args:
        encoder: a run's folder, or what else `seamask evaluate` takes.
        data: folder of images, of any nesting.
        out: file to write: `.parquet` has columns `path` and `features` (a list of F float32),
            `.npz` arrays `paths` and `features` `[n, F]`, `.csv` columns `path`, `f0`, `f1`, ….
        device: where to compute: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        UserError: no such encoder, no image that can be read, or a file that cannot be written.
    """
    file = local(os.fspath(out), "--out")
    check_choice("--out: the suffix of the file", file.suffix, WRITERS)
    check_writable(file, "--out", file=True)
    if file.suffix == ".parquet":
        _check_pyarrow()
    check_device(device)
    use_precision("fp32")
    subject = open_subject(encoder)
    backbone, size = subject.backbone.to(kind_of(device)), subject.image_size
    config = subject.config.data if subject.config else DataConfig()
    ranges: Ranges = {}
    if subject.run is not None:
        ranges = as_ranges(subject.run.read_manifest().get("data", {}).get("ranges", {}))
    normalization = subject.normalization or imagenet(channels_of(backbone))
    photos = found_images([data])
    allow(config.max_megapixels)
    paths: list[str] = []
    found: list[npt.NDArray[np.float32]] = []
    skipped: list[tuple[str, str]] = []
    with Progress("features", len(photos), "images") as progress:
        for start in range(0, len(photos), AT_ONCE):
            part = photos[start : start + AT_ONCE]
            squares = []
            for path, name in part:
                try:
                    squares.append(read_square(path, size, ranges, config.jpeg == "exact"))
                    paths.append(name)
                except UserError as error:
                    skipped.append(unreadable(path, error))
            if squares:
                pixels = torch.from_numpy(np.stack(squares))
                found.append(extract(backbone, pixels, size, normalization).numpy())
            progress.advance(len(part))
    if not found:
        raise none_readable(skipped)
    features = np.concatenate(found)
    with atomic(file) as temporary:
        WRITERS[file.suffix](temporary, paths, features)
    return Embedded(len(features), features.shape[1], tuple(skipped))


def _check_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(
            "--out: parquet files need pyarrow: pip install 'seamask[parquet]', or write .npz"
        ) from error


def _parquet(file: Path, paths: list[str], features: npt.NDArray[np.float32]) -> None:
    import pyarrow
    from pyarrow import parquet

    flat = pyarrow.array(features.ravel())
    lists = pyarrow.FixedSizeListArray.from_arrays(flat, features.shape[1])
    parquet.write_table(pyarrow.table({"path": paths, "features": lists}), file)


def _npz(file: Path, paths: list[str], features: npt.NDArray[np.float32]) -> None:
    with file.open("wb") as opened:
        np.savez(opened, paths=np.array(paths), features=features)


def _csv(file: Path, paths: list[str], features: npt.NDArray[np.float32]) -> None:
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["path", *(f"f{k}" for k in range(features.shape[1]))])
        rows.writerows([path, *row.tolist()] for path, row in zip(paths, features, strict=True))


WRITERS: dict[str, Callable[[Path, list[str], npt.NDArray[np.float32]], None]] = {
    ".parquet": _parquet,
    ".npz": _npz,
    ".csv": _csv,
}
