"""Figures: masks on images, and segmentations beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from seamask.base.channels import as_channels
from seamask.base.files import atomic
from seamask.base.progress import amount
from seamask.data import VOID

GAP = 4  # pixels between cells
MARGIN = 92  # pixels for the row labels
NAME = 13  # characters of a name that fit there
GREY = 128  # what a removed pixel looks like if nothing else is said

# The 22 colours of maximum contrast (Kelly 1965) but for white, which is void; black comes first,
# since class 0 is the background where there is one.
KELLY = (
    "222222", "F3C300", "875692", "F38400", "A1CAF1", "BE0032", "C2B280", "848482", "008856",
    "E68FAC", "0067A5", "F99379", "604E97", "F6A600", "B3446C", "DCD300", "882D17", "8DB600",
    "654522", "E25822", "2B3D26",
)  # fmt: skip
LEGEND = 24  # pixels of a line of the legend
LETTER = 8  # pixels that a letter of a column's name takes at most


def mask_figure(
    images: Tensor,
    masks: Tensor,
    path: Path,
    cell: int = 112,
    rows: Mapping[str, Tensor] | None = None,
    budgets: Tensor | None = None,
    mean: Tensor | None = None,
    averaged: int = 0,
    names: Sequence[str] | None = None,
    makers: Mapping[str, int] | None = None,
    fills: Sequence[Tensor] | None = None,
) -> None:
    """Write a picture with one column per image: the image, its masks, the masked views.

    Args:
        images: uint8 `[n, H, W, 1 or 3]`.
        masks: `[n, N, H, W]` in [0, 1], 1 = removed.
        path: of the PNG.
        cell: side in pixels of one picture at least; small images are enlarged by a whole factor.
        rows: more pictures, uint8 `[n, H, W, 3]`, shown below the images under their names.
        budgets: `[n, N]`: what each mask should remove, written on it beside what it does.
        mean: `[N, H, W]`: each mask's mean over more images, shown beside it: what of it does not
            come from the image. The share that a mask removes is then of these, too.
        averaged: how many images that mean is over.
        names: of the images, written on them.
        makers: how many of the masks, in their order, each of several is the maker of.
        fills: uint8 `[n, H, W, 3]` for each mask, what stands where it removes; None: grey.
    """
    height, width = images.shape[1:3]
    zoom = max(1, round(cell / width))
    pictures = as_channels(images, 3).numpy()
    shades = (masks.clamp(0, 1) * 255).round().byte().numpy()
    lines = [("image", list(pictures))]
    lines += [(name, list(row.numpy())) for name, row in (rows or {}).items()]
    removed = masks.mean((0, 2, 3)) if mean is None else mean.mean((1, 2))  # [N]
    numbers = [k for n in (makers or {"": masks.shape[1]}).values() for k in range(1, n + 1)]
    whose = [f"{name[:NAME]}\n" for name, n in (makers or {}).items() for _ in range(n)]
    between = " " if whose else "\n"
    whose = whose or [""] * len(numbers)
    for k in range(masks.shape[1]):
        grey = [np.repeat(shade[k][:, :, None], 3, axis=2) for shade in shades]
        if mean is not None:
            shade = (mean[k].clamp(0, 1) * 255).round().byte().numpy()
            grey.append(np.repeat(shade[:, :, None], 3, axis=2))
        label = f"{whose[k]}mask {numbers[k]}{between}{removed[k]:.0%}"
        lines.append((label, grey))
    for k in range(masks.shape[1]):
        gone = masks[:, k, :, :, None].numpy()
        instead = GREY if fills is None else as_channels(fills[k], 3).numpy()
        views = pictures * (1 - gone) + instead * gone
        lines.append((f"{whose[k]}view {numbers[k]}", list(views.round().astype(np.uint8))))
    w, h = width * zoom + GAP, height * zoom + GAP
    columns = len(pictures) + (mean is not None)
    sheet = Image.new("RGB", (MARGIN + w * columns, h * len(lines)), "white")
    draw = ImageDraw.Draw(sheet)
    if mean is not None:
        place = (MARGIN + w * len(pictures) + 6, h // 2 - 14)
        draw.multiline_text(
            place, f"share and mean\nof {amount(averaged, 'image')}", fill="black", font_size=14
        )
    for y, (label, cells) in enumerate(lines):
        draw.multiline_text((6, y * h + h // 2 - 10), label, fill="black", font_size=14)
        for x, picture in enumerate(cells):
            big = Image.fromarray(picture).resize(
                (width * zoom, height * zoom), Image.Resampling.NEAREST
            )
            sheet.paste(big, (MARGIN + x * w, y * h))
    for x, name in enumerate(names or ()):
        text = shortened(name, width * zoom // 7)  # letters that fit
        style = {"font_size": 12, "stroke_width": 2, "stroke_fill": "black"}
        draw.text((MARGIN + x * w + 3, height * zoom - 16), text, "white", **style)  # type: ignore[arg-type]
    if budgets is not None:
        shares = masks.mean((2, 3))
        for x in range(len(pictures)):
            for k in range(masks.shape[1]):
                text = f"{shares[x, k]:.0%} of {budgets[x, k]:.0%}"
                corner = (MARGIN + x * w + 2, (1 + len(rows or {}) + k) * h + 1)
                draw.text(corner, text, "red", font_size=12, stroke_width=2, stroke_fill="white")
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")


def shortened(name: str, most: int) -> str:
    """Return the end of a name, of so many characters at most."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def coloured(maps: Tensor) -> Tensor:
    """Return label maps, integer `[n, H, W]`, as pictures, uint8 `[n, H, W, 3]`; 255 is white."""
    return torch.from_numpy(_palette(256)[maps.numpy()])


