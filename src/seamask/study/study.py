"""Reading a study from YAML: settings in layers, every mistake said in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from seamask.base import settings
from seamask.base.errors import UserError, shown, unknown
from seamask.base.paths import slug
from seamask.config import Config, check
from seamask.data import SOURCES
from seamask.data.archives.find import existing, source_name
from seamask.evaluate import TASKS, task_config
from seamask.masks import build_masker
from seamask.recipes import RECIPES, recipe_config
from seamask.study.grid import OWN, UNTRAINED, Evaluation, Published, Study, flat
from seamask.study.shipped import fill, read

KEYS = (
    "title", "source", "data", "methods", "baseline", "settings", "evaluations", "seeds",
    "published", "untrained",
)  # fmt: skip
MOST_SEEDS = 1000
EVALUATIONS = "evaluations."  # settings that begin so are of every evaluation


def read_study(
    name: str | Path,
    data: str | None = None,
    seeds: int | Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Study:
    """Read a study.

    Args:
        name: of a shipped study, or the path of a YAML file.
        data: what `{data}` in it stands for; if None, the study's own `data`.
        seeds: their number (0, 1, …) or themselves; the study's own if None.
        settings: of the pretraining of every method, by short name or dotted path, over all that
            the study says; those that begin with `evaluations.` are of every evaluation.

    Raises:
        UserError: no such study, or what is wrong in it, in one line.
    """
    raw = read(str(name))
    with _at(f"study {name}"):
        for key in raw:
            if key not in KEYS:
                raise unknown("key", str(key), KEYS)
        chosen = "{data}" in str([raw.get(key) for key in ("methods", "settings", "evaluations")])
        if data is not None and not chosen:
            raise UserError(f"--data {data}: this study has no {{data}}: its data are fixed")
        if "data" in raw and not chosen:
            raise UserError(
                f"data is {shown(raw['data'])}, and no method, setting or evaluation has {{data}}, "
                "which it stands for; give the images of all methods as `settings: {data: ...}`"
            )
        templates = list(_mapping(raw, "evaluations"))
        published = raw.pop("published", None) or {}
        filled = _filled(raw, data if data is not None else raw.get("data"))
        if seeds is not None:
            filled["seeds"] = seeds
        return _study(str(name), filled, settings or {}, published, templates)


def _filled(raw: dict[str, Any], data: Any) -> dict[str, Any]:
    """Return a study with `{data}` replaced.

    Where no recipe is of these data, those for a folder are taken, and the data are a setting.

    Raises:
        UserError: they are needed and not given, or are no data set and no folder.
    """
    text = str(data)
    if data is None or "{data}-" not in str(raw.get("methods")) or f"{text}-simclr" in RECIPES:
        return fill(raw, data)  # type: ignore[no-any-return]
    named = text if text in SOURCES else source_name(existing(text))
    source = text if text in SOURCES else str(existing(text))
    filled: dict[str, Any] = fill({**raw, "methods": {}}, named)
    filled["methods"] = fill(raw["methods"], "folder")
    filled["settings"] = {"data.source": source, **(filled.get("settings") or {})}
    return filled


def _study(
    name: str,
    raw: dict[str, Any],
    over: Mapping[str, Any],
    published: Any,
    templates: list[str],
) -> Study:
    common = raw.get("settings") or {}
    methods = {}
    for title, about in _mapping(raw, "methods").items():
        with _at(f"method {title!r}"):
            methods[title] = _method(about, *(_part(s, False) for s in (common, over)))
    baseline = raw.get("baseline", next(iter(methods)))
    if baseline not in methods:
        raise unknown("baseline", str(baseline), methods)
    untrained = raw.get("untrained", False)
    if not isinstance(untrained, bool):
        raise UserError(f"untrained is {untrained!r}: expected true or false")
    rows = (UNTRAINED,) * untrained + tuple(methods)
    evaluations = {}
    for title, about in _mapping(raw, "evaluations").items():
        with _at(f"evaluation {title!r}"):
            evaluations[title] = _evaluation(
                title, about, rows, *(_part(s, True) for s in (common, over))
            )
    _check_names(methods, evaluations)
    study = Study(
        name=name,
        title=str(raw.get("title", name)),
        source=str(raw.get("source", "")),
        methods=methods,
        baseline=baseline,
        evaluations=evaluations,
        seeds=_seeds(raw.get("seeds", 3)),
        published=_published(published, templates, evaluations, methods),
        untrained=untrained,
    )
    _check_evaluations(study)
    return study


def _method(about: Any, common: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """Read a recipe's name, or a recipe and settings of its own."""
    about = {"recipe": about} if isinstance(about, str) else dict(_named(about))
    if not isinstance(about.get("recipe"), str):
        raise UserError("it names no recipe: `recipe: NAME`, see `seamask recipes`")
    config = recipe_config(about.pop("recipe"))
    for layer in (common, about, over):
        layer = _flattened(layer, Config)
        _refuse_own(layer)
        config = settings.override(config, layer)
    return check(config)


