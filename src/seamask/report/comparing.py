"""Several runs beside each other: which belong together, their numbers, and how they differ."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from seamask.base import settings
from seamask.base.documents import read_yaml
from seamask.base.paths import local, names_apart, numbered, slug
from seamask.base.statistics import paired, spread
from seamask.report.measured import Measured, columns_of, latest
from seamask.report.plots import Points, plot
from seamask.report.reading import Told, read_evaluations, read_run
from seamask.report.words import OBJECTS, PROBES, SIGNS
from seamask.runs import makes_other_run

STUDY = "study.yaml"
UNTRAINED = "untrained"  # the row of a study that was never trained
IMAGES = "training images"
SAME = ("seed", "compile")  # what makes another run, but of the same method
HEALTH = ("coverage", "from_image", "rank", "empty", "overlap", "adds")  # signs, means over masks
Values = dict[str, dict[int, float]]
"""{column: {seed: value}}."""


@dataclass(frozen=True)
class Group:
    """Runs that differ only by their seed, or a row of a study that was never trained."""

    name: str
    runs: dict[int, Told] = field(default_factory=dict)
    values: Values = field(default_factory=lambda: defaultdict(dict))
    elsewhere: dict[int, list[Measured]] = field(default_factory=dict)
    """{seed: what is known of a run that is not here}."""
    trained: bool = True

    @property
    def finished(self) -> dict[int, Told]:
        """The runs that have come to their end, which others are not averaged with; else all."""
        return {seed: run for seed, run in self.runs.items() if run.finished} or self.runs

    @property
    def shown(self) -> dict[int, Told]:
        """The runs whose numbers stand beside those of runs elsewhere, which are finished."""
        going_on = any(not run.finished for run in self.finished.values())
        return {} if going_on and self.elsewhere else self.finished

    @property
    def label(self) -> str:
        """Its name, and that its numbers are of runs that go on, if they are."""
        going_on = any(not run.finished for run in self.shown.values())
        return f"{self.name} (not finished)" if going_on else self.name


@dataclass(frozen=True)
class Line:
    """A line of a table: a group's means, or its differences to the first group."""

    label: str
    cells: list[str]
    main: bool = True


def is_study(path: Path) -> bool:
    """Say whether a folder is a study's."""
    return (path / STUDY).is_file()


def title_of(study: Path) -> str:
    """Return what a study is called: by itself, or else by its folder."""
    return str(read_yaml(study / STUDY, "the study").get("title") or study.resolve().name)


def groups_of(paths: Sequence[Path | str], most: int) -> list[Group]:
    """Return the runs in some folders, of studies too, in groups; the baseline first.

    Args:
        paths: of runs and studies.
        most: epochs of each run that are read.

    Raises:
        UserError: a folder that is neither.
    """
    studies = [path for path in map(local, paths) if is_study(path)]
    found: list[Group] = []
    for path in studies:
        prefix = f"{title_of(path)}: " if len(studies) > 1 else ""
        found += _of_study(path, most, prefix)
    found += _alike([read_run(path, most) for path in map(local, paths) if path not in studies])
    names = numbered([group.name for group in found])
    found = [replace(group, name=name) for group, name in zip(found, names, strict=True)]
    _evaluated(found)
    for group in found:
        for seed, run in group.shown.items():
            for column, value in _of_its_own(run):
                group.values[column][seed] = value
    return found


def _of_study(path: Path, most: int, prefix: str = "") -> list[Group]:
    about = read_yaml(path / STUDY, "the study")
    names = {slug(str(name)): str(name) for name in about.get("methods", {})}
    baseline = str(about.get("baseline", ""))
    found = []
    for folder, name in {**names, UNTRAINED: UNTRAINED}.items():
        group = Group(prefix + name, trained=folder != UNTRAINED or UNTRAINED in names)
        for run in sorted((path / folder).glob("seed*")):
            if not (number := run.name.removeprefix("seed")).isdecimal():
                continue
            if (run / "config.yaml").exists():
                group.runs[int(number)] = read_run(run, most)
            else:
                results = latest(read_evaluations(run / "evaluations"), int(number))
                if results:
                    group.elsewhere[int(number)] = results
        if group.runs or group.elsewhere:
            found.append(group)
    return sorted(found, key=lambda group: group.name != prefix + baseline)


def _alike(runs: Iterable[Told]) -> list[Group]:
    """Put runs that differ only by their seed in one group, named by what sets it apart."""
    alike: dict[str, list[Told]] = defaultdict(list)
    for run in runs:
        alike[json.dumps(_settings(run), sort_keys=True, default=str)].append(run)
    groups: list[dict[int, Told]] = []
    for those in alike.values():
        several = len({n for run in those if (n := _images(run)) is not None}) > 1
        parts: dict[tuple[int | None, int], dict[int, Told]] = defaultdict(dict)
        for run in those:
            part = (_images(run) if several else None), 0
            while run.config.seed in parts[part]:  # the same run twice
                part = part[0], part[1] + 1
            parts[part][run.config.seed] = run
        groups += parts.values()
    firsts = [_settings(next(iter(group.values()))) for group in groups]
    paths = dict.fromkeys(path for flat in firsts for path in flat)
    apart = [path for path in paths if len({str(flat.get(path)) for flat in firsts}) > 1]
    found = []
    folders = names_apart([next(iter(group.values())).folder.path for group in groups])
    for group, flat, folder in zip(groups, firsts, folders, strict=True):
        run = next(iter(group.values()))
        shown = [f"{path} {flat.get(path)}" for path in apart if path != "recipe"]
        name = f"{run.config.recipe}: {', '.join(shown)}" if 0 < len(shown) <= 3 else ""
        found.append(Group(name or folder, group))
    return found


