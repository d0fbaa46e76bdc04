"""ImageNet100s: 100 classes of ImageNet at 96 pixels, made once from an ImageNet folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from seamask.base.errors import UserError, printable
from seamask.base.files import atomic, cannot_write
from seamask.base.paths import local
from seamask.base.progress import Progress
from seamask.base.threads import in_threads
from seamask.data.files.decode import EXTENSIONS, BadImage, opened, square
from seamask.data.files.listing import is_hidden
from seamask.data.registry import SOURCES, Source
from seamask.data.sets.folder import Chosen, Layout, read_layout
from seamask.data.sets.path import of_layout

if TYPE_CHECKING:
    from seamask.data.settings import DataConfig

SIZE = 96  # pixels ([ADIOS])
QUALITY = 95  # of the JPEGs, colours at full resolution
SPLITS = ("train", "val")
IMAGES = 126_689  # to train on


@SOURCES.register("imagenet100s")
def imagenet100s(config: DataConfig, size: int, seed: int) -> Source:
    """Return the source: what `make_imagenet100s` made, in `config.root` or in a folder there."""
    root = local(config.root, "--data.root")
    if root.name != "imagenet100s" and not any((root / part).is_dir() for part in SPLITS):
        root /= "imagenet100s"
    read = partial(read_imagenet100s, root, config.holdout, seed, config.split)
    return of_layout("imagenet100s", config, size, read, IMAGES)


@dataclass(frozen=True)
class Made:
    """What making the data set came to.

    Attributes:
        folder: holds `train/<class>/` and `val/<class>/`: the `--data.root` of `imagenet100s`.
        kept: images that were there already.
        skipped: (path in the ImageNet folder, reason) of images that could not be read.
    """

    folder: Path
    written: int
    kept: int
    skipped: tuple[tuple[str, str], ...]


def wnids() -> tuple[str, ...]:
    """Return the names of the 100 classes, those of CMC's ImageNet-100 (Tian et al. 2020)."""
    return tuple(
        (resources.files("seamask.data.sets") / "imagenet100_wnids.txt").read_text().split()
    )


def make_imagenet100s(imagenet: Path, out: Path, size: int = SIZE, progress: bool = True) -> Made:
    """Resize the 100 classes of an ImageNet folder: shorter side to `size`, centre crop.

    Started again it goes on where it stopped. Images that cannot be read are skipped.

    Args:
        imagenet: holds `train/<class>/` and `val/<class>/` with classes like `n01558993`.
        out: gets `train/<class>/*.JPEG` and `val/<class>/*.JPEG`.
        size: side in pixels.
        progress: show progress on stderr.

    Raises:
        UserError: not an ImageNet folder, classes are missing, `out` lies in it, or a file cannot
            be written.
    """
    imagenet, out = local(imagenet, "--imagenet"), local(out, "--out")
    _check_places(imagenet, out)
    paths = _list(imagenet)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error

    def make(path: Path) -> BadImage | bool:
        """Make one image; return whether that was needed."""
        target = out / path
        if path.suffix.lower() not in (".jpeg", ".jpg"):
            target = target.with_name(f"{path.name}.JPEG")
        if _is_made(target, size):
            return False
        try:
            with opened(imagenet / path, size) as whole:
                image = Image.fromarray(square(whole, size))
        except BadImage as error:
            return error
        with atomic(target) as temporary:
            image.save(temporary, "JPEG", quality=QUALITY, subsampling="4:4:4")
        return True

    kept, skipped = 0, []
    with Progress("preparing imagenet100s", len(paths), "images", enabled=progress) as bar:
        for path, result in zip(paths, in_threads(make, paths), strict=True):
            if isinstance(result, BadImage):
                skipped.append((printable(path), str(result)))
            kept += result is False
            if result is False:
                bar.skip(1)
            else:
                bar.advance(note=f"{len(skipped)} unreadable" if skipped else "")
    return Made(out, len(paths) - kept - len(skipped), kept, tuple(skipped))


def read_imagenet100s(root: Path, holdout: float, seed: int, split: Chosen = "auto") -> Layout:
    """List a made `imagenet100s`; arguments as for `read_layout`.

    Raises:
        UserError: it is not there.
    """
    missing = [part for part in SPLITS if not (root / part).is_dir()]
    layout = None if missing else read_layout(root, holdout, seed, split)
    if layout is None or not layout.classes:
        what = f"no {' and no '.join(missing)} folder" if missing else "no class folders"
        raise UserError(
            f"--data imagenet100s: {what} in {printable(root)}; make it from an ImageNet folder "
            "with train/<class>/ and val/<class>/ by `seamask data imagenet100s --imagenet DIR "
            f"--out {printable(root)}`, or name its folder with --data.root"
        )
    return layout


def _check_places(imagenet: Path, out: Path) -> None:
    if not imagenet.is_dir():
        raise UserError(f"--imagenet {printable(imagenet)}: no such folder; name ImageNet's")
    if out.resolve().is_relative_to(imagenet.resolve()):
        raise UserError(
            f"--out {printable(out)} lies in the ImageNet folder {printable(imagenet)}; "
            "choose a folder outside it"
        )
    missing = [part for part in SPLITS if not (imagenet / part).is_dir()]
    if missing:
        raise UserError(
            f"--imagenet {printable(imagenet)}: not an ImageNet folder, it has no "
            f"{' and no '.join(missing)} folder; name the one with train/<class>/ and val/<class>/"
        )


def _list(imagenet: Path) -> list[Path]:
    """Return the images of the 100 classes, relative to the ImageNet folder."""
    paths: list[Path] = []
    for part in SPLITS:
        found = {
            wnid: sorted(
                path.relative_to(imagenet)
                for path in (imagenet / part / wnid).glob("*")
                if path.suffix.lower() in EXTENSIONS and not is_hidden(path.name)
            )
            for wnid in wnids()
        }
        missing = [wnid for wnid, files in found.items() if not files]
        if len(missing) == len(found) and any(
            path.suffix.lower() in EXTENSIONS for path in (imagenet / part).iterdir()
        ):
            raise UserError(
                f"--imagenet {printable(imagenet)}: {part}/ holds images but no class folders; "
                f"sort them into {part}/<class>/ first (torchvision.datasets.ImageNet does it)"
            )
        if missing:
            raise UserError(
                f"--imagenet {printable(imagenet)}: {part}/ has no images of {len(missing)} of the "
                f"{len(found)} classes ({', '.join(missing[:5])}{', …' * (len(missing) > 5)}); "
                "complete it"
            )
        paths += [path for files in found.values() for path in files]
    return paths


def _is_made(target: Path, size: int) -> bool:
    try:
        with Image.open(target) as image:
            return image.size == (size, size)
    except OSError:
        return False
