"""The curves of a run: which there are, and a picture of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seamask.base.files import atomic

FEWEST = 3  # points of a curve
SHARES = "share removed by each mask"
PENALTIES = "penalties that are paid (unweighted)"
PANELS = {  # what stands together, by the beginnings of names in the log
    "loss": ("loss/",),
    SHARES: ("mask/coverage",),
    "share of each mask that comes from the image": ("mask/from_image",),
    "effective rank of masks and embeddings": ("mask/rank", "embedding/rank"),
    "what each mask adds to the loss": ("mask/adds",),
    PENALTIES: ("penalty/",),
    "learning rate": ("lr/",),
    "held-out accuracy (%)": ("probe/",),
    "images per second": ("images_per_second",),
}
Points = list[tuple[int, float]]
"""(step, value) of a curve."""


class Panel(NamedTuple):
    """Curves that stand together: `{label: points}`."""

    title: str
    curves: dict[str, Points]


def panels(lines: Sequence[Mapping[str, Any]], paid: Collection[str] | None = None) -> list[Panel]:
    """Return the curves of a run: losses, coverage, penalties, learning rates, probes, speed.

    A series of fewer than three points is no curve.

    Args:
        lines: the objects of `metrics.jsonl`.
        paid: the penalties that are paid; None: all. There are no others.
    """
    counts = Counter(name for line in lines for name in line)
    unpaid = {n for n in counts if paid is not None and n.startswith("penalty/")}
    unpaid -= {f"penalty/{name}" for name in paid or ()}
    names = sorted(name for name, n in counts.items() if n >= FEWEST and name not in unpaid)
    found = [
        Panel(
            title,
            {
                _in_words(name): [(line["step"], line[name]) for line in lines if name in line]
                for name in names
                if name.startswith(beginnings)
            },
        )
        for title, beginnings in PANELS.items()
    ]
    return [panel for panel in found if panel.curves]


def curves_figure(
    lines: Sequence[Mapping[str, Any]],
    path: Path,
    paid: Collection[str] | None = None,
    target: Sequence[tuple[float, float]] = (),
) -> None:
    """Write the curves of a run as a picture; nothing where there are none.

    Args:
        lines: the objects of `metrics.jsonl`.
        path: of the PNG.
        paid: see `panels`.
        target: of the share removed by each mask, at steps: `(step, share)` each; drawn dashed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not (shown := panels(lines, paid)):
        return
    columns = 2
    figure = Figure(figsize=(13, 3.2 * -(-len(shown) // columns)), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, curves) in enumerate(shown):
        axes = figure.add_subplot(-(-len(shown) // columns), columns, index + 1)
        for label, points in curves.items():
            marker = "." if len(points) < 20 else ""
            axes.plot(*zip(*points, strict=True), label=label, marker=marker)
        axes.set_title(title)
        axes.set_xlabel("step")
        if title == PENALTIES:
            axes.set_yscale("symlog", linthresh=1e-2)
        if title == SHARES and target:
            axes.plot(*zip(*target, strict=True), color="black", linestyle="--", label="asked")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _in_words(name: str) -> str:
    """Return the name of a series as a legend shows it: `mask/rank_2` is mask 2."""
    kind, _, sign = name.partition("/")
    number = sign.rpartition("_")[2]
    if kind == "mask" and number.isdecimal():
        return f"mask {number}"
    return {"embedding/rank": "embeddings", "images_per_second": "training"}.get(name, sign)
