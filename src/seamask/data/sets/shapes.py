"""`shapes`: the built-in data set, generated (see `scenes`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np

from seamask.base.settings import Within
from seamask.base.threads import in_threads
from seamask.data.normalize import Normalization
from seamask.data.registry import SOURCES, Source
from seamask.data.sets import scenes
from seamask.data.store.plan import Chunk, Plan, Split

SEED = 0  # of the images themselves: every run sees the same, whatever its own seed
CHUNK = 64  # images generated at once by a thread


@dataclass(frozen=True)
class ShapesSettings:
    """Settings of `shapes` alone."""

    shapes_train: Annotated[int, Within(1)] = 4096
    """Number of generated training images (`shapes` only)."""
    shapes_test: Annotated[int, Within(0)] = 1024
    """Number of generated held-out images (`shapes` only)."""


@SOURCES.register("shapes", ShapesSettings)
def shapes(config: ShapesSettings, size: int, seed: int) -> Source:
    """Return the source; `seed` changes nothing."""
    parts = {
        "train": (0, config.shapes_train),
        "test": (scenes.TEST_START, config.shapes_test),
    }

    def plan() -> Plan:
        splits = {
            name: Split(count, partial(_chunks, start, count, size), labelled=True, segmented=True)
            for name, (start, count) in parts.items()
            if count
        }
        return Plan(splits, tuple(scenes.CLASSES))

    return Source(
        "shapes",
        lambda: f"{scenes.VERSION} {SEED} {config.shapes_train} {config.shapes_test}",
        plan,
        Normalization(scenes.MEAN, scenes.STD),
        images=config.shapes_train,
        main_object=True,
    )


def _chunks(start: int, count: int, size: int) -> Iterator[Chunk]:
    def draw(first: int) -> Chunk:
        last = min(first + CHUNK, start + count)
        return Chunk(*scenes.generate(SEED, np.arange(first, last), size))

    threads = os.cpu_count() or 1
    firsts = range(start, start + count, CHUNK)
    with closing(in_threads(draw, firsts, threads, ahead=threads)) as drawn:
        yield from drawn
