"""What a number depends on: versions, commit, machine."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("seamask", "torch", "torchvision", "timm")


def provenance() -> dict[str, str | dict[str, str]]:
    """Return versions of packages, the commit of a source checkout, and the machine."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    machine = f"{processor()}, {os.cpu_count()} cores"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.device_count()} × {torch.cuda.get_device_name()}"
    return {"versions": versions, "commit": commit(), "machine": machine}


@functools.cache
def commit() -> str:
    """Return the commit of the checkout this package runs from, `-dirty` if changed.

    Ask for it when work begins: the answer is kept, as the code in memory is.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():  # an installed wheel, perhaps inside someone else's repository
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
