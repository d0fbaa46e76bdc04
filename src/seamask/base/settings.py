"""Settings as frozen dataclasses: names, overrides, YAML. Unknown names are refused everywhere.

A setting has one name, its dotted path (`optim.encoder.lr`), the same on the command line
(`--optim.encoder.lr`), in YAML and in Python. The few that people reach for also have a short
name, e.g. `--masker` for `--masks.masker`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from seamask.base.documents import read_yaml as read_yaml_file
from seamask.base.errors import UserError, shown, unknown

T = TypeVar("T")
MOST = 2**31 - 1  # of a whole number without another bound: what libraries in C take
MOST_PIXELS = 8192  # a side of an image that a network sees
SEEDS = 2**32 - 1  # the largest seed: scikit-learn's

hints: Callable[[type], dict[str, Any]] = functools.cache(  # slow, and asked for all the time
    functools.partial(typing.get_type_hints, include_extras=True)
)


def written(kind: Any) -> Any:
    """Let a setting be a value that is written as text: its type has `parse` and `__str__`.

    budget: Annotated[Budget, written(Budget)] = Budget(0.25)
    """
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=lambda words: kind.parse(words[0]),
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


def short(name: str) -> Any:
    """Give a setting a second, short name on the command line and in the library."""
    return tyro.conf.arg(aliases=[f"--{name.replace('_', '-')}"])


def short_names(kind: type) -> dict[str, str]:
    """Return {short name: dotted path} of a dataclass of settings: `n_masks` → `masks.n_masks`."""
    found = {}
    for path, hint in leaves(kind):
        if typing.get_origin(hint) is Annotated:
            for argument in hint.__metadata__:
                for alias in getattr(argument, "aliases", None) or ():
                    found[alias.lstrip("-").replace("-", "_")] = path
    return found


def override(config: T, settings: Mapping[str, Any]) -> T:
    """Return `config` with some settings changed.

    Args:
        config: where to start from.
        settings: values by dotted path or short name: `{"masks.n_masks": 5, "epochs": 10}`.

    Raises:
        UserError: an unknown name (with the nearest known one) or a value of the wrong type.
    """
    kind = type(config)
    paths, short = dict(leaves(kind)), short_names(kind)
    for name, value in settings.items():
        path = name if name in paths else short.get(name, name)
        if path not in paths:
            raise unknown("setting", name, [*paths, *short])
        config = _replace(config, path.split("."), convert(flag(path, kind), value, paths[path]))
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """Return the settings as nested plain dicts and lists, ready for YAML and JSON."""
    return {
        field.name: to_dict(value) if is_group(type(value)) else plain(value)
        for field in dataclasses.fields(config)
        for value in [getattr(config, field.name)]
    }


def from_dict(nested: Mapping[str, Any], start: T) -> T:
    """Rebuild settings from `to_dict`'s result; missing keys keep the value in `start`.

    Raises:
        UserError: an unknown key or a value of the wrong type.
    """
    flat: dict[str, Any] = {}

    def walk(part: Mapping[str, Any], prefix: str) -> None:
        for key, value in part.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value

    walk(nested, "")
    return override(start, flat)


def read_yaml(path: Path, start: T) -> T:
    """Read settings from a YAML file; missing keys keep the value in `start`.

    Raises:
        UserError: the file is missing, not YAML, or holds unknown settings.
    """
    return read_settings(read_mapping(path), start, path)


def read_settings(lines: dict[str, Any], start: T, path: Path | str) -> T:
    """Return settings with what a file says over them.

    Raises:
        UserError: it holds unknown settings, or values that cannot be.
    """
    try:
        return from_dict(lines, start)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Return what a YAML file of settings says.

    Raises:
        UserError: the file is missing, not YAML, or no settings.
    """
    nested = read_yaml_file(path, "the settings in")
    if not isinstance(nested, dict):
        raise UserError(f"cannot read the settings in {path}: expected `name: value` lines")
    return nested


def get(config: Any, path: str) -> Any:
    """Return the value of a setting by its dotted path."""
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
    return value


