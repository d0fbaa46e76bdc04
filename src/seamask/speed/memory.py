"""Peak memory of training: the allocator's own counter on a GPU, a process of its own on a CPU."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from seamask.base.devices import use_cpu
from seamask.config import Config, packed, unpacked
from seamask.training.workload import Workload

STEPS = 2  # the second has the optimisers' state too


def peak_bytes(config: Config, device: torch.device) -> int:
    """Return the most memory that networks, optimisers, a batch and its steps take, in bytes.

    On a GPU what tensors take; on a CPU what the process takes above what it needed to start.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _train(config, device)
        return torch.cuda.max_memory_allocated(device) - before
    order = json.dumps({"threads": torch.get_num_threads(), **packed(config)})
    command = [sys.executable, "-m", "seamask.speed.memory"]
    done = subprocess.run(command, input=order, capture_output=True, text=True)
    if done.returncode == -signal.SIGKILL:
        raise MemoryError
    if done.returncode:
        raise RuntimeError(
            (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        )
    return int(done.stdout.split()[-1])


def resident_peak(task: Callable[[], object]) -> int:
    """Run `task` and return by how much it raised the resident memory of this process, in bytes."""
    before = _resident("VmRSS")
    task()
    return _resident("VmHWM") - before


def _train(config: Config, device: torch.device) -> None:
    work = Workload(config, device)
    for _ in range(STEPS):
        work.step()


def _resident(line: str) -> int:
    """Return a line of /proc/self/status in bytes; elsewhere than on Linux, the peak so far."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    (found,) = (row.split()[1] for row in status.splitlines() if row.startswith(f"{line}:"))
    return int(found) * 1024


def _main() -> None:
    order = json.load(sys.stdin)
    use_cpu(order["threads"])
    config = unpacked(order)
    print(resident_peak(lambda: _train(config, torch.device("cpu"))))


if __name__ == "__main__":
    _main()