def _settings(run: Told) -> dict[str, Any]:
    """Return the settings that make a run another one."""
    return {
        path: settings.plain(settings.get(run.config, path))
        for path, _ in settings.leaves(type(run.config))
        if path not in SAME and makes_other_run(path)
    }


def _images(run: Told) -> int | None:
    """Return how many images a run is trained on; None: not known yet, or by which it held out
    those that cannot be read."""
    data = run.manifest.get("data") or {}
    return None if data.get("skipped") else data.get("images")


def _evaluated(groups: Iterable[Group]) -> None:
    """Put what `seamask evaluate` found into the groups, in columns of the same meaning."""
    found = [
        (group, seed, one)
        for group in groups
        for seed, results in (
            group.elsewhere
            | {seed: latest(run.evaluations, seed) for seed, run in group.shown.items()}
        ).items()
        for one in results
    ]
    for column, (group, seed, one) in zip(
        columns_of([one for _, _, one in found]), found, strict=True
    ):
        group.values[column][seed] = one.value


def _of_its_own(run: Told) -> Iterable[tuple[str, float]]:
    """Yield (column, value) of all that a run measured itself."""
    for name, label in (PROBES | OBJECTS).items():
        if name in run.results:
            yield f"{label}{', %' if name in PROBES else ''}", run.results[name]
    for name in HEALTH:
        if (mean := _mean(run.results, f"mask/{name}_")) is not None:
            yield f"masks: {SIGNS[name].words}", SIGNS[name].factor * mean
    if "embedding/rank" in run.results:
        yield "embeddings: rank (of ≤ 64)", run.results["embedding/rank"]


def _mean(line: Mapping[str, float], beginning: str) -> float | None:
    found = [
        value
        for name, value in line.items()
        if name.startswith(beginning) and name[len(beginning) :].isdecimal()
    ]
    return fmean(found) if found else None


def table(groups: Sequence[Group]) -> tuple[list[str], list[Line]]:
    """Return the columns, and of each group its means and its paired differences to the first."""
    columns = list(dict.fromkeys(column for group in groups for column in group.values))
    baseline = groups[0]
    lines = []
    for group in groups:
        lines.append(Line(group.label, [_mean_std(group.values.get(c, {})) for c in columns]))
        if group is not baseline:
            cells = [
                _difference(group.values.get(c, {}), baseline.values.get(c, {})) for c in columns
            ]
            if any(cells):
                lines.append(Line(f"− {baseline.label}", cells, main=False))
    return columns, lines


def _mean_std(values: Mapping[int, float]) -> str:
    found = spread(list(values.values()))
    if found is None:
        return ""
    std = "" if found.std is None else f" ± {_number(found.std)}"
    return f"{_number(found.mean)}{std}{f' ({found.n})' if found.n > 1 else ''}"


def _difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> str:
    found = paired(ours, theirs)
    if found is None:
        return ""
    text = _number(found.mean, "+")
    if found.half is not None:
        text += (
            f" [{_number(found.mean - found.half, '+')}, {_number(found.mean + found.half, '+')}]"
        )
    return text + (f" ({found.n})" if found.n < len(ours) else "")


def _number(value: float, sign: str = "") -> str:
    digits = 1 if abs(value) >= 10 else 2
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def differing(groups: Sequence[Group]) -> list[tuple[str, list[Any]]]:
    """Return (setting, its value in each group that was trained) of those that differ."""
    runs = [next(iter(group.runs.values())) for group in groups if group.runs]
    firsts, images = [_settings(run) for run in runs], [_images(run) for run in runs]
    if None not in images:
        firsts = [{**flat, IMAGES: n} for flat, n in zip(firsts, images, strict=True)]
    paths = dict.fromkeys(path for flat in firsts for path in flat)
    rows = [(path, [flat.get(path) for flat in firsts]) for path in paths]
    return [(path, values) for path, values in rows if len({str(v) for v in values}) > 1]


def plots(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return curves over each other, a group's mean over its seeds, against epochs."""

    def of(name: str) -> Callable[[Mapping[str, float]], float | None]:
        return lambda line: line.get(name)

    def mean(sign: str) -> Callable[[Mapping[str, float]], float | None]:
        return lambda line: _mean(line, f"mask/{sign}_")

    panels = {
        "linear probe (%)": of("probe/linear"),
        "kNN (%)": of("probe/knn"),
        "loss of the encoder": of("loss/encoder"),
        "what masks add to the loss (mean over masks)": mean("adds"),
        "share removed (mean over masks)": mean("coverage"),
        "share that comes from the image (mean over masks)": mean("from_image"),
        "effective rank of masks (mean)": mean("rank"),
        "effective rank of embeddings (up to 64 images)": of("embedding/rank"),
        "images per second": of("images_per_second"),
    }
    colours = {group.name: k for k, group in enumerate(g for g in groups if g.runs)}
    found = []
    for title, value in panels.items():
        curves = {g.name: points for g in groups if len(points := _over_seeds(g, value)) > 1}
        if curves:
            found.append(plot(title, curves, colours))
    return found


def _over_seeds(group: Group, value: Callable[[Mapping[str, float]], float | None]) -> Points:
    """Return the mean over a group's finished runs at the epochs that all of them have."""
    at: dict[float, list[float]] = defaultdict(list)
    for run in group.finished.values():
        steps = run.steps_per_epoch
        for line in run.lines:
            if (y := value(line)) is not None:
                at[line["step"] / steps].append(y)
    return [(x, fmean(ys)) for x, ys in sorted(at.items()) if len(ys) == len(group.finished)]