def overlaid(picture: npt.NDArray[np.uint8], masks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a picture with each of its masks laid on it in a colour, half as strong as it is.

    Args:
        picture: uint8 `[H, W, 3]`.
        masks: uint8 `[N, H, W]`, 255 = removed.
    """
    shown = picture.astype(np.float32)
    for colour, mask in zip(np.resize(_palette(VOID)[1:], (len(masks), 3)), masks, strict=True):
        weight = mask[:, :, None] / np.float32(2 * 255)
        shown += weight * (colour - shown)
    return shown.round().astype(np.uint8)


def comparison_figure(
    rows: Mapping[str, Sequence[npt.NDArray[np.uint8]]],
    columns: Sequence[str],
    captions: Mapping[str, Sequence[str]],
    path: Path,
    cell: int = 112,
) -> None:
    """Write a picture with one row per image: the image and what was made of it, side by side.

    Args:
        rows: by name, whose end stands at the left: a picture a column, uint8 `[h, w, 3]`, shown as
            a square.
        columns: names, whose beginnings stand above.
        captions: a text on each picture; empty: none.
        path: of the PNG.
        cell: side in pixels of a picture.
    """
    step = cell + GAP
    sheet = Image.new("RGB", (MARGIN + step * len(columns), LEGEND + step * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for x, column in enumerate(columns):
        draw.text((MARGIN + x * step + 2, 4), column[: cell // LETTER], fill="black", font_size=14)
    style = {"font_size": 12, "stroke_width": 2, "stroke_fill": "black"}
    for y, (name, pictures) in enumerate(rows.items()):
        top = LEGEND + y * step
        draw.text((4, top + cell // 2 - 8), shortened(name, NAME), fill="black", font_size=12)
        for x, (picture, caption) in enumerate(zip(pictures, captions[name], strict=True)):
            small = max(picture.shape[:2]) < cell
            resampling = Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC
            big = Image.fromarray(picture).resize((cell, cell), resampling)
            sheet.paste(big, (MARGIN + x * step, top))
            draw.text((MARGIN + x * step + 3, top + cell - 16), caption, "white", **style)  # type: ignore[arg-type]
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")


def segmentation_figure(
    images: Sequence[Tensor],
    truths: Sequence[Tensor],
    predictions: Sequence[Tensor],
    classes: Sequence[str],
    path: Path,
    cell: int = 160,
) -> None:
    """Write a picture with one column per image: the image, its true classes, the predicted ones.

    Below it is a legend of the classes that occur. Colours repeat after 21 classes; void is white.

    Args:
        images: uint8 `[1 or 3, H, W]` each, sizes vary.
        truths: uint8 `[H, W]` each; 255 = void.
        predictions: uint8 `[H, W]` each.
        classes: names, in the order of the labels.
        path: of the PNG.
        cell: height in pixels of every row; widths keep the aspect.
    """
    palette = _palette(len(classes))
    pictures = [as_channels(image.permute(1, 2, 0), 3).numpy() for image in images]
    rows = [
        ("image", pictures, Image.Resampling.BILINEAR),
        ("truth", [palette[truth.numpy()] for truth in truths], Image.Resampling.NEAREST),
        ("prediction", [palette[p.numpy()] for p in predictions], Image.Resampling.NEAREST),
    ]
    widths = [max(1, round(cell * image.shape[2] / image.shape[1])) for image in images]
    present = np.unique(np.concatenate([t.numpy().ravel() for t in (*truths, *predictions)]))
    legend = [(classes[k] if k < len(classes) else "void", palette[k]) for k in present.tolist()]
    width = MARGIN + sum(widths) + GAP * len(widths)
    places, lines = _flow([name for name, _ in legend], width)
    sheet = Image.new("RGB", (width, 3 * (cell + GAP) + lines * LEGEND + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for y, (label, cells, resampling) in enumerate(rows):
        draw.text((6, y * (cell + GAP) + cell // 2 - 8), label, fill="black", font_size=14)
        x = MARGIN
        for picture, wide in zip(cells, widths, strict=True):
            small = Image.fromarray(picture).resize((wide, cell), resampling)
            sheet.paste(small, (x, y * (cell + GAP)))
            x += wide + GAP
    top = 3 * (cell + GAP) + GAP
    for (name, colour), (x, line) in zip(legend, places, strict=True):
        y = top + line * LEGEND
        box = (x, y, x + LEGEND // 2, y + LEGEND // 2)
        draw.rectangle(box, fill=tuple(colour.tolist()), outline="grey")
        draw.text((x + LEGEND * 3 // 4, y - 3), name, fill="black", font_size=14)
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")


def _palette(classes: int) -> npt.NDArray[np.uint8]:
    """Return the colour of each label, uint8 `[256, 3]`: white from the last class on."""
    palette = np.full((256, 3), 255, np.uint8)
    for k in range(min(classes, VOID)):
        palette[k] = tuple(bytes.fromhex(KELLY[k % len(KELLY)]))
    return palette


def _flow(names: Sequence[str], width: int) -> tuple[list[tuple[int, int]], int]:
    """Set the entries of a legend like words: (x in pixels, line) of each; how many lines."""
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places, x, line = [], MARGIN, 0
    for name in names:
        wide = round(ruler.textlength(name, font_size=14)) + LEGEND * 3 // 2
        if x > MARGIN and x + wide > width:
            x, line = MARGIN, line + 1
        places.append((x, line))
        x += wide
    return places, line + 1
