"""Zip archives."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

from seamask.base.threads import once
from seamask.data.archives.members import Listing, Member, cannot_read


class Zip:
    """A zip archive; members have the paths that they would be unpacked to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def listing(self) -> Listing:
        """List its images; see `Archive`."""
        found = Listing()
        infos = self._file.infolist()
        for i in sorted(range(len(infos)), key=lambda i: infos[i].header_offset):
            info = infos[i]
            if info.is_dir():
                continue
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                found.odd += 1
            elif name := found.inside(info.filename):
                found.members.append(Member(name, (i, info.CRC), info.file_size))
        return found

    def read(self, member: Member) -> bytes:
        """Return the bytes of an image, compared with their checksum; see `Archive`."""
        return self._file.read(self._file.infolist()[member.place[0]])

    @once
    def _file(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise cannot_read(self.path, error) from error
