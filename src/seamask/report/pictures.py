"""Pictures and numbers that the page's script draws from: tiles of images and masks, in one sheet
each, and what is said beside them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from seamask.report.reading import Array, Told

BINS = 20  # of a histogram of shares
NEAREST = 7  # neighbours of an image
QUERIES = 8  # images whose neighbours are shown
COMPONENTS = 6  # principal ones that the map can show
EMPTY = 0.005  # of what a mask removes: not worth a digit


def shown_masks(run: Told) -> dict[str, Any]:
    """Return the images and their masks, epoch by epoch: `runs[]` of the page's script."""
    images, epochs = run.images, run.epochs
    if images is None or not epochs:
        return {"images": "", "n": 0, "masks": 0, "frames": []}
    return {
        "images": _sheet(images, len(images), quality=90),
        "side": images.shape[1],
        "n": len(images),
        "masks": next(iter(epochs.values()))["masks"].shape[1],
        "frames": [_frame(epoch, arrays) for epoch, arrays in epochs.items()],
    }


def _frame(epoch: int, arrays: Any) -> dict[str, Any]:
    """Return one epoch: masks in a sheet of a row an image, the means below; numbers rounded."""
    masks = arrays["masks"]  # [n, N, S, S]
    n, count = masks.shape[:2]
    found: dict[str, Any] = {
        "epoch": epoch,
        "removed": _rounded(masks.mean((2, 3)) / 255),
        "hurts": _rounded(arrays["hurts"]) if "hurts" in arrays else None,
    }
    tiles = masks.reshape(n * count, *masks.shape[2:])
    if "shares" in arrays:
        shares = arrays["shares"]  # [m, N]
        tiles = np.concatenate([tiles, arrays["mean"]])
        found |= {
            "histograms": [
                np.histogram(shares[:, k], bins=BINS, range=(0, 1))[0].tolist()
                for k in range(count)
            ],
            "means": _rounded(shares.mean(0)),
            "empty": _rounded((shares < 0.01).mean(0)),
            "overlap": _rounded(arrays["overlap"]),
            "seen": len(shares),
        }
    if count:
        found["sheet"] = _sheet(tiles, count, quality=80)
    return found


def embedding(run: Told) -> dict[str, Any] | None:
    """Return the map of some images by the encoder, and their nearest neighbours.

    None: features are not there yet, or are not finite.
    """
    features, images = run.features.get("features"), run.features.get("images")
    if features is None or images is None or len(features) < 2:
        return None
    unit = features.astype(np.float32)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True).clip(1e-12)
    if not np.isfinite(unit).all():
        return None
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    most = min(NEAREST, len(unit) - 1)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :most]
    centred = unit - unit.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(COMPONENTS, u.shape[1] // 2 * 2)
    places = u[:, :kept] * s[:kept]
    places = (places - places.min(0)) / np.ptp(places, axis=0).clip(1e-12)
    labels = run.features.get("labels")
    classes = list((run.manifest.get("data") or {}).get("classes") or [])
    columns = int(np.ceil(len(images) ** 0.5))
    return {
        "sheet": _sheet(images, columns, quality=80),
        "columns": columns,
        "rows": -(-len(images) // columns),
        "side": images.shape[1],
        "places": _rounded(places),
        "explained": _rounded((s**2 / max(float((s**2).sum()), 1e-12))[:kept]),
        "nearest": nearest.tolist(),
        "cosine": _rounded(np.take_along_axis(cosine, nearest, 1)),
        "labels": None if labels is None else labels.tolist(),
        "classes": classes,
        "queries": np.linspace(0, len(unit) - 1, min(QUERIES, len(unit))).astype(int).tolist(),
        "agree": _agreement(labels, nearest),
    }


def _agreement(labels: Array | None, nearest: Array) -> float | None:
    """Return the share of neighbours of an image's own class."""
    if labels is None or len(np.unique(labels)) < 2:
        return None
    return float((labels[nearest] == labels[:, None]).mean())


def _sheet(tiles: Array, columns: int, quality: int) -> str:
    """Return tiles, uint8 `[n, S, S]` or `[n, S, S, 3]`, row by row in one picture: a data URL."""
    rows = -(-len(tiles) // columns)
    side = tiles.shape[1]
    sheet = np.zeros((rows * side, columns * side, *tiles.shape[3:]), np.uint8)
    for k, tile in enumerate(tiles):
        y, x = k // columns * side, k % columns * side
        sheet[y : y + side, x : x + side] = tile
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _rounded(values: Array) -> Any:
    # JSON has no NaN: networks that have diverged move nothing that could be said.
    return np.nan_to_num(np.asarray(values, dtype=np.float64), posinf=0, neginf=0).round(4).tolist()
