"""Curves as the page's script draws them (with uPlot, whose files are beside the template)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Points = Sequence[tuple[float, float]]
MOST = 300  # points of a curve; more are averaged


def plot(
    title: str,
    curves: Mapping[str, Points],
    colours: Mapping[str, int],
    target: Points = (),
    asinh: bool = False,
) -> dict[str, Any]:
    """Return what the script draws: `x`, and of each curve its label and its `y` (null: no point).

    Args:
        title: of the panel.
        curves: {label: (x, y) of its points}.
        colours: {label: number of its colour}, so that what it is of has one on all of the page.
        target: of a line that is drawn dashed.
        asinh: the y axis is logarithmic, but near 0.
    """
    drawn = {label: thinned(points) for label, points in curves.items()}
    if target:
        drawn["asked"] = dict(target)
    x = sorted({at for points in drawn.values() for at in points})
    return {
        "title": title,
        "x": x,
        "curves": [
            {
                "label": label,
                "y": [points.get(at) for at in x],
                "colour": colours.get(label, 0),
                "dashed": label not in curves,
            }
            for label, points in drawn.items()
        ],
        "asinh": asinh,
    }


def thinned(points: Points) -> dict[float, float]:
    """Return {x: y} of points, five digits of each; of more than `MOST`, means over neighbours."""
    array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    parts = np.array_split(array, min(MOST, max(len(array), 1)))
    means = [part.mean(0).tolist() for part in parts if len(part)]
    return {float(f"{x:.6g}"): float(f"{y:.5g}") for x, y in means}
