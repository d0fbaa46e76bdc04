"""Operations and bytes, counted: what any implementation has to compute and could have to move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from seamask.base.ranges import metered


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
