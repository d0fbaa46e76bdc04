"""Operations and bytes of every part of a step, and what they foretell past the machine at hand.

Prints the tables of docs/performance.md. What is counted is counted by `seamask.speed`; what is
assumed (rates of a GPU, of networks and disks) stands in `ASSUMED` below and nowhere else.
"""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

import torch

from seamask.base.progress import duration
from seamask.base.settings import override
from seamask.config import Config
from seamask.game.held import held_still
from seamask.networks.small_maps import convolve_small_maps
from seamask.recipes import recipe_config
from seamask.speed.count import Cost, count, counted
from seamask.training.workload import Workload

ASSUMED = {
    "operations": 250e12,  # bf16 convolutions, a second: a quarter of an H100's peak
    # Bytes a second: what counted bytes and steps measured on an H200 give (0.77 and 1.08 TB/s at
    # 64 and 96 px); a copy there runs at 4.2.
    "memory": 1.0e12,
    "inside": 200e9,  # bytes a second between GPUs of one machine
    "between": 40e9,  # bytes a second between machines of eight GPUs, each GPU
    "ask": 20e-6,  # seconds of the host for one operation: 19 to 21 measured on an H200's machine
    "replay": 2e-3,  # seconds of the host for a recorded step: 1.5 to 3 measured there
    "ask for a message": 50e-6,  # seconds of the host
    "message": 20e-6,  # seconds of a small message inside a machine
    "doubling": 10e-6,  # seconds more each time that machines double
    "decode": 250.0,  # JPEGs of ImageNet's size a second and core, decoded and resized
}
FLOATS = 4  # bytes of a gradient
NORMS = 20  # layers of batch norm of ResNet-18; each asks its like for statistics, both ways
MACHINE = 8  # GPUs


class Asked(NamedTuple):
    """Settings, and what a step with them asks for, N = 4.

    Attributes:
        changed: settings that differ.
        operations: that the host asks for, as measured on an H200 (`on_gpu.py`).
        forward: passes of the encoder.
        backward: passes.
    """

    changed: dict[str, object]
    operations: int
    forward: int
    backward: int


SETTINGS = {
    "exact": Asked({}, 7_200, 10, 10),
    "simultaneous, light (¼)": Asked(
        {"updates": "simultaneous", "masks.downscale": 4}, 5_100, 5, 5
    ),
}
# Name, size, images, epochs, batch, cost of an hour is left to the reader: prices move.
RUNS = (
    ("STL-10, 96 px", 96, 105_000, 500, 256),
    ("ImageNet100s, 96 px", 96, 126_689, 500, 256),
    ("ImageNet-1k, 224 px", 224, 1_281_167, 100, 1024),
)


def at(size: int, batch: int, **changed: object) -> Config:
    settings = {"image_size": size, "batch_size": batch, "n_masks": 4}
    return override(recipe_config("imagenet100s-sequential"), {**settings, **changed})


def passes(size: int) -> dict[str, Cost]:
    """Return the cost of each kind of pass per image, weights read once for all of 256 images."""
    found = []
    for batch in (2, 4):
        work = Workload(at(size, batch), torch.device("cpu"))
        encoder, masker = convolve_small_maps(work.encoder), work.masker
        x = work.pair[0].images

        def forward(network=encoder, x=x):
            with torch.no_grad():
                network(x)

        def full(network=encoder, x=x):
            out = network(x)
            out.backward(torch.ones_like(out))

        def to_the_image(encoder=encoder, x=x):
            with held_still(encoder):
                z = encoder(x.detach().requires_grad_())
                z.backward(torch.ones_like(z))

        once, masks = count(forward), count(lambda m=masker: forward(m))
        found.append({
            "encoder, forward": once,
            "encoder, backward to weights and features": count(full) - once,
            "encoder, backward to the image": count(to_the_image) - once,
            "mask network, forward": masks,
            "mask network, backward": count(lambda m=masker: full(m)) - masks,
        })  # fmt: skip
    small, large = found
    return {
        name: slope + (cost - slope * 2) / 256
        for name, cost in small.items()
        for slope in [(large[name] - cost) / 2]
    }


