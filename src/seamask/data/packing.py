"""Make a store ahead of time, at a place of its own, by any number of processes together."""

from __future__ import annotations

from pathlib import Path

from seamask.base.errors import UserError, printable
from seamask.base.paths import check_writable
from seamask.data.files.decode import allow
from seamask.data.sets.packed import about_packed, is_packed, packed
from seamask.data.settings import DataConfig
from seamask.data.sources import Data, find_source, fingerprint_of, load, plan_of
from seamask.data.store.pieces import build_together


def pack(config: DataConfig, out: Path, seed: int = 0, progress: bool = True) -> Data:
    """Pack images at `config.size` pixels into a folder that is a data set by itself.

    Started several times at once, on one machine or on several that share the folder, the processes
    share the work; started again, it goes on.

    Args:
        config: which images, and how they are read; `size` is given.
        out: the folder to make.
        seed: see `load`.
        progress: show progress on stderr.

    Returns:
        What `load` gives for `--data OUT`.

    Raises:
        UserError: see `load`; or `out` holds something else.
    """
    source = find_source(config, config.size, seed)
    if source.packed:
        raise UserError(f"--data {printable(config.source)} is packed already; use it as it is")
    check_writable(out, "--out")
    allow(config.max_megapixels)
    fingerprint = fingerprint_of(source, config, config.size)
    if out.exists():
        own = DataConfig(channels=config.channels)
        if not is_packed(out) or packed(out, own).identity() != fingerprint:
            raise UserError(
                f"--out {printable(out)} is there and holds something else; remove it, or choose "
                "another place"
            )
    else:
        build_together(
            out, config.size, plan_of(source, config)(), about_packed(source, fingerprint, config),
            source.name, fingerprint[:16], progress,
        )  # fmt: skip
    made = DataConfig(source=str(out), on_bad_image=config.on_bad_image, channels=config.channels)
    return load(made, config.size, seed, progress)
