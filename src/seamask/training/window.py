"""Metrics between two lines of the log."""

from __future__ import annotations

import time
from collections import Counter

import torch
from lightning_fabric import Fabric
from torch import Tensor


class Window:
    """Means of metrics since the last line of the log, summed on the device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: Counter[str] = Counter()  # a step in which masks rest has fewer metrics
        self.steps = 0
        self.last: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """Start the clock, so that what came between two epochs does not count."""
        self.started = time.perf_counter()

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add one step's metrics."""
        for name, value in metrics.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts.update(metrics.keys())
        self.steps += 1

    def close(self, fabric: Fabric) -> tuple[dict[str, float], float, int]:
        """Return means over processes, seconds and steps since the last call, and start anew."""
        sums = fabric.all_reduce(torch.stack(list(self.sums.values())), reduce_op="mean")
        values = sums.tolist()  # the one wait for the device
        self.last = {n: v / self.counts[n] for n, v in zip(self.sums, values, strict=True)}
        now = time.perf_counter()
        result = self.last, now - self.started, self.steps
        self.sums, self.counts, self.steps, self.started = {}, Counter(), 0, now
        return result
