"""A report that is written anew as its runs go on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from seamask.base.paths import local
from seamask.report.comparing import is_study
from seamask.report.page import write_report
from seamask.report.reading import read_run

SECONDS = 10.0  # between two looks; a browser reads the page as often
LOOKED_AT = ("metrics.jsonl", "manifest.json", "features.npz")


def watch(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None,
    say: Callable[[str], None],
    seconds: float = SECONDS,
) -> Path:
    """Write the report whenever its runs have gone on, until they are finished; return its path.

    Args:
        paths: see `write_report`.
        out: see `write_report`.
        say: is told when it is written.
        seconds: between two looks.

    Raises:
        UserError: see `write_report`.
        KeyboardInterrupt: it is stopped; the page is left as one that is not read anew.
    """
    before = None
    try:
        while True:
            now = list(_stamps(paths))
            if now != before:
                written = write_report(*paths, out=out, refresh=max(1, round(seconds)))
                say(f"{time.strftime('%H:%M:%S')} wrote {written}")
                before = now
            if _all_finished(paths):
                return write_report(*paths, out=out)
            time.sleep(seconds)
    except KeyboardInterrupt:
        write_report(*paths, out=out)
        raise


def _runs(paths: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    for path in map(local, paths):
        yield from sorted(path.glob("*/seed*")) if is_study(path) else [path]


def _stamps(paths: Sequence[str | os.PathLike[str]]) -> Iterator[tuple[str, int]]:
    """Yield what changes with what a report shows."""
    for run in _runs(paths):
        for name in LOOKED_AT:
            if (file := run / name).exists():
                yield str(file), file.stat().st_mtime_ns


def _all_finished(paths: Sequence[str | os.PathLike[str]]) -> bool:
    """Say whether all runs have come to their end; a study never says that it is over."""
    return not any(is_study(path) for path in map(local, paths)) and all(
        read_run(run, 1).finished for run in _runs(paths)
    )
