"""Share of a step spent waiting for data: packed store memory-mapped, and in memory."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from harness import Row, benchmark, recipe
from seamask.data import Loader, permutation
from seamask.training.workload import Workload

STORED = 20_000  # images
STEPS = 6


def measure(o):
    rows = []
    for size in o.size:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train.pixels"
            shape = (STORED, size, size, 3)
            np.random.default_rng(0).integers(0, 256, shape, np.uint8).tofile(path)
            mapped = torch.from_numpy(np.memmap(path, np.uint8, "c", shape=shape))
            work = Workload(replace(recipe(o, size), batch_size=o.batch), o.device)
            for name, resident in (("memory-mapped", False), ("in memory", True)):
                loader = Loader(mapped, o.device, resident)
                order = permutation(STORED, 0, 0)[: (STEPS + 1) * o.batch].view(-1, o.batch)
                for step, images in enumerate(loader.batches(order)):
                    if step == 1:  # the first warms up
                        loader.waited, start = 0.0, time.perf_counter()
                    work.images = images
                    work.step()
                _ = [value.item() for value in work.metrics.values()]  # waits for the device
                share = loader.waited / (time.perf_counter() - start)
                rows.append(Row(f"share of a step spent waiting for data, {name}, {size} px",
                                "≤ 1 %", f"{share:.2%}", share <= 0.01))  # fmt: skip
    return rows


if __name__ == "__main__":
    benchmark(__doc__, measure, batch=32)
