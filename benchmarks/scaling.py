"""A step of several processes over a slow cable: what `plan.py` foretells, and what it takes.

Foretold is what a process computes, by its counted operations at the rate of one process that is
alone, in as many turns as there are more processes than cores; and what it sends, by the counted
messages of a step at the latency and rate of a bare sum over the same cable. Nothing is taken to
overlap. The hosts are network namespaces of this machine (root, Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import distributed
from torch.distributed import TCPStore

from harness import machine
from network import FIRST, Host, missing, two_hosts
from plan import sent
from seamask.base.settings import override
from seamask.config import Config
from seamask.data import load
from seamask.networks.sync_batchnorm import synchronise_batchnorm
from seamask.recipes import recipe_config
from seamask.runs import RunFolder
from seamask.speed.count import counted
from seamask.training.cluster import Place
from seamask.training.launch import joined
from seamask.training.run import Run
from seamask.training.watch import choose_interface, own_address

PORT = 29_533
CPU = torch.device("cpu")
SMALL, LARGE = 2**6, 2**22  # bytes of the sums by which a cable's latency and rate are found


class Found(NamedTuple):
    """What a process has measured.

    Attributes:
        steps: seconds of a step, for each batch.
        messages: bytes of each message of a step.
        latency: seconds of a small sum.
        rate: bytes a second of a large one, in a ring.
    """

    steps: list[float]
    messages: list[int]
    latency: float
    rate: float


def settings(cache: Path, batch: int, processes: int, size: int) -> Config:
    changed = {
        "image_size": size, "batch_size": batch, "devices": processes, "device": "cpu",
        "threads": 1, "data.cache": str(cache), "data.shapes_train": 2 * batch,
        "data.shapes_test": 8,
    }  # fmt: skip
    return override(recipe_config("shapes-sequential"), changed)


# What a process does ----------------------------------------------------------------------------


def work(place: Place, batches: list[int], asked: argparse.Namespace, cache: Path) -> None:
    """Measure, as one of several processes, whenever a line comes in; say what was found."""
    torch.set_num_threads(1)
    choose_interface(own_address(place.address))
    keeps = place.rank == 0
    store = TCPStore(place.address, place.port, is_master=keeps, wait_for_workers=False)
    n = place.world_size
    configs = [settings(cache, batch, n, asked.size) for batch in batches]
    with joined(configs[0], place, store) as processes:
        runs = [Run(processes, config, RunFolder("nowhere")) for config in configs]
        for run in runs:
            if n == 1:  # it computes what several compute
                synchronise_batchnorm(run.networks.encoder)
        steps = [partial(run.take_step, *next(run.batches())) for run in runs]
        for step in [*steps, *steps]:
            step()
        with heard() as messages:
            steps[0]()
        for _ in sys.stdin:
            latency = best(lambda: distributed.all_reduce(torch.zeros(SMALL // 4)), asked.steps)
            large = best(lambda: distributed.all_reduce(torch.zeros(LARGE // 4)), asked.steps)
            rate = sent(LARGE, n, 1.0) / (large - latency) if n > 1 else 1.0
            found = Found([best(step, asked.steps) for step in steps], messages, latency, rate)
            print(json.dumps(found), flush=True)


def best(thing: Callable[[], object], times: int) -> float:
    """Return the seconds of a thing that is done several times, when least else was done: a decile.

    Processes wait for each other before each.
    """
    taken = []
    for _ in range(times):
        distributed.barrier()
        start = time.perf_counter()
        thing()
        taken.append(time.perf_counter() - start)
    return statistics.quantiles(taken, n=10, method="inclusive")[0]


@contextmanager
def heard() -> Iterator[list[int]]:
    """Note the bytes of the messages that are sent within."""
    found: list[int] = []
    kept = {name: getattr(distributed, name) for name in ("all_reduce", "all_gather")}

    def noting(send: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            tensors = arguments[0] if isinstance(arguments[0], list) else [arguments[0]]
            found.append(sum(t.numel() * t.element_size() for t in tensors))
            return send(*arguments, **named)

        return noted

    for name, send in kept.items():
        setattr(distributed, name, noting(send))
    try:
        yield found
    finally:
        for name, send in kept.items():
            setattr(distributed, name, send)


# What starts them -------------------------------------------------------------------------------


def start(
    hosts: list[Host], n: int, batches: list[int], asked: argparse.Namespace, cache: Path
) -> list[subprocess.Popen[str]]:
    """Start `n` processes, an equal part of them on each host."""
    started = []
    for rank in range(n):
        mine = json.dumps({"rank": rank, "n": n, "batches": batches, "cache": str(cache)})
        given = ["--steps", str(asked.steps), "--size", str(asked.size), "--work", mine]
        command = hosts[rank * len(hosts) // n].inside(sys.executable, __file__, *given)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        # Each a session of its own, to which Linux gives as much of a busy machine as to any.
        started.append(subprocess.Popen(command, text=True, start_new_session=True, **pipes))
    return started


def measure(running: list[subprocess.Popen[str]]) -> Found:
    """Have processes measure; return what the first has found."""
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    first, *_ = [process.stdout.readline() for process in running]
    return Found(*json.loads(first))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabits", type=float, nargs="*", default=[0, 1000, 100],
                        help="of the cable, 0: as it is")  # fmt: skip
    parser.add_argument("--processes", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--size", type=int, default=32, help="side in pixels")
    parser.add_argument("--batch", type=int, default=64, help="images, of all processes")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        mine = json.loads(asked.work)
        place = Place("", mine["rank"], mine["n"], address=FIRST, port=PORT + mine["n"])
        work(place, mine["batches"], asked, Path(mine["cache"]))
        return
    if reason := missing():
        sys.exit(reason)
    print(machine(CPU), flush=True)
    with tempfile.TemporaryDirectory() as folder, two_hosts() as hosts:
        cache = Path(folder)
        load(settings(cache, asked.batch, 1, asked.size).data, asked.size, progress=False)
        tell(asked, hosts, cache)


def tell(asked: argparse.Namespace, hosts: list[Host], cache: Path) -> None:
    """Measure all, and print the table."""
    cores = len(os.sched_getaffinity(0))
    columns = ("cable", "processes", "load", "messages", "kB", "ms a small sum", "MB/s a large one",
               "computing", "sending", "foretold", "measured", "off")  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    few, many = asked.batch // 4, asked.batch // 2

    def operations(batch: int) -> float:
        return batch * counted(settings(cache, batch, 1, asked.size))["step"].operations

    running = {n: start(hosts, n, [asked.batch], asked, cache) for n in asked.processes}
    running[1] = start(hosts, 1, [few, many, asked.batch], asked, cache)
    for megabits in asked.megabits:
        for host in hosts if megabits else []:
            host.limit(megabits)
        cable = f"{megabits:,.0f} Mbit/s" if megabits else "as it is"
        alone = measure(running[1])  # in turns
        for n in (1, *asked.processes):
            found = alone if n == 1 else measure(running[n])
            each = (alone.steps[1] - alone.steps[0]) / (operations(many) - operations(few))
            fixed = alone.steps[0] - each * operations(few)
            computing = (fixed + each * operations(asked.batch // n)) * max(1, n / cores)
            total, step = sum(found.messages), found.steps[-1]
            sending = len(found.messages) * found.latency + sent(total, n, found.rate)
            foretold = computing + (sending if n > 1 else 0)
            shown = (
                cable, n, f"{os.getloadavg()[0]:.1f}", len(found.messages), f"{total / 1e3:,.0f}",
                f"{1e3 * found.latency:.2f}", f"{found.rate / 1e6:,.0f}", f"{1e3 * computing:.0f}",
                f"{1e3 * sending:.0f}", f"{1e3 * foretold:.0f}", f"{1e3 * step:.0f}",
                f"{foretold / step - 1:+.0%}",
            )  # fmt: skip
            print(f"| {' | '.join(map(str, shown))} |", flush=True)
    for process in (process for some in running.values() for process in some):
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    main()
