"""Times of things that are compared: taken in turns, since a machine is never the same twice."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

import torch

from seamask.base.ranges import metered

Times = dict[str, list[float]]


def in_turns(
    things: Mapping[str, Callable[[], object]],
    device: torch.device,
    rounds: int = 5,
    seconds: float = float("inf"),
    warm_up: int = 1,
) -> Times:
    """Run each thing once a round, in an order that turns, and time it.

    Args:
        things: what to time, by name.
        device: waited for before and after each.
        rounds: at most; at least one is run.
        seconds: no round is begun after so many, the warm-up included.
        warm_up: runs of each beforehand that are not timed.

    Returns:
        Seconds of each round, by name.
    """
    start = time.perf_counter()
    collecting = gc.isenabled()
    gc.disable()  # else one of the things pays for what all have left
    for thing in things.values():
        for _ in range(warm_up):
            thing()
    names = list(things)
    times: Times = {name: [] for name in names}
    for turn in range(rounds):
        if turn and time.perf_counter() - start > seconds:
            break
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            _wait(device)
            begin = time.perf_counter()
            things[name]()
            _wait(device)
            times[name].append(time.perf_counter() - begin)
    if collecting:
        gc.enable()
    return times


def in_ranges(
    thing: Callable[[], object],
    device: torch.device,
    rounds: int = 5,
    seconds: float = float("inf"),
) -> Times:
    """Run something a few times; return seconds of each round, by named range of it.

    Arguments are those of `in_turns`; a GPU is waited for at both ends of each range.
    """
    taken: list[dict[str, float]] = []

    def now() -> float:
        _wait(device)
        return time.perf_counter()

    in_turns({"": lambda: taken.append(metered(thing, now))}, device, rounds, seconds)
    names = dict.fromkeys(name for found in taken for name in found)
    return {name: [found.get(name, 0.0) for found in taken[1:]] for name in names}


def median(times: Times) -> dict[str, float]:
    """Return the median seconds of each thing."""
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def ratio(times: Times, slow: str, fast: str) -> float:
    """Return how many times longer `slow` took: the median over rounds of their ratios."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
