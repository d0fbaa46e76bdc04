"""Building the packed store from JPEGs against decoding and resizing them and nothing else."""

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from harness import Row, benchmark, recipe
from jpegs import make_jpegs
from seamask.data import load
from seamask.data.files.decode import opened, square
from seamask.speed.timing import in_turns, median, ratio


def measure(o):
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(o.data) if o.data else Path(folder) / "jpegs"
        if not o.data:
            make_jpegs(root, o.images)
        paths = sorted(p for p in root.rglob("*.jp*g"))
        for size in o.size:
            config = recipe(o, size).data
            busy, builds = [], iter(range(1000))

            def build(size=size, config=config, busy=busy, builds=builds):
                cache = Path(folder) / f"cache-{size}-{next(builds)}"
                before, start = psutil.Process().cpu_times(), time.perf_counter()
                load(replace(config, source=str(root), cache=str(cache), holdout=0.0), size, 0,
                     progress=False)  # fmt: skip
                after, seconds = psutil.Process().cpu_times(), time.perf_counter() - start
                used = after.user + after.system - before.user - before.system
                busy.append(used / seconds / (os.cpu_count() or 1))

            def bare(size=size):
                def one(path):
                    with opened(path, size) as image:
                        return square(image, size)

                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    for _ in pool.map(one, paths):
                        pass

            times = in_turns({"bare": bare, "store": build}, torch.device("cpu"), o.rounds)
            found, seconds = ratio(times, "bare", "store"), median(times)
            rate = len(paths) / seconds["store"]
            cores = sorted(busy)[len(busy) // 2]
            rows.append(Row(f"building the store of {len(paths):,} JPEGs at {size} px, images/s "
                            "over those of bare decode and resize", "≥ 0.9, all cores busy",
                            f"{found:.2f} ({rate:,.0f}/s, cores {cores:.0%} busy)",
                            found >= 0.9))  # fmt: skip
    return rows


def options(parser):
    parser.add_argument("--images", type=int, default=3000, help="JPEGs to make")
    parser.add_argument("--data", help="a folder of JPEGs, instead of making some")


if __name__ == "__main__":
    benchmark(__doc__, measure, extra=options)
