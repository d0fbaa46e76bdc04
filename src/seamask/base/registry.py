"""Parts by name: what there is to choose from, and the settings that each part brings along.

    @MASKERS.register("stripes", StripesSettings)
    def build(settings: StripesSettings, image_size: int) -> nn.Module: ...

The fields of a part's settings join those of the part's group (`masks.stripes`) on the command
line, in YAML and in Python, also where the part comes from a plugin.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from seamask.base.errors import unknown
from seamask.base.settings import extended

P = TypeVar("P")
T = TypeVar("T")

_registries: list[Registry] = []  # type: ignore[type-arg]


class Registry(Mapping[str, P]):
    """Parts of one kind, by the names that settings give them.

    Args:
        kind: what they are, for errors: `masker`.
        group: the settings group that their settings belong to: `masks`; empty: each part has
            settings of its own, that join no group.
    """

    def __init__(self, kind: str, group: str = "") -> None:
        self.kind, self.group = kind, group
        self._parts: dict[str, P] = {}
        self._settings: dict[str, type] = {}
        self._modules: dict[str, str] = {}
        _registries.append(self)

    def register(self, name: str, settings: type | None = None) -> Callable[[P], P]:
        """Return a decorator that adds a part, or replaces the one of that name.

        Args:
            name: that settings give it.
            settings: a frozen dataclass, whose every field has a default; None: it has none.

        Raises:
            TypeError: the name is no text, or the settings are no such dataclass.
        """
        if not isinstance(name, str):
            raise TypeError(f'a {self.kind} is registered as .register("NAME"), not {name!r}')
        if settings is not None and not _is_whole(settings):
            raise TypeError(
                f"settings of {self.kind} {name!r}: {settings!r} is no frozen dataclass whose "
                "every field has a default"
            )

        def add(part: P) -> P:
            self._parts[name] = part
            self._settings.pop(name, None)
            self._modules[name] = sys._getframe(1).f_globals["__name__"]
            if settings is not None:
                self._settings[name] = settings
            return part

        return add

    def __getitem__(self, name: str) -> P:
        """Return the part of that name.

        Raises:
            UserError: there is none, with the nearest that there is.
        """
        if name not in self._parts:
            raise unknown(self.kind, name, self._parts)
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def settings(self) -> tuple[type, ...]:
        """The settings of all parts that have some."""
        return tuple(self._settings.values())


def _is_whole(settings: type) -> bool:
    return (
        dataclasses.is_dataclass(settings)
        and settings.__dataclass_params__.frozen  # type: ignore[attr-defined]
        and all(
            dataclasses.MISSING is not f.default or dataclasses.MISSING is not f.default_factory
            for f in dataclasses.fields(settings)
        )
    )


def registered_by(module: str) -> bool:
    """Say whether a module, by its name, has registered a part that is still there."""
    return any(r._modules.get(name) == module for r in _registries for name in r)


def with_parts(config: T) -> T:
    """Return settings with those of all registered parts among them, at their defaults.

    A group has most of them already, since it inherits those of the parts that come with seamask;
    what plugins have added joins it here.

    Args:
        config: a dataclass whose groups are fields.
    """
    changed: dict[str, Any] = {}
    for registry in _registries:
        group = registry.group
        if group and hasattr(config, group):
            now = changed.get(group, getattr(config, group))
            changed[group] = extended(now, registry.settings)
    changed = {n: g for n, g in changed.items() if g is not getattr(config, n)}
    if not changed:
        return config
    old = type(config)
    fields = [(n, type(g), dataclasses.field(default_factory=type(g))) for n, g in changed.items()]
    kind = dataclasses.make_dataclass(
        old.__name__, fields, bases=(old,), frozen=True, namespace={"__doc__": old.__doc__}
    )
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(old)}  # type: ignore[arg-type]
    return kind(**(values | changed))  # type: ignore[no-any-return]
