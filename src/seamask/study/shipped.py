"""The studies that come with the package, and how a study's file is read."""

from __future__ import annotations

from importlib import resources
from typing import Any

from seamask.base.documents import parse_yaml, read_yaml
from seamask.base.errors import UserError, unknown
from seamask.base.paths import local

SUFFIXES = (".yaml", ".yml")


def shipped() -> dict[str, str]:
    """Return {name: title} of the studies in the package."""
    return {name: fill(raw := read(name), raw.get("data"))["title"] for name in sorted(_texts())}


def read(name: str) -> dict[str, Any]:
    """Return what the YAML of a study says, by the name of a shipped one or by path.

    Raises:
        UserError: there is none, or it is not YAML.
    """
    path = local(name)
    texts = _texts()
    if name in texts:
        raw = parse_yaml(texts[name], f"the study {name}")
    elif path.suffix in SUFFIXES or path.is_file():
        raw = read_yaml(path, "the study")
    else:
        raise unknown("study", name, texts)
    if not isinstance(raw, dict):
        raise UserError(f"cannot read the study {name}: expected `name: value` lines")
    return raw


def fill(raw: Any, data: Any) -> Any:
    """Return `raw` with `{data}` replaced in every text in it, keys included.

    Raises:
        UserError: it is there, and no data are given.
    """
    if isinstance(raw, dict):
        return {fill(key, data): fill(value, data) for key, value in raw.items()}
    if isinstance(raw, list):
        return [fill(value, data) for value in raw]
    if not isinstance(raw, str) or "{data}" not in raw:
        return raw
    if data is None:
        raise UserError(f"{raw!r} needs data: give --data, or a line `data: NAME` in the study")
    return raw.replace("{data}", str(data))


def _texts() -> dict[str, str]:
    folder = resources.files("seamask.study") / "studies"
    return {
        file.name.removesuffix(".yaml"): file.read_text()
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    }