def table(title: str, costs: dict[str, Cost]) -> None:
    print(f"\n| {title} | GFLOP/image | MB/image | operations per byte |\n|---|---|---|---|")
    for name, cost in costs.items():
        intensity = cost.operations / cost.bytes
        print(
            f"| {name} | {cost.operations / 1e9:.3f} | {cost.bytes / 1e6:.1f} | {intensity:.0f} |"
        )


def sent(amount: float, processes: int, rate: float) -> float:
    """Return seconds that processes take to sum `amount` bytes in a ring, at a rate in bytes/s."""
    return 2 * (processes - 1) / processes * amount / rate


def step(cost: Cost, asked: Asked, weights: int, gpus: int, batch: int, recorded: bool):
    """Return seconds of a step by what they go to: one GPU's, which has `batch / gpus` images.

    What the host asks for and what the device does overlap: the longer counts. Messages are the
    device's; only one process is recorded today.
    """
    mine = batch / gpus
    doublings = math.log2(max(1, gpus // MACHINE))
    messages = NORMS * (asked.forward + asked.backward) if gpus > 1 else 0
    link = ASSUMED["inside" if gpus <= MACHINE else "between"]
    parts = {
        "computing": cost.operations * mine / ASSUMED["operations"],
        "memory": cost.bytes / 2 * mine / ASSUMED["memory"],  # counted in fp32; bf16 halves it
        "gradients": sent(weights * FLOATS, gpus, link),
        "statistics": messages * (ASSUMED["message"] + doublings * ASSUMED["doubling"]),
    }
    asks = asked.operations * ASSUMED["ask"] + messages * ASSUMED["ask for a message"]
    return parts, ASSUMED["replay"] if recorded else asks


def plan() -> None:
    columns = (
        "run", "settings", "GPUs", "batch", "computing", "memory", "gradients", "statistics",
        "host", "a step", "in all", "images/s and GPU", "first bottleneck",
    )  # fmt: skip
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    work = Workload(at(64, 2), torch.device("cpu"))
    players = (work.encoder, work.masker)  # each sends its own gradients, once
    weights = sum(p.numel() for player in players for p in player.parameters())
    for name, size, images, epochs, batch in RUNS:
        for words, asked in SETTINGS.items():
            cost = counted(at(size, batch, **asked.changed))["step"]
            for gpus in (1, 8, 64, 512):
                whole = batch * max(1, gpus // MACHINE)  # the GPUs of a machine share a batch
                for recorded in [True] if gpus == 1 else [False, True]:
                    parts, host = step(cost, asked, weights, gpus, whole, recorded)
                    device = sum(parts.values())
                    seconds = max(device, host)
                    limits = parts if device > host else {"host": host}
                    shown = " | ".join(f"{1e3 * s:.1f}" for s in (*parts.values(), host))
                    print(
                        f"| {name}, {epochs} epochs | {words}{', recorded' * recorded} | {gpus} | "
                        f"{whole:,} | {shown} | {1e3 * seconds:.0f} | "
                        f"{duration(images * epochs / whole * seconds)} | "
                        f"{whole / seconds / gpus:,.0f} | {max(limits, key=lambda p: limits[p])} |"
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="*", default=[64, 96, 224])
    parser.add_argument("--no-plan", action="store_true")
    asked = parser.parse_args()
    for size in asked.size:
        table(f"{size} px, each pass", passes(size))
    for size in asked.size:
        shown = {words: asked.changed for words, asked in SETTINGS.items()}
        for words, changed in {**shown, "exact, light (½)": {"masks.downscale": 2}}.items():
            table(f"{size} px, a step, N = 4, batch 256: {words}",
                  counted(at(size, 256, **changed)))  # fmt: skip
    if not asked.no_plan:
        plan()


if __name__ == "__main__":
    main()
