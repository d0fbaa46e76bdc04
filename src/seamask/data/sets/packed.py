"""The source that is a store itself, made ahead of time by `seamask data pack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seamask.base.documents import read_json
from seamask.base.errors import UserError, printable
from seamask.data.normalize import Normalization
from seamask.data.registry import About, HeldOut, Source
from seamask.data.store.arrays import META
from seamask.data.store.packed import Store, open_store
from seamask.data.store.pieces import build_together, parts_of
from seamask.data.store.plan import Plan

if TYPE_CHECKING:
    from seamask.data.settings import DataConfig


# Settings of what was packed, which can no longer be chosen.
FIXED = ("holdout", "jpeg", "max_megapixels")


def is_packed(root: Path) -> bool:
    """Tell whether a folder is a store."""
    return (root / META).is_file() and (root / "train.pixels").is_file()


def pack_into(
    folder: Path,
    source: Source,
    fingerprint: str,
    config: DataConfig,
    size: int,
    seed: int,
    show: bool,
) -> None:
    """Pack images together with whoever else does, and from what others have left half-made.

    Args:
        folder: to make; what is there is left alone.
        source: of the images.
        fingerprint: of them.
        config: how they are read.
        size: side in pixels.
        seed: by which some are held out.
        show: show progress.

    Raises:
        UserError: see `build_together`.
    """
    about = _about(source, fingerprint, config, seed)
    key = fingerprint[:16]
    build_together(folder, size, source.plan(), about, source.name, key, show)


def is_begun(folder: Path, fingerprint: str) -> bool:
    """Tell whether some of a store's pieces are there, of a process that packs or was killed."""
    return parts_of(folder, fingerprint[:16]).exists()


def _about(source: Source, fingerprint: str, config: DataConfig, seed: int) -> dict[str, Any]:
    """Return what a store notes so that it is a source by itself."""
    about = source.about()
    return {
        "packed": {
            "name": source.name, "fingerprint": fingerprint, "split": about.split,
            "notes": about.notes, "normalization": source.normalization and [*source.normalization],
            "settings": {name: getattr(config, name) for name in FIXED}, "seed": seed,
        }
    }  # fmt: skip


def packed(root: Path, config: DataConfig) -> Source:
    """Return the source that a store is: with the fingerprint of the images it was made of.

    Raises:
        UserError: it was not made by `seamask data pack`, or with other settings than are asked
            for: `size`, and those of `FIXED` that are not at their defaults.
    """
    meta = read_json(root / META, "the store")
    try:
        about, size = meta["packed"], int(meta["size"])
        name, fingerprint = str(about["name"]), str(about["fingerprint"])
        known = about["normalization"]
        normalization = known and Normalization(*(tuple(map(float, v)) for v in known))
        said = About(str(about["split"]), tuple(map(str, about["notes"])))
        images = int(meta["splits"]["train"]["n"])
        channels = int(meta["splits"]["train"].get("channels", 3))
        then = {setting: about["settings"][setting] for setting in FIXED}
        # Stores of before do not say it: of the default, most likely.
        held = HeldOut(
            int(about.get("seed", 0)), float(then["holdout"]), size, fingerprint,
            {name: then[name] for name in FIXED if name != "holdout"},
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"--data {printable(root)}: a store that was not made by `seamask data pack`; give "
            "the images that it was made of"
        ) from error
    if config.size not in (0, size):
        raise UserError(
            f"--data.size {config.size}: {printable(root)} was packed at {size} pixels; leave it "
            "out, or pack the images anew"
        )
    if config.channels != channels:
        raise UserError(
            f"--data.channels {config.channels}: {printable(root)} was packed with {channels}; "
            f"take --data.channels {channels}, or pack the images anew"
        )
    for setting, was in then.items():
        if (asked := getattr(config, setting)) not in (getattr(type(config), setting), was):
            raise UserError(
                f"--data.{setting.replace('_', '-')} {asked}: {printable(root)} was packed with "
                f"{was}; leave it out, or pack the images anew"
            )

    def plan() -> Plan:
        raise AssertionError("it is made already")

    return Source(
        name, lambda: fingerprint, plan, normalization, images,
        about=lambda: said, packed=root, held_out=held, jpeg=str(then["jpeg"]),
    )  # fmt: skip


def open_packed(root: Path, show: bool) -> Store:
    """Open the store; it is checked against its checksums once for each start of the machine.

    Raises:
        UserError: it is not whole.
    """
    found = open_store(root, printable(root.name), show)
    if found is None:
        raise UserError(
            f"--data {printable(root)}: the store is not whole; remove it and make it anew with "
            "`seamask data pack`"
        )
    return found[0]