def _evaluation(
    title: str,
    about: Any,
    rows: tuple[str, ...],
    common: Mapping[str, Any],
    over: Mapping[str, Any],
) -> Evaluation:
    """Read a task, its settings, and which methods it is for."""
    about = dict(_named(about))
    if "task" not in about:
        raise UserError(f"it names no task: `task: NAME`, one of {', '.join(TASKS)}")
    task = str(about.pop("task"))
    methods, metrics = _names(about, "methods"), _names(about, "metrics")
    for method in methods:
        if method not in rows:
            raise unknown("method", method, rows)
    config = task_config(task)
    for metric in metrics:
        TASKS[task].check_metric(metric)
    shared, own, changed = (_flattened(layer, type(config)) for layer in (common, about, over))
    given = shared | own | changed
    _refuse_own(given)
    # What all evaluations are given is for those whose protocol has it.
    foreign = set(settings.override(config, given).foreign()) - own.keys()
    given = {path: value for path, value in given.items() if path not in foreign}
    resolved = flat(settings.override(config, given).resolved())
    kept = {
        path: value
        for path, value in resolved.items()
        # Of what its pretraining decides, only what is given here.
        if path in given
        or not (path in OWN or path in ("device", "threads") or path.startswith("data."))
    }
    return Evaluation(title, task, kept, methods, metrics)


def _names(about: dict[str, Any], key: str) -> tuple[str, ...]:
    """Take a list of names out of what is said of an evaluation."""
    names = about.pop(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{key} is {names!r}: expected a list of names")
    return tuple(names)


def _part(given: Any, of_evaluations: bool) -> dict[str, Any]:
    """Return the settings of evaluations, without their prefix, or those of pretraining."""
    return {
        path.removeprefix(EVALUATIONS): value
        for path, value in _named(given).items()
        if path.startswith(EVALUATIONS) == of_evaluations
    }


def _flattened(given: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Return settings by dotted path, from nested ones and short names."""
    short = settings.short_names(kind)
    found: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping):
            inner = {f"{name}.{key}": inside for key, inside in value.items()}
            found |= _flattened(inner, kind)
        else:
            found[short.get(name, name)] = value
    return found


def _refuse_own(given: Mapping[str, Any]) -> None:
    for name in given:
        if name in OWN:
            raise UserError(f"setting {name!r} belongs to the study: give {OWN[name]} instead")


def _seeds(given: Any) -> tuple[int, ...]:
    numbers = range(min(given, MOST_SEEDS + 1)) if type(given) is int else given
    if isinstance(numbers, Sequence) and not isinstance(numbers, str):
        if len(numbers) > MOST_SEEDS:
            raise UserError(f"seeds is {shown(given)}: a study has at most {MOST_SEEDS} of them")
        whole = all(type(seed) is int and 0 <= seed <= settings.SEEDS for seed in numbers)
        if numbers and whole and len(set(numbers)) == len(numbers):
            return tuple(numbers)
    raise UserError(
        f"seeds is {shown(given)}: expected their number, or a list of different ones "
        f"between 0 and {settings.SEEDS}"
    )


def _published(
    given: Any, templates: list[str], evaluations: Mapping[str, Any], methods: Mapping[str, Any]
) -> dict[str, dict[str, Published]]:
    """Return the published numbers of this study's columns; those of its other data are left."""
    found: dict[str, dict[str, Published]] = {}
    patterns = [re.escape(t).replace(re.escape("{data}"), ".+") for t in templates]
    for title, rows in _mapping({"published": given}, "published", empty=True).items():
        if not any(re.fullmatch(pattern, title) for pattern in patterns):
            raise unknown("evaluation among the published", title, templates)
        with _at(f"published, {title!r}"):
            numbers = {}
            for row, number in _named(rows).items():
                if row not in methods:
                    raise unknown("method", row, methods)
                numbers[row] = _mean_std(row, number)
        if title in evaluations:
            found[title] = numbers
    return found


def _mean_std(row: str, given: Any) -> Published:
    mean, *rest = given if isinstance(given, list) and given else [given]
    std = rest[0] if rest else None
    fits = [isinstance(n, int | float) and not isinstance(n, bool) for n in (mean, std or 0.0)]
    if len(rest) > 1 or not all(fits):
        raise UserError(f"{row}: {given!r}: expected [mean, standard deviation] or a number")
    return float(mean), None if std is None else float(std)


def _check_names(methods: Mapping[str, Any], evaluations: Mapping[str, Any]) -> None:
    """Names become those of folders: they must differ in letters and digits."""
    for kind, names in (("method", [UNTRAINED, *methods]), ("evaluation", list(evaluations))):
        taken: dict[str, str] = {}
        for name in names:
            if not slug(name):
                raise UserError(f"{kind} {name!r}: its name needs letters or digits (a–z, 0–9)")
            if slug(name) in taken:
                other = taken[slug(name)]
                raise UserError(f"{kind} {name!r} is too like {other!r}: the same folder's name")
            taken[slug(name)] = name


def _check_evaluations(study: Study) -> None:
    """Refuse what could only fail after the pretraining."""
    for evaluation in study.evaluations.values():
        with _at(f"evaluation {evaluation.title!r}"):
            rows = [row for row in study.rows if study.has(row, evaluation)]
            for row in rows:
                evaluation.config(study.method(row))
            if "masker" not in TASKS[evaluation.task].needs:
                continue
            learned = [row for row in study.methods if _learns_masks(study.methods[row])]
            for row in rows:
                if row not in learned:
                    names = ", ".join(learned) or "none has"
                    raise UserError(
                        f"{row} learns no masks: say `methods: [...]` of those that do ({names})"
                    )


def _learns_masks(config: Config) -> bool:
    with torch.device("meta"):
        return bool(build_masker(config.masks, config.image_size).learned)


def _mapping(raw: Mapping[str, Any], key: str, empty: bool = False) -> dict[str, Any]:
    found = raw.get(key)
    if not isinstance(found, dict) or not (found or empty):
        raise UserError(f"{key} is {found!r}: expected `name: ...` lines")
    return {str(name): value for name, value in found.items()}


def _named(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{value!r}: expected `name: value` lines")
    return {str(name): inside for name, inside in value.items()}


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Say where in the study an error is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