def differences(then: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted path, value then, value now) of the settings in which two configs differ."""
    for path, _ in leaves(type(now)):
        was, is_now = get(then, path), get(now, path)
        if was != is_now:
            yield path, was, is_now


def flag(path: str, kind: type) -> str:
    """Return the command-line name of a setting: its short name where it has one."""
    return "--" + _names(kind).get(path, path).replace("_", "-")


@functools.cache  # asked for every setting of a file that is read
def _names(kind: type) -> dict[str, str]:
    """Return {dotted path: short name}."""
    return {dotted: name for name, dotted in short_names(kind).items()}


def convert(flag: str, value: Any, hint: Any) -> Any:
    """Return the value given for `flag` as the type that `hint` asks for.

    Raises:
        UserError: it is of another type.
    """
    hint, optional = required(hint)
    if optional and value in (None, "none", "None"):
        return None
    if is_written(hint) and not isinstance(value, hint):
        return hint.parse(str(value))  # YAML reads 0.25 as a number
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in arguments:
            return value
        raise unknown(f"value for {flag}:", str(value), [str(a) for a in arguments])
    if origin is tuple and isinstance(value, list | tuple):
        variadic = len(arguments) == 2 and arguments[1] is Ellipsis
        if variadic or len(value) == len(arguments):
            kinds = [arguments[0]] * len(value) if variadic else arguments
            return tuple(convert(flag, v, k) for v, k in zip(value, kinds, strict=True))
    elif origin is list and isinstance(value, list):
        return [convert(flag, v, arguments[0]) for v in value]
    elif origin is dict and isinstance(value, dict):
        return {str(k): convert(f"{flag}: {k}", v, arguments[1]) for k, v in value.items()}
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type) and not isinstance(value, hint):
        return record(hint, value, flag)
    elif hint is Any or (isinstance(hint, type) and type(value) is hint):
        return value
    elif hint is float and isinstance(value, str | int) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            check_digits(str(value))
            return float(value)  # YAML reads 1e-4 as text
    elif hint is str and isinstance(value, Path):
        return str(value)
    elif hint is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # YAML reads a folder named 2024 as a number
    wanted = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise UserError(f"{flag} is {shown(value)}: expected {wanted}")


def check_digits(*words: str) -> None:
    """Refuse what Python takes for a number and nobody else: `1_0`, digits of other scripts.

    Raises:
        ValueError: one of the words is such.
    """
    for word in words:
        if "_" in word or not word.isascii():
            raise ValueError(word)


def record(kind: type[T], raw: Any, where: str) -> T:
    """Return what a file says, as a dataclass: each field of its type and within its range.

    Args:
        kind: a dataclass; a field without a default must be there, and what is no field is left.
        raw: as it was read, plain values.
        where: the file, and the line where there is one, for errors.

    Raises:
        UserError: it is no mapping, or a value is missing or cannot be right.
    """
    if not isinstance(raw, dict):
        raise UserError(f"cannot read {where}: damaged: {shown(raw)} instead of names and values")
    found = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name, hint = field.name, hints(kind)[field.name]
        try:
            if name in raw:
                found[name] = convert(name, raw[name], hint)
                _check_range(name, found[name], hint)
            elif field.default is field.default_factory is dataclasses.MISSING:
                raise UserError(f"{name} is missing")
        except UserError as error:
            raise UserError(f"cannot read {where}: damaged: {error}") from error
    try:
        return kind(**found)
    except UserError as error:  # values that do not fit each other
        raise UserError(f"cannot read {where}: damaged: {error}") from error


def required(hint: Any) -> tuple[Any, bool]:
    """Return the type that a setting has unless it is None, and whether it may be None."""
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    (kind,) = (inner for inner in typing.get_args(hint) if inner is not types.NoneType)
    return kind, True


def leaves(kind: type, prefix: str = "") -> list[tuple[str, Any]]:
    """Return (dotted path, type) of every setting of a dataclass of settings."""
    found: list[tuple[str, Any]] = []
    for name, hint in hints(kind).items():
        if is_group(hint):
            found += leaves(hint, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", hint))
    return found


def extended(config: T, more: Iterable[type]) -> T:
    """Return `config` with the fields of other dataclasses added, at their defaults.

    Its type is a new one that inherits all of them, or the same if they are there already.

    Raises:
        UserError: a field is there already with another type or default.
    """
    old = type(config)
    missing = dict.fromkeys(kind for kind in more if not issubclass(old, kind))
    added = [
        kind for kind in missing if not any(issubclass(k, kind) for k in missing.keys() - {kind})
    ]
    if not added:
        return config
    known = {f.name: f for f in dataclasses.fields(old)}  # type: ignore[arg-type]
    for kind in added:
        for field in dataclasses.fields(kind):
            have = known.setdefault(field.name, field)
            if (have.type, have.default) != (field.type, field.default):
                raise UserError(
                    f"{kind.__name__}.{field.name}: there is a setting of this name already, with "
                    "another type or default; give it another name"
                )
    new = dataclasses.make_dataclass(
        old.__name__, [], bases=(*added, old), frozen=True, namespace={"__doc__": old.__doc__}
    )
    return new(**{f.name: getattr(config, f.name) for f in dataclasses.fields(old)})  # type: ignore


def _replace(node: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return dataclasses.replace(
        node, **{head: _replace(getattr(node, head), rest, value) if rest else value}
    )


def is_written(hint: Any) -> bool:
    """Say whether values of a type are written as text; see `written`."""
    return isinstance(hint, type) and hasattr(hint, "parse")


def is_group(hint: Any) -> bool:
    """Say whether a type is a dataclass of settings."""
    return dataclasses.is_dataclass(hint) and not is_written(hint)


def plain(value: Any) -> Any:
    """Return a value with tuples as lists, as YAML and JSON have them."""
    if is_written(type(value)):
        return str(value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


@dataclasses.dataclass(frozen=True)
class Within:
    """Where a number, or each of a tuple, must lie: `Annotated[int, Within(1)]`.

    Attributes:
        low: the least.
        high: the largest.
        above: `low` itself is not allowed.
        below: `high` itself is not allowed.
        rising: of a tuple, no number is less than the one before it.
        some: an empty tuple is refused.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    rising: bool = False
    some: bool = False

    def holds(self, numbers: Sequence[float]) -> bool:
        """Say whether all of these are as they must be; see `check_ranges` for the rest."""
        over = all(n > self.low if self.above else n >= self.low for n in numbers)
        under = all(n < self.high if self.below else n <= self.high for n in numbers)
        rises = not self.rising or list(numbers) == sorted(numbers)
        return over and under and rises and bool(numbers or not self.some)

    def __str__(self) -> str:
        """Return it in words, as in "it must be …"."""
        least, most = (n if isinstance(n, int) else f"{n:g}" for n in (self.low, self.high))
        low = f"{'above' if self.above else 'at least'} {least}"
        words = f"{low} and {'below' if self.below else 'at most'} {most}"
        if self.high == math.inf:
            words = low
        elif not self.above and not self.below:
            words = f"between {least} and {most}"
        return words + " and rise" * self.rising


def check_ranges(config: Any) -> None:
    """Refuse a number that is not finite, or outside the range that stands beside its field.

    Raises:
        UserError: with the setting's name, its value and the range.
    """
    kind = type(config)
    for path, hint in leaves(kind):
        _check_range(flag(path, kind), get(config, path), hint)


def _check_range(name: str, value: Any, hint: Any) -> None:
    if value is None:  # left to something else
        return
    numbers = value if isinstance(value, tuple) else (value,)
    if not numbers:
        said = "empty"
    else:
        said = " ".join(n if isinstance(n, str) else shown(n) for n in numbers)
    for number in numbers:
        if isinstance(number, float) and not math.isfinite(number):
            raise UserError(f"{name} is {said}: it must be a finite number")
    ranges = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Within)]
    for within in ranges:
        if not within.holds(numbers):
            raise UserError(f"{name} is {said}: it must be {within}")
    bounded = any(within.high < math.inf for within in ranges)
    if not bounded and any(type(n) is int and n > MOST for n in numbers):
        raise UserError(f"{name} is {said}: it must be at most {MOST}")
