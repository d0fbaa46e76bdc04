"""What a step of each recipe asks of a GPU: waits, launches, library calls, the host's time.

Runs where there is no GPU, on a stand-in for NVIDIA's driver and libraries that counts what it is
asked for and does nothing (values are garbage, and so is what depends on them): such a library,
loaded before torch, has `fake_reset()`, `fake_launches()`, `fake_library_calls()`, and
`fake_dump()`, which writes a line `api`, name, number of each library call.

    pretend-gpu python benchmarks/on_pretend_gpu.py --size 64

Host time is that of the asking alone: the median over steps on one thread. Waits are those that
PyTorch knows of (`torch.cuda.set_sync_debug_mode`). With `--processes 2` this is one of two, and
messages, which NCCL would send, are counted too.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed

from harness import machine
from seamask.base.precision import chosen_precision, use_precision
from seamask.base.settings import override
from seamask.config import Config
from seamask.recipes import RECIPES, recipe_config
from seamask.training.stepper import can_record
from seamask.training.workload import Workload

MORE = {  # options beside recipes: what they change of imagenet100s-sequential
    "exact budgets": {"masks.budget": "exact:0.25"},
    "stacked": {"masks.stack": True},
    "group norm": {"masks.norm": "group"},
    "ViT, patches left out": {"encoder.backbone": "vit_tiny_patch16_224", "masks.drop": 0.5},
}


def messages(driver: ctypes.CDLL) -> int:
    """Return how many messages processes have sent each other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.tsv"
        driver.fake_dump(str(path).encode())
        rows = [line.split("\t") for line in path.read_text().splitlines()]
    return sum(int(n) for kind, name, n in rows if kind == "api" and name.startswith("ncclAll"))


def asked(config: Config, rounds: int, processes: int) -> dict[str, float]:
    """Return what a step asks for, operation by operation."""
    device = torch.device("cuda", 0)
    use_precision(chosen_precision(config.precision, "cuda"))
    work = Workload(replace(config, cuda_graph="no"), device, 0, processes)
    driver = ctypes.CDLL(None)
    for _ in range(2):
        work.step()
    driver.fake_reset()
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        work.step()
    torch.cuda.set_sync_debug_mode("default")
    found = {
        "waits": sum("synchroniz" in str(w.message) for w in seen),
        "launches": driver.fake_launches(),
        "calls": driver.fake_library_calls(),
        "messages": messages(driver),
    }
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work.step()
        times.append(time.process_time() - begin)
    return found | {"host": 1e3 * statistics.median(times)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=[*RECIPES])
    parser.add_argument("--options", nargs="*", default=[*MORE], help="beside them")
    parser.add_argument("--batch", type=int, default=8, help="which changes the counts hardly")
    parser.add_argument("--size", type=int, default=0, help="in pixels; 0: the recipe's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--processes", type=int, default=1, help="that share statistics, of which this is one"
    )
    o = parser.parse_args()
    if not hasattr(ctypes.CDLL(None), "fake_launches"):
        parser.error("no pretend GPU is loaded: on a real one take benchmarks/on_gpu.py")
    torch.set_num_threads(1)
    print(machine(torch.device("cpu")))
    if o.processes > 1:
        store = distributed.HashStore()
        distributed.init_process_group("nccl", store=store, rank=0, world_size=o.processes)
    counts = {"waits": "waits", "launches": "launches", "library calls": "calls"}
    counts |= {"messages": "messages"} if o.processes > 1 else {}
    columns = "recipe", *counts, "host, ms", "recorded"
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    rows = {name: recipe_config(name) for name in o.recipes}
    base = recipe_config("imagenet100s-sequential")
    rows |= {f"imagenet100s-sequential, {n}": override(base, MORE[n]) for n in o.options}
    for name, config in rows.items():
        size = {"image_size": o.size} if o.size else {}
        config = override(config, {"batch_size": o.batch, "objective.queue": 64, **size})
        found = asked(config, o.rounds, o.processes)
        shown = " | ".join(f"{found[key]:,.0f}" for key in counts.values())
        recorded = "yes" if can_record(config, "cuda") and o.processes == 1 else "no"
        print(f"| {name} | {shown} | {found['host']:.1f} | {recorded} |", flush=True)


if __name__ == "__main__":
    main()
