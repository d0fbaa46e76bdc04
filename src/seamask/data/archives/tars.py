"""Tar archives: plain, of tars (ImageNet's), shards in WebDataset's convention, compressed."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import posixpath
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from seamask.base.errors import UserError, printable
from seamask.base.files import OURS, make_folder
from seamask.base.threads import once
from seamask.data.archives.members import Listing, Member, cannot_read, pyarrow_for
from seamask.data.files.decode import EXTENSIONS, BadImage


def _by_pyarrow(path: Path, codec: str) -> Any:
    return pyarrow_for(path).input_stream(str(path), compression=codec)


OPENERS: dict[bytes, Callable[[Path], Any]] = {  # by the first bytes
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"\x28\xb5\x2f\xfd": partial(_by_pyarrow, codec="zstd"),
    b"\x04\x22\x4d\x18": partial(_by_pyarrow, codec="lz4"),
}
SWELLS = 200  # times its size that a compressed archive may unpack to, beyond the first 64 MiB
SMALL = 2**16  # bytes of what says a label, at most
LABELS = ("class_name", "label_name", "class", "label", "cls")  # in the JSON beside an image


class Tar:
    """A tar archive. Members are bytes of it at a place, which any thread can read.

    A compressed one has no places: it is unpacked to a nameless file in the cache, which goes when
    it is no longer needed.

    Args:
        path: of the archive.
        cache: folder for that file.
    """

    def __init__(self, path: Path, cache: Path) -> None:
        self.path, self.cache = path, cache

    def listing(self) -> Listing:
        """List its images; see `Archive`.

        A tar in the tar is looked into: its name is a class. In WebDataset's convention `a/b.cls`
        or `a/b.json` has the label of `a/b.jpg`; where no image has one, paths say it.
        """
        found = Listing()
        labels: dict[str, str] = {}
        with self._opened() as file:
            for path, start, size in _files(self.path, file, found):
                key, extension = _key(path)
                if extension in ("cls", "json"):
                    if size <= SMALL and (label := _label(_at(file, start, size), extension)):
                        labels.setdefault(key, label)
                elif name := found.inside(path):
                    found.members.append(Member(name, (start,), size))
        keys = {_key(member.name)[0] for member in found.members}
        if keys & labels.keys():  # `b.seg.png` is another thing of `b`, no image to train on
            found.members = [
                member._replace(label=labels.get(key, ""))
                for member in found.members
                for key, extension in [_key(member.name)]
                if f".{extension.lower()}" in EXTENSIONS
            ]
        return found

    def read(self, member: Member) -> bytes:
        """Return the bytes of an image; see `Archive`."""
        with self._opened() as file:
            # At a place, and not from where the file stands: threads may share it.
            data = os.pread(file.fileno(), member.size, member.place[0])
        if len(data) < member.size:
            raise BadImage(f"cut short: {len(data):,} of {member.size:,} bytes are there")
        return data

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self._unpacked is not None:
            yield self._unpacked
        else:  # each time: there may be more shards than files may be open
            with open(self.path, "rb") as file:
                yield file

    @once
    def _unpacked(self) -> IO[bytes] | None:
        """The file that a compressed tar is unpacked to; None of another."""
        with open(self.path, "rb") as file:
            magic = file.read(8)
        opener = next((opener for mark, opener in OPENERS.items() if magic.startswith(mark)), None)
        if opener is None:
            return None
        make_folder(self.cache)
        most = 2**26 + SWELLS * self.path.stat().st_size
        unpacked = tempfile.TemporaryFile(prefix=OURS, dir=self.cache)  # noqa: SIM115 (kept open)
        weakref.finalize(self, unpacked.close)
        try:
            with opener(self.path) as stream:
                while piece := stream.read1(2**20):  # what there is, if less
                    if unpacked.tell() > most:
                        raise UserError(
                            f"{printable(self.path)} unpacks to more than {SWELLS} times its size, "
                            "which no images do; if they are images, unpack it by hand"
                        )
                    self._write(unpacked, piece)
        except (EOFError, zlib.error, lzma.LZMAError):
            pass  # what comes before can be read; the listing says what is damaged
        except OSError as error:
            if error.errno is not None:  # the disk's; of a codec, as above
                raise
        unpacked.seek(0)
        return unpacked

    def _write(self, unpacked: IO[bytes], piece: bytes) -> None:
        try:
            unpacked.write(piece)
        except OSError as error:
            raise UserError(
                f"cannot unpack {printable(self.path)} in {printable(self.cache)}: "
                f"{error.strerror}; free some space or choose another place with --data.cache"
            ) from error


def _files(
    path: Path, file: IO[bytes], found: Listing, start: int = 0, folder: str = ""
) -> Iterator[tuple[str, int, int]]:
    """Yield (path, place, bytes) of regular files; `folder`, of a tar in a tar that is at `start`.

    Raises:
        UserError: it is no tar.
    """
    last = "its beginning"
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while member := tar.next():
                tar.members.clear()  # type: ignore[attr-defined]  # else all stay in memory
                last = printable(posixpath.join(folder, member.name))
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    found.odd += 1
                elif not folder and member.name.lower().endswith(".tar"):
                    inner = tar.extractfile(member)
                    assert inner is not None
                    stem = posixpath.basename(member.name)[: -len(".tar")] or "tar"
                    yield from _files(path, inner, found, member.offset_data, stem)
                else:
                    name = f"{folder}/{member.name}" if folder else member.name
                    yield name, start + member.offset_data, member.size
            file.seek(tar.offset)
            if any(file.read(tarfile.BLOCKSIZE)):  # not the zeros that end an archive
                raise tarfile.ReadError("no header")
    except tarfile.TarError as error:
        if last == "its beginning" and not folder:
            raise cannot_read(path, f"not a tar archive ({error})") from error
        found.damage = f"{error} after {last if last != 'its beginning' else folder}"


def _key(name: str) -> tuple[str, str]:
    """Return WebDataset's name of a sample, and of the part of it that a file is."""
    folder, base = posixpath.split(posixpath.normpath(name))
    stem, _, extension = base.partition(".")
    return posixpath.join(folder, stem), extension


def _at(file: IO[bytes], start: int, size: int) -> bytes:
    return os.pread(file.fileno(), size, start)


def _label(data: bytes, extension: str) -> str:
    """Return the class that a file beside an image says, empty if it says none."""
    text = data.decode("utf-8", "replace").strip()
    if extension == "cls":
        return text
    with suppress(ValueError, RecursionError):
        said = json.loads(text)
        if isinstance(said, dict):
            names = (said[name] for name in LABELS if name in said)
            return next((str(name) for name in names if isinstance(name, str | int)), "")
    return ""
