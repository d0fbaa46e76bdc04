"""A data set in words: which classes, what is held out, what is left out and why."""

from __future__ import annotations

from collections.abc import Sequence

from seamask.base.progress import amount
from seamask.data.sources import Data

COUNTED = 12  # classes whose images are counted one by one
NAMED = 3  # unreadable images that are named


def described(data: Data, batch: int = 0) -> list[str]:
    """Return what one should know of a data set before it is trained on, a line each.

    Args:
        data: the data set.
        batch: images of a step; 0: it is not said what fills none.
    """
    lines = []
    if data.probe_train is not None and data.probe_train.labels is not None:
        counts = data.probe_train.labels.bincount(minlength=len(data.classes)).tolist()
        lines.append(_classes(data.classes, counts))
    held_out = data.probe_test
    if held_out is not None and held_out is not data.train:
        of = "labelled images" if held_out.labels is not None else "images"
        lines.append(f"held out for scores: {len(held_out):,} {of}, {data.split}")
    lines += data.notes
    lines += skipped(data.skipped)
    left = len(data.train) % batch if batch else 0
    if left:
        lines.append(
            f"an epoch leaves out {left:,} of {len(data.train):,} images, others each time: they "
            f"fill no batch of {batch:,}"
        )
    return lines


def skipped(images: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line on (path, reason) of images that could not be used, if there are any."""
    if not images:
        return []
    named = "; ".join(f"{path}: {reason}" for path, reason in images[:NAMED])
    more = f"; and {len(images) - NAMED:,} more" if len(images) > NAMED else ""
    return [f"skipped {amount(len(images), 'image')} that cannot be used: {named}{more}"]


def _classes(names: Sequence[str], counts: Sequence[int]) -> str:
    if len(names) <= COUNTED:
        each = ", ".join(f"{name} {n:,}" for name, n in zip(names, counts, strict=True))
    else:
        least, most = min(counts), max(counts)
        each = f"{names[0]}, {names[1]}, …, {names[-1]}; "
        each += f"{least:,} to {most:,} images each" if least < most else f"{most:,} images each"
    return f"{len(names):,} classes, whose labels training does not see: {each}"
