"""Make a store ahead of time, by any number of processes together."""

from __future__ import annotations

from pathlib import Path

from seamask.base.errors import UserError, printable
from seamask.base.paths import check_writable
from seamask.data.files.decode import allow
from seamask.data.sets.packed import is_begun, is_packed, pack_into, packed
from seamask.data.settings import DataConfig
from seamask.data.sources import Data, find_source, fingerprint_of, load, place_in_cache


def pack(config: DataConfig, out: Path | None = None, seed: int = 0, progress: bool = True) -> Data:
    """Pack images at `config.size` pixels.

    Started several times at once, on one machine or on several that share the folder, the processes
    share the work; started again, it goes on.

    Args:
        config: which images, and how they are read; `size` is given.
        out: the folder to make, a data set by itself; None: in the cache, where `load` looks.
        seed: see `load`.
        progress: show progress on stderr.

    Returns:
        What `load` gives for `--data OUT`, or of the cache.

    Raises:
        UserError: see `load`; or `out` holds something else.
    """
    source = find_source(config, config.size, seed)
    if source.packed:
        raise UserError(f"--data {printable(config.source)} is packed already; use it as it is")
    allow(config.max_megapixels)
    fingerprint = fingerprint_of(source, config, config.size)
    if out is None:
        there = config
        folder = place_in_cache(source, fingerprint, config, config.size)
    else:
        there = DataConfig(
            source=str(out), on_bad_image=config.on_bad_image, channels=config.channels
        )
        folder = out
        check_writable(out, "--out")
        if out.exists() and not (is_packed(out) and packed(out, there).identity() == fingerprint):
            raise UserError(
                f"--out {printable(out)} is there and holds something else; remove it, or choose "
                "another place"
            )
    if not folder.exists() or is_begun(folder, fingerprint):
        pack_into(folder, source, fingerprint, config, config.size, seed, progress)
    return load(there, config.size, seed, progress)
