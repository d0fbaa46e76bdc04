"""Time of `seamask --help`, from nothing to the end."""

import subprocess
import sys

import torch

from harness import Row, benchmark
from seamask.speed.timing import in_turns, median


def measure(o):
    def call(*arguments):
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    code = "from seamask.cli import main; main(['--help'])"  # as the installed command starts
    things = {"help": call("-c", code), "python": call("-c", "")}
    found = median(in_turns(things, torch.device("cpu"), o.rounds))
    return [Row("`seamask --help`", "≤ 0.5 s",
                f"{found['help']:.2f} s (python alone {found['python']:.2f} s)",
                found["help"] <= 0.5)]  # fmt: skip


if __name__ == "__main__":
    benchmark(__doc__, measure, rounds=9)
