"""Time of `seamask --help`, and CPU time of importing the heart beside that of torch alone."""

import resource
import statistics
import subprocess
import sys

import torch

from harness import Row, benchmark
from seamask.speed.timing import in_turns, median

HEART = ("SequentialMasker", "budget_penalty", "nt_xent", "two_player_step")


def cpu_seconds(code):
    """CPU seconds of a Python process that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(o):
    def call(*arguments):
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    code = "from seamask.cli import main; main(['--help'])"  # as the installed command starts
    things = {"help": call("-c", code), "python": call("-c", "")}
    found = median(in_turns(things, torch.device("cpu"), o.rounds))
    rows = [Row("`seamask --help`", "≤ 0.5 s",
                f"{found['help']:.2f} s (python alone {found['python']:.2f} s)",
                found["help"] <= 0.5)]  # fmt: skip
    cpu_seconds("import torch")  # from the disk, once
    ratios = {name: [] for name in HEART}
    for _ in range(o.rounds):  # in turns, since a machine is never the same twice
        alone = cpu_seconds("import torch")
        for name in HEART:
            ratios[name].append(cpu_seconds(f"import seamask; seamask.{name}") / alone)
    worst = max(statistics.median(values) for values in ratios.values())
    shown = ", ".join(f"{n} {statistics.median(v):.2f}" for n, v in ratios.items())
    goal = "≤ 1.15 ×"
    return [*rows, Row("import of the heart ÷ import torch, CPU", goal, shown, worst <= 1.15)]


if __name__ == "__main__":
    benchmark(__doc__, measure, rounds=9)
