"""Parquet files and saved data sets (Arrow files) in Hugging Face's layout: a row is an image."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from seamask.base.errors import printable
from seamask.base.threads import once
from seamask.data.archives.members import Listing, Member, cannot_read, pyarrow_for
from seamask.data.files.decode import EXTENSIONS, BadImage

IMAGES = ("image", "img", "jpg", "png", "picture", "photo")
LABELS = ("label", "labels", "fine_label", "class", "class_name", "category", "target", "cls")
HELD = 4  # groups of rows in memory at once


class Groups(Protocol):
    """A table, some rows at a time."""

    schema: Any

    def __len__(self) -> int: ...

    def count(self, group: int) -> int:
        """Return how many rows a group has; none is read."""

    def rows(self, group: int, columns: list[str]) -> dict[str, Any]:
        """Return {column: its values in a group of rows}."""


class Parquet:
    """The groups of rows of a parquet file."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self._file = parquet.ParquetFile(path, memory_map=True)
        self.schema = self._file.schema_arrow

    def __len__(self) -> int:
        return int(self._file.num_row_groups)

    def count(self, group: int) -> int:
        """See `Groups`."""
        return int(self._file.metadata.row_group(group).num_rows)

    def rows(self, group: int, columns: list[str]) -> dict[str, Any]:
        """See `Groups`; a column `a.b` is the part `b` of `a`."""
        table = self._file.read_row_group(group, columns=columns, use_threads=False)
        return {column: _part(table, column) for column in columns}


class Arrow:
    """The batches of an Arrow file, which stay on the disk until they are used."""

    def __init__(self, path: Path) -> None:
        import pyarrow

        source = pyarrow.memory_map(str(path))
        try:
            reader = pyarrow.ipc.open_stream(source)
            self._batches = list(reader)
        except pyarrow.ArrowInvalid:
            source.seek(0)
            reader = pyarrow.ipc.open_file(source)
            self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self.schema = reader.schema

    def __len__(self) -> int:
        return len(self._batches)

    def count(self, group: int) -> int:
        """See `Groups`."""
        return int(self._batches[group].num_rows)

    def rows(self, group: int, columns: list[str]) -> dict[str, Any]:
        """See `Groups`."""
        return {column: _part(self._batches[group], column) for column in columns}


class Table:
    """A table with a column of images, and perhaps one of labels.

    The image column is a struct of `bytes` and `path`, or the bytes; names of classes are in the
    schema. A row whose image is only a path is not followed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._lock = Lock()

    def listing(self) -> Listing:
        """List its images; see `Archive`."""
        found = Listing()
        image, is_struct, label, names = self._columns
        paths = f"{image}.path" if is_struct and _has_path(self._table.schema, image) else None
        number = 0
        for group in range(len(self._table)):
            columns = [column for column in (paths, label) if column]
            rows = self._table.rows(group, columns) if columns else {}
            of = {column: values.to_pylist() for column, values in rows.items()}
            for row in range(self._table.count(group)):
                suffix = os.path.splitext((paths and of[paths][row]) or "")[1].lower()
                # Of unknown type: as one that has to be looked at before it is read.
                suffix = suffix if suffix in EXTENSIONS else ".png"
                said = _named(of[label][row], names) if label else None
                name = f"{self.path.name}:{number:06d}{suffix}"
                found.members.append(Member(name, (group, row), -1, said))
                number += 1
        return found

    def read(self, member: Member) -> bytes:
        """Return the bytes of an image; see `Archive`."""
        group, row = member.place
        image, is_struct, _, _ = self._columns
        column = _bytes_of(image, is_struct)
        with self._lock:  # rows come nearly in order: a group is read once
            if group not in self._held:
                self._held[group] = self._table.rows(group, [column])[column]
                while len(self._held) > HELD:
                    self._held.popitem(last=False)
            values = self._held[group]
        data = values[row].as_py()
        if data is None:
            raise BadImage("its bytes are not in the table")
        return bytes(data)

    @once
    def _table(self) -> Groups:
        pyarrow = pyarrow_for(self.path)
        try:
            return Arrow(self.path) if self.path.suffix == ".arrow" else Parquet(self.path)
        except (pyarrow.ArrowException, OSError) as error:
            raise cannot_read(self.path, error) from error

    @once
    def _columns(self) -> tuple[str, bool, str | None, list[str]]:
        """Return the column of images, whether it is a struct, that of labels, and their names."""
        from pyarrow import types

        schema = self._table.schema
        features = _features(schema)
        kinds = {name: f.get("_type") for name, f in features.items() if isinstance(f, dict)}

        def is_image(name: str) -> bool:
            kind = schema.field(name).type
            if types.is_struct(kind):
                return any(field.name == "bytes" for field in kind)
            return bool(types.is_binary(kind) or types.is_large_binary(kind))

        def is_label(name: str) -> bool:
            kind = schema.field(name).type
            return bool(
                types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)
            )

        fit = [name for name in schema.names if is_image(name)]
        images = (
            [n for n in fit if kinds.get(n) == "Image"] or [n for n in IMAGES if n in fit] or fit
        )
        if not images:
            raise cannot_read(
                self.path, f"no column of images among {', '.join(map(printable, schema.names))}"
            )
        fit = [name for name in schema.names if is_label(name)]
        labels = [n for n in fit if kinds.get(n) == "ClassLabel"] or [n for n in LABELS if n in fit]
        label = labels[0] if labels else None
        names = features[label].get("names") if label and kinds.get(label) == "ClassLabel" else None
        is_struct = types.is_struct(schema.field(images[0]).type)
        return images[0], is_struct, label, [str(name) for name in names or ()]


def _features(schema: Any) -> dict[str, Any]:
    """Return what Hugging Face's `datasets` has noted of the columns."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        found = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return found if isinstance(found, dict) else {}
    return {}


def _named(label: Any, names: list[str]) -> str:
    """Return the name of a class, of its number or its name; empty: it has none."""
    if label is None or (isinstance(label, int) and label < 0):
        return ""
    if isinstance(label, int) and label < len(names):
        return names[label]
    return str(label)


def _bytes_of(image: str, is_struct: bool) -> str:
    return f"{image}.bytes" if is_struct else image


def _has_path(schema: Any, image: str) -> bool:
    return any(field.name == "path" for field in schema.field(image).type)


def _part(table: Any, column: str) -> Any:
    """Return a column, or the part `b` of the column `a` for `a.b`."""
    if column in table.schema.names:
        return table.column(column)
    name, _, part = column.rpartition(".")
    whole = table.column(name)
    chunks = getattr(whole, "chunks", None)
    return whole.field(part) if chunks is None else _joined([c.field(part) for c in chunks])


def _joined(chunks: list[Any]) -> Any:
    import pyarrow

    return pyarrow.chunked_array(chunks)
