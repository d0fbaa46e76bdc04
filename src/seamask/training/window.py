"""Means of metrics since the last line of the log: part of what a checkpoint holds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seamask.training.health import ranks
from seamask.training.processes import Processes


class Window:
    """Means of metrics since the last line of the log, summed on the device.

    Attributes:
        steps: that were added.
        last: means of the last line.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: Counter[str] = Counter()  # a step in which masks rest has fewer metrics
        self.grams: Tensor | None = None  # [n, b, b], of the last batch that was looked at
        self.steps = 0
        self.seconds = 0.0  # counted before `since`
        self.last: dict[str, float] = {}
        self.count_time()

    def count_time(self) -> None:
        """Count time from now on."""
        self.since = time.perf_counter()

    def add(self, metrics: dict[str, Tensor]) -> None:
        """Add one step's metrics."""
        self._add(metrics)
        self.steps += 1

    def add_health(self, metrics: dict[str, Tensor], grams: Tensor) -> None:
        """Add what was seen at one step; see `Health.examine`."""
        self._add({name: value for name, value in metrics.items() if name not in self.sums})
        self.grams = grams

    def _add(self, metrics: dict[str, Tensor]) -> None:
        for name, value in metrics.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts.update(metrics.keys())

    def close(self, processes: Processes) -> tuple[dict[str, float], float, int]:
        """Return means over processes, seconds and steps since the last call, and start anew."""
        sums = _mean(processes, self.sums)
        grams = sums.new_zeros(0) if self.grams is None else self.grams.to(sums.dtype)
        both = torch.cat([sums, grams.flatten()]).cpu()  # the one copy from the device
        values = both[: len(sums)].tolist()
        self.last = {n: v / self.counts[n] for n, v in zip(self.sums, values, strict=True)}
        if self.grams is not None and processes.rank == 0:  # who writes the log
            self.last |= ranks(both[len(sums) :].view_as(self.grams))
        now = time.perf_counter()
        result = self.last, self.seconds + now - self.since, self.steps
        self.sums, self.counts, self.grams, self.steps = {}, Counter(), None, 0
        self.seconds, self.since = 0.0, now
        return result

    def state(self, processes: Processes) -> dict[str, Any]:
        """Return what was added since the last line, as plain values. Every process takes part."""
        sums = _mean(processes, self.sums).cpu() if self.sums else torch.zeros(0)
        return {
            "sums": {name: value.clone() for name, value in zip(self.sums, sums, strict=True)},
            "counts": dict(self.counts),
            "steps": self.steps,
            "seconds": self.seconds + time.perf_counter() - self.since,
        }

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from what `state` returned."""
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.counts = Counter(state["counts"])
        self.steps, self.seconds = state["steps"], state["seconds"]


def _mean(processes: Processes, sums: Mapping[str, Tensor]) -> Tensor:
    return processes.mean(torch.stack(list(sums.values())))
