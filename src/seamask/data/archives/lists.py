"""Lists of image files, as text or CSV: paths, and what is said of them."""

from __future__ import annotations

import csv
import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from seamask.base.errors import UserError, printable
from seamask.data.archives.members import cannot_read
from seamask.data.files.decode import EXTENSIONS
from seamask.data.files.identity import Entry
from seamask.data.files.listing import Files
from seamask.data.sets.names import split_in

PATHS = ("path", "filepath", "file_path", "image_path", "file", "filename", "file_name", "image")
LABELS = ("label", "class", "class_name", "category", "target")
SPLITS = ("split", "subset", "set")


class Line(NamedTuple):
    """What a list says of an image."""

    path: str
    label: str | None = None
    split: str = ""


def read_list(path: Path) -> Files:
    """Return the images that a list names, as one folder lists them: `[split/][class/]path`.

    - `.csv`, `.tsv`: with a header, the columns of a usual name (`path`, `label`, `split`); without
      one, the first is the path and the second, if there is one, the label.
    - Any other: a path a line, with a tab and its label behind it, or a space and its label.

    Paths are relative to the list's folder, or absolute. Where the list has no labels, the folders
    in the paths are classes as those of a folder of images are.

    Raises:
        UserError: it cannot be read, or names no image.
    """
    try:
        text = path.read_text("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise cannot_read(path, error.strerror) from error
    suffix = path.suffix.lower()
    try:
        lines = list(_table(text, suffix) if suffix in (".csv", ".tsv") else _text(text))
    except csv.Error as error:
        raise cannot_read(path, error) from error
    folder = os.path.abspath(path.parent)
    others: Counter[str] = Counter()
    where = {}
    for line in lines:
        if (kind := os.path.splitext(line.path)[1].lower()) in EXTENSIONS:
            where[line] = os.path.normpath(os.path.join(folder, line.path))
        else:
            others[kind or "no extension"] += 1
    if not where:
        first = f", its first line is {printable(lines[0].path)[:60]!r}" if lines else ""
        raise UserError(
            f"--data {printable(path)} names no image{first}; write the path of an image in each "
            f"line, or a header with {PATHS[0]!r}"
        )
    above = os.path.commonpath([os.path.dirname(found) for found in where.values()])
    labels = {line.label for line in where} - {None, ""}
    pad = max(map(len, labels)) if labels and all(map(str.isdecimal, labels)) else 0  # type: ignore[arg-type]
    files = {}
    for line, found in where.items():
        name = os.path.relpath(found, above)
        if labels:  # in that folder, or in none
            label = (line.label or "").zfill(pad if line.label else 0).replace("/", "|")
            name = f"{label}/{name}" if label else name.replace("/", ":")
        files[posixpath.join(split_in(line.split), name)] = found

    def entry(name: str) -> Entry:
        return Entry.of(name, Path(files[name]))

    return Files(path, list(files), files.__getitem__, entry, others=others)


def _text(text: str) -> Iterator[Line]:
    for line in filter(str.strip, text.splitlines()):
        path, tab, label = line.partition("\t")
        if not tab and os.path.splitext(line.strip())[1].lower() not in EXTENSIONS:
            path, _, label = line.strip().rpartition(" ")
            path = path or label
        yield Line(path.strip(), label.strip() or None)


def _table(text: str, suffix: str) -> Iterator[Line]:
    first = text.partition("\n")[0]
    between = "\t" if suffix == ".tsv" else ";" if first.count(";") > first.count(",") else ","
    rows = [row for row in csv.reader(text.splitlines(), delimiter=between) if any(row)]
    header = [name.strip().lower() for name in rows[0]] if rows else []
    columns = tuple(_column(header, names) for names in (PATHS, LABELS, SPLITS))
    if columns[0] is None:
        columns = 0, 1, None
    else:
        del rows[0]
    for row in rows:
        path, label, split = (
            row[column].strip() if column is not None and column < len(row) else ""
            for column in columns
        )
        yield Line(path, label or None, split)


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)
