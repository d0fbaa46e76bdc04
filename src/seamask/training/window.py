"""Metrics between two lines of the log."""

from __future__ import annotations

import time
from collections import Counter

import torch
from lightning_fabric import Fabric
from torch import Tensor

from seamask.training.health import ranks


class Window:
    """Means of metrics since the last line of the log, summed on the device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: Counter[str] = Counter()  # a step in which masks rest has fewer metrics
        self.grams: Tensor | None = None  # [n, b, b], of the last batch that was looked at
        self.steps = 0
        self.last: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """Start the clock, so that what came between two epochs does not count."""
        self.started = time.perf_counter()

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add one step's metrics."""
        self._add(metrics)
        self.steps += 1

    def note(self, metrics: dict[str, Tensor], grams: Tensor) -> None:
        """Add what was seen at one step; see `Health.examine`."""
        self._add({name: value for name, value in metrics.items() if name not in self.sums})
        self.grams = grams

    def _add(self, metrics: dict[str, Tensor]) -> None:
        for name, value in metrics.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts.update(metrics.keys())

    def close(self, fabric: Fabric) -> tuple[dict[str, float], float, int]:
        """Return means over processes, seconds and steps since the last call, and start anew."""
        sums = fabric.all_reduce(torch.stack(list(self.sums.values())), reduce_op="mean")
        assert isinstance(sums, Tensor)
        grams = sums.new_zeros(0) if self.grams is None else self.grams.to(sums.dtype)
        both = torch.cat([sums, grams.flatten()]).cpu()  # the one wait for the device
        values = both[: len(sums)].tolist()
        self.last = {n: v / self.counts[n] for n, v in zip(self.sums, values, strict=True)}
        if self.grams is not None and fabric.global_rank == 0:  # who writes the log
            self.last |= ranks(both[len(sums) :].view_as(self.grams))
        now = time.perf_counter()
        result = self.last, now - self.started, self.steps
        self.sums, self.counts, self.grams, self.steps, self.started = {}, Counter(), None, 0, now
        return result
