"""What evaluations found, under names that only numbers of the same meaning share."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamask.data.held_out import Seen, held_out_by_seed


@dataclass(frozen=True)
class Measured:
    """The main metric of one evaluation.

    Attributes:
        what: task, protocol, data and metric, in words.
        settings: the protocol: every setting that decides what the number means.
        seen: which images it is of.
        value: in the task's unit.
    """

    what: str
    settings: Mapping[str, Any]
    seen: Seen
    value: float


def measured(result: Mapping[str, Any]) -> Measured | None:
    """Return what a result found, as `read_evaluations` returns it; None: nothing."""
    if not result["metrics"]:
        return None
    name, value = next(iter(result["metrics"].items()))
    settings = result.get("protocol") or {}
    how = f" ({settings['protocol']})" if settings.get("protocol") else ""
    what = f"{result['task']}{how} on {result['data']}: {name}"
    seen = Seen.of(int(result["seed"]), {**result, "name": result["data"]})
    return Measured(what, settings, seen, float(value))


def columns_of(found: Sequence[Measured]) -> list[str]:
    """Return a name for each number: one for those that mean the same, others for all others.

    Where what they are of is not enough, it says by which settings, and then images, they differ.
    Who does not name a setting, since it is new, is not told apart by it from those that agree.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for at, one in enumerate(found):
        alike[one.what].append(at)
    names = [""] * len(found)
    for what, places in alike.items():
        those = [found[at] for at in places]
        for at, apart in zip(places, _apart(those), strict=True):
            names[at] = ": ".join([what, apart]) if apart else what
    return names


def _apart(found: Sequence[Measured]) -> list[str]:
    """Return what sets each number apart from the others; empty: nothing."""
    values: dict[str, set[str]] = defaultdict(set)
    for one in found:
        for path, value in one.settings.items():
            values[path].add(_plain(value))
    differing = [path for path in values if len(values[path]) > 1]
    settings = [
        ", ".join(f"{p} {_plain(one.settings[p])}" for p in differing if p in one.settings)
        or "protocol not known" * bool(differing)
        for one in found
    ]
    images: dict[str, list[Seen]] = defaultdict(list)
    for said, one in zip(settings, found, strict=True):
        images[said].append(one.seen)
    drawn = {said: held_out_by_seed(seen) for said, seen in images.items()}
    marks = {said: {one.fingerprint for one in seen} for said, seen in images.items()}
    return [
        ", ".join([said] * bool(said) + [f"images {one.seen.fingerprint[:8] or 'not known'}"])
        if len(marks[said]) > 1 and not drawn[said]
        else said
        for said, one in zip(settings, found, strict=True)
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def latest(results: Iterable[Mapping[str, Any]], seed: int) -> list[Measured]:
    """Return what the evaluations of one run found, those of its own seed last."""
    in_order = sorted(results, key=lambda result: result.get("seed") == seed)  # stable
    return [one for result in in_order if (one := measured(result)) is not None]
