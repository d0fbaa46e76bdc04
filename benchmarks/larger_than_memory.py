"""Shuffled batches of a store that the memory holds, and of one four times as large.

Needs root and cgroups (v1 or v2) for the limit: python benchmarks/larger_than_memory.py FOLDER
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from seamask.data import Loader
from seamask.data.store.arrays import memory_map

SIZE, BATCH, STEPS = 96, 256, 60
LIMIT = 700 * 2**20  # bytes; a process of PyTorch has 300 MB of its own


def measure(path, n, pace):
    """Return images/s, and the share of the time that is waited for them at a pace of training."""
    pixels = memory_map(path, np.uint8, (n, SIZE, SIZE, 3))
    rows = torch.from_numpy(np.random.default_rng(time.time_ns()).permutation(n))
    rows = rows[: 2 * STEPS * BATCH].view(2, STEPS, BATCH)
    start = time.perf_counter()
    for _ in Loader(pixels, "cpu", resident=False).batches(rows[0]):
        pass
    rate = STEPS * BATCH / (time.perf_counter() - start)
    start = time.perf_counter()
    for _ in Loader(pixels, "cpu", resident=False).batches(rows[1]):
        time.sleep(BATCH / pace)
    seconds = time.perf_counter() - start
    return rate, seconds / (STEPS * BATCH / pace) - 1


def limited():
    """Put this process under the limit."""
    old = Path("/sys/fs/cgroup/memory")
    group = (old if old.is_dir() else Path("/sys/fs/cgroup")) / "larger-than-memory"
    group.mkdir(exist_ok=True)
    (group / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")).write_text(str(LIMIT))
    (group / "cgroup.procs").write_text(str(os.getpid()))


def main():
    path = Path(sys.argv[1]) / "x.pixels"
    n = 4 * LIMIT // (SIZE * SIZE * 3)
    if not path.exists() or path.stat().st_size < n * SIZE * SIZE * 3:
        with open(path, "wb") as file:
            for i in range(0, n, 1000):
                file.write(np.random.default_rng(i).bytes(min(1000, n - i) * SIZE * SIZE * 3))
            os.fsync(file.fileno())
    if len(sys.argv) == 2:
        for limit in ("", "limit"):
            with open(path, "rb") as file:
                if limit:  # nothing of it is in memory
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                else:
                    while file.read(2**24):
                        pass
            subprocess.run([sys.executable, __file__, sys.argv[1], limit or "none"], check=True)
        return
    if sys.argv[2] == "limit":
        limited()
    for pace in (1000, 2000):
        rate, lost = measure(path, n, pace)
        print(f"{sys.argv[2]:>6}: {rate:,.0f} images/s; an epoch of a training of {pace:,}/s "
              f"takes {lost:+.1%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
