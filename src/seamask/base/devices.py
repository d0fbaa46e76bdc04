"""Which device computes, with how many threads and which habits."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch import Tensor

from seamask.base.errors import UserError


def free_cores() -> int:
    """Return how many of the cores we may use are idle now, at least 1.

    More threads than free cores wait for each other: a step can take ten times as long.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    times = psutil.cpu_times_percent(interval=0.3)  # below 1 s they do not add up to 100
    idle = times.idle / max(sum(times), 1e-9) * (os.cpu_count() or 1)
    return max(1, min(usable or 1, round(idle)))


def kind_of(device: str) -> Literal["cuda", "mps", "cpu"]:
    """Return what `--device` means: what is asked for, or of `auto` the fastest that is there."""
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return "cuda"
    if device == "mps" or (device == "auto" and torch.backends.mps.is_available()):
        return "mps"
    return "cpu"


def uses_gpu(device: str) -> bool:
    """Say whether `--device` means a GPU, of NVIDIA or Apple."""
    return kind_of(device) != "cpu"


def check_device(device: str, devices: int = 1, precision: str = "fp32") -> None:
    """Refuse a GPU that is not there, or cannot do what is asked of it.

    Raises:
        UserError: in one line.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no GPU is usable here; take --device cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: no GPU of Apple is usable here; take --device cpu")
    kind = kind_of(device)
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise UserError(f"--devices {devices}: there are {torch.cuda.device_count()} GPUs")
    if kind == "mps" and devices > 1:
        raise UserError(f"--devices {devices}: of Apple's GPU there is 1; or take --device cpu")
    if kind == "mps" and precision == "bf16":
        raise UserError("--precision bf16: not on Apple's GPU; take --precision fp32")
    if kind != "cuda" and precision == "tf32":
        raise UserError("--precision tf32: only a GPU of NVIDIA has it; take --precision fp32")


def torch_device(device: str, threads: int = 0) -> torch.device:
    """Return what `--device` means; on a CPU, set the number of threads (0: the free cores).

    Raises:
        UserError: a GPU that is not there.
    """
    check_device(device)
    if uses_gpu(device):
        return torch.device(kind_of(device))
    use_cpu(threads or free_cores())
    return torch.device("cpu")


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Return what was drawn on the CPU on `device`; a GPU is not waited for."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def memory_free(device: torch.device) -> int:
    """Return the bytes of a device's memory that tensors could take now."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return int(psutil.virtual_memory().available)


def memory_total(device: torch.device) -> int:
    """Return the bytes of a device's memory, or of what this process may take of the host's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [int(psutil.virtual_memory().total)]
    with suppress(OSError, ValueError):  # of a container
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    with suppress(ImportError, AttributeError):  # of a shell: `ulimit -v`
        import resource

        own = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [own] * (own != resource.RLIM_INFINITY)
    return min(limits)


def memory_used(device: torch.device) -> int:
    """Return the bytes that tensors took at most on a GPU, or that this process takes now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def use_cpu(threads: int) -> None:
    """Compute with so many threads from now on, and keep the memory that tensors leave.

    GNU's C library hands every large tensor's memory back and has the kernel clear it anew for the
    next: a tenth of a step, and more of the mask network's. Elsewhere nothing is changed.
    """
    torch.set_num_threads(threads)
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option is not None:
        never_trim, never_map = (-1, -1), (-4, 0)  # M_TRIM_THRESHOLD, M_MMAP_MAX
        for option in (never_trim, never_map):
            set_option(*option)
