"""Disks for tests: one that is as large as it is said to be, and one whose power can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOM = 2**30  # bytes


class Small:
    """A disk in memory whose size can be changed.

    Args:
        place: an empty folder, where it is mounted.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._mount(ROOM)

    def resize(self, size: int) -> None:
        """Change its size, in bytes; what is on it stays."""
        self._mount(size, "remount")

    def used(self) -> int:
        """Return how many bytes are taken."""
        found = os.statvfs(self.place)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def _mount(self, size: int, *options: str) -> None:
        given = ",".join([*options, f"size={size}"])
        _run("mount", "-t", "tmpfs", "-o", given, "tmpfs", self.place)


class Powered:
    """A disk whose power can be cut: what is not synced by then is lost.

    Args:
        place: an empty folder, where it is mounted.
        image: a new file that holds it.
    """

    def __init__(self, place: Path, image: Path) -> None:
        self.place, self.image = place, image
        with open(image, "wb") as file:
            file.truncate(64 * 2**20)
        _run("mkfs.ext4", "-q", image)
        self._mount()

    def sync(self) -> None:
        """Have all that is there written."""
        _run("sync", "--file-system", self.place)

    def cut(self) -> None:
        """Cut the power; nobody may have a file on it open. It comes back at once."""
        saved = self.image.with_name("as on disk")
        shutil.copy(self.image, saved)  # the pages that were not written are not in it
        _run("umount", self.place)
        os.replace(saved, self.image)
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop,commit=600", self.image, self.place)


@contextmanager
def small_disk(place: Path) -> Iterator[Small]:
    """Mount a `Small` disk; skip the test where that is not allowed."""
    with _mounted(place):
        yield _or_skip(lambda: Small(place))


@contextmanager
def powered_disk(place: Path) -> Iterator[Powered]:
    """Mount a `Powered` disk; skip the test where that is not allowed."""
    with _mounted(place):
        yield _or_skip(lambda: Powered(place, place.with_name("image")))


@contextmanager
def _mounted(place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    try:
        yield
    finally:
        if os.path.ismount(place):
            _run("umount", "--lazy", place)


def _or_skip(make):
    try:
        return make()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"may not mount: {error}")


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)
