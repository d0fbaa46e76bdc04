"""The step on a GPU: time, host's and device's share of it, memory; each setting a line of JSON.

python benchmarks/on_gpu.py --size 64 96 32 --batch 256 --lines gpu.jsonl

A line holds medians over `--rounds` steps: `step` from start to end, waited for; `host`, until all
of it is asked for; `device`, the sum of its kernels by PyTorch's profiler. Where host and step are
equal and device is less, the host is the bound. Rows whose time is up are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from adios_step import AdiosOrder
from harness import LIGHT, machine, recipe
from seamask.base.devices import torch_device
from seamask.speed.bench import matrix_rate
from seamask.speed.timing import in_turns
from seamask.training.stepper import WARM_UP
from seamask.training.workload import Workload

VARIANTS = {
    "exact": {},
    "simultaneous, one mask, light": LIGHT,
    "SimCLR": {"masks.masker": "none"},
    "exact, stacked": {"masks.stack": True},
    "simultaneous": {"updates": "simultaneous"},
    "random blocks, one mask": {"masks.masker": "random-block", "masks.single": True},
    "exact, N = 5": {"masks.n_masks": 5},
    "exact budgets": {"masks.budget": "exact:0.25"},
}


def measured(step, rounds: int, device: torch.device) -> dict[str, float]:
    """Return milliseconds of a step by host and device, launches, and GiB at most."""
    for _ in range(WARM_UP + 2):
        step()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    host, whole = [], []
    for _ in range(rounds):
        torch.cuda.synchronize(device)
        begin = time.perf_counter()
        step()
        host.append(time.perf_counter() - begin)
        torch.cuda.synchronize(device)
        whole.append(time.perf_counter() - begin)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        step()
        torch.cuda.synchronize(device)
    on_device = [e for e in seen.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    kernels = [e for e in on_device if not e.is_user_annotation]  # named ranges hold kernels
    begin = time.perf_counter()  # as a training goes: never waited for
    for _ in range(rounds):
        step()
    torch.cuda.synchronize(device)
    rolling = (time.perf_counter() - begin) / rounds
    return {
        "step": 1e3 * statistics.median(whole),
        "host": 1e3 * statistics.median(host),
        "rolling": 1e3 * rolling,
        "device": sum(e.time_range.elapsed_us() for e in kernels) / 1e3,
        "kernels": len(kernels),
        "gib": torch.cuda.max_memory_allocated(device) / 2**30,
    }


def floor(work: Workload):
    """Return a step of the encoder alone: forward and backward through clean images."""
    images = work.pair[0].images

    def step() -> None:
        work.encoder.zero_grad(set_to_none=True)
        with work.players.autocast():
            z = work.encoder(images)
        z.float().square().mean().backward()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[64, 96, 32])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--variants", nargs="+", default=[*VARIANTS, "ADIOS's order", "floor"])
    parser.add_argument("--set", nargs="*", default=[], help="settings of all, as path=JSON")
    parser.add_argument("--search", action="store_true", help="let cuDNN try its algorithms")
    parser.add_argument("--tf32", action="store_true", help="fp32 products in TF32 too")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=120, help="no row is begun after so many")
    parser.add_argument("--lines", type=Path, required=True)
    o = parser.parse_args()
    o.device = torch_device("cuda")
    torch.backends.cudnn.benchmark = o.search
    torch.set_float32_matmul_precision("high" if o.tf32 else "highest")
    shared = {name: json.loads(value) for name, value in (pair.split("=") for pair in o.set)}
    how = shared | {name: True for name in ("search", "tf32") if getattr(o, name)}
    start = time.perf_counter()

    def write(**line: object) -> None:
        print(json.dumps(line), flush=True)
        with o.lines.open("a") as file:
            file.write(json.dumps(line) + "\n")

    numbers = torch.empty(2**31, dtype=torch.uint8, device=o.device)
    copied = min(in_turns({"": numbers.clone}, o.device)[""])
    write(
        machine=machine(o.device),
        bf16_tflops=matrix_rate(o.device, "bf16") / 1e12,
        fp32_tflops=matrix_rate(o.device, "fp32") / 1e12,
        copy_gb_per_s=2 * numbers.nbytes / copied / 1e9,
    )
    del numbers
    for precision in o.precisions:
        for size in o.size:
            for variant in o.variants:
                if time.perf_counter() - start > o.seconds:
                    print(f"no time for {precision}, {size} px, {variant}", flush=True)
                    continue
                changed = VARIANTS.get(variant, {}) | shared
                o.precision = precision
                try:
                    torch.cuda.empty_cache()
                    work = Workload(recipe(o, size, **changed), o.device)
                    step = work.step
                    if variant == "ADIOS's order":
                        step = AdiosOrder(work).step
                    elif variant == "floor":
                        step = floor(work)
                    found = measured(step, o.rounds, o.device)
                except (RuntimeError, ValueError, TypeError) as error:  # one row
                    found = {"error": str(error).splitlines()[0]}
                write(
                    precision=precision, size=size, variant=variant, batch=o.batch, **how, **found
                )


if __name__ == "__main__":
    main()
