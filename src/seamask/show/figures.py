"""Figures: masks on images, and curves of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from seamask.files import atomic

GAP = 4  # pixels between cells
MARGIN = 76  # pixels for the row labels
GREY = 128  # what a removed pixel looks like: the mean colour


def mask_figure(images: Tensor, masks: Tensor, path: Path, cell: int = 112) -> None:
    """Write a picture with one column per image: the image, its masks, the masked views.

    Args:
        images: uint8 `[n, H, W, 3]`.
        masks: `[n, N, H, W]` in [0, 1], 1 = removed.
        path: of the PNG.
        cell: side in pixels of one picture at least; small images are enlarged by a whole factor.
    """
    height, width = images.shape[1:3]
    zoom = max(1, round(cell / width))
    pictures = images.numpy()
    shades = (masks.clamp(0, 1) * 255).round().byte().numpy()
    rows = [("image", list(pictures))]
    for k in range(masks.shape[1]):
        grey = [np.repeat(shade[k][:, :, None], 3, axis=2) for shade in shades]
        rows.append((f"mask {k + 1}\n{masks[:, k].mean():.0%}", grey))
    for k in range(masks.shape[1]):
        removed = masks[:, k, :, :, None].numpy()
        views = pictures * (1 - removed) + GREY * removed
        rows.append((f"view {k + 1}", list(views.round().astype(np.uint8))))
    w, h = width * zoom + GAP, height * zoom + GAP
    sheet = Image.new("RGB", (MARGIN + w * len(pictures), h * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for y, (label, cells) in enumerate(rows):
        draw.multiline_text((6, y * h + h // 2 - 10), label, fill="black", font_size=14)
        for x, picture in enumerate(cells):
            big = Image.fromarray(picture).resize(
                (width * zoom, height * zoom), Image.Resampling.NEAREST
            )
            sheet.paste(big, (MARGIN + x * w, y * h))
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")


def curves_figure(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the curves of a run: losses, coverage, penalties, learning rates, probes, speed.

    Args:
        lines: the objects of `metrics.jsonl`.
        path: of the PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {
        "loss": ("loss/",),
        "share removed by each mask": ("mask/coverage", "mask/binary"),
        "penalties (unweighted)": ("penalty/",),
        "learning rate": ("lr/",),
        "held-out accuracy (%)": ("probe/",),
        "images per second": ("images_per_second",),
    }
    names = sorted({name for line in lines for name in line})
    shown = [
        (title, [n for n in names if n.startswith(prefixes)]) for title, prefixes in panels.items()
    ]
    shown = [(title, series) for title, series in shown if series]
    if not shown:
        return
    columns = 2
    figure = Figure(figsize=(11, 3.2 * -(-len(shown) // columns)), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, series) in enumerate(shown):
        axes = figure.add_subplot(-(-len(shown) // columns), columns, index + 1)
        for name in series:
            points = [(line["step"], line[name]) for line in lines if name in line]
            label = name.split("/")[-1]
            axes.plot(
                *zip(*points, strict=True), label=label, marker="." if len(points) < 20 else ""
            )
        axes.set_title(title)
        axes.set_xlabel("step")
        if title.startswith("penalties"):
            axes.set_yscale("symlog", linthresh=1e-2)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
