"""Operations and bytes, counted: what any implementation has to compute and could have to move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from seamask.base.ranges import metered
from seamask.config import Config
from seamask.networks.small_maps import convolve_small_maps
from seamask.training.workload import Workload


@dataclass(frozen=True)
class Cost:
    """What something costs.

    Attributes:
        operations: of matrix products and convolutions, a multiplication and an addition being
            two; nothing else is counted.
        bytes: read and written if every operation reads its inputs from memory and writes its
            results back; fusing operations saves some of it.
    """

    operations: float
    bytes: float

    def __truediv__(self, n: float) -> Cost:
        return Cost(self.operations / n, self.bytes / n)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.operations + other.operations, self.bytes + other.bytes)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.operations - other.operations, self.bytes - other.bytes)

    def __mul__(self, n: float) -> Cost:
        return Cost(self.operations * n, self.bytes * n)


def count(thing: Callable[[], object]) -> Cost:
    """Run `thing` and return what it cost."""
    with _counter() as so_far:
        thing()
        return so_far()


def count_ranges(thing: Callable[[], object]) -> dict[str, Cost]:
    """Run `thing` and return what each of its named ranges cost."""
    with _counter() as so_far:
        return metered(thing, so_far)


@contextmanager
def _counter() -> Iterator[Callable[[], Cost]]:
    """Count within; yield what tells the cost so far."""
    moved = _Moved()
    with FlopCounterMode(display=False) as operations, moved:
        yield lambda: Cost(operations.get_total_flops(), moved.bytes)


class _Moved(TorchDispatchMode):
    """Adds up the bytes of the inputs and results of every operation that is not a view."""

    bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            for value in tree_leaves((args, kwargs, found)):
                if isinstance(value, Tensor):
                    self.bytes += value.numel() * value.element_size()
        return found


SMALL = (2, 4)  # images of the batches on which costs are counted
VIEWED = 32  # images of the batch on which those of the views are: what happens to each is drawn


def counted(config: Config) -> dict[str, Cost]:
    """Return what each named range of a step costs per image, and the whole `step`.

    Counted on two small batches on the CPU: a cost is a constant (weights, optimisers) and a part
    that grows with the batch, so those of any batch follow. The pairs of a contrastive loss, which
    grow with its square, are taken to grow with the batch: they are less than 0.1 %.

    Args:
        config: of the run; its batch size says over how many images the constant is spread.
    """
    small, large = (_counted(replace(config, batch_size=n)) for n in SMALL)
    a, b = SMALL
    found = {}
    for name in small:
        slope = (large[name] - small[name]) / (b - a)
        constant = small[name] - slope * a
        found[name] = slope + constant / config.batch_size
    many = Workload(replace(config, batch_size=VIEWED), torch.device("cpu"))
    views = count(many.make_views) / VIEWED
    return found | {"views": views, "step": found["step"] - found["views"] + views}


def _counted(config: Config) -> dict[str, Cost]:
    work = Workload(config, torch.device("cpu"))
    convolve_small_maps(work.encoder)  # what every implementation has to do
    return count_ranges(work.step)
