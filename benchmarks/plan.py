"""Operations and bytes of every part of a step, and what they foretell past the machine at hand.

Prints the tables of docs/performance.md. What is counted is counted by `seamask.speed`; what is
assumed (rates of a GPU, of networks and disks) stands in `ASSUMED` below and nowhere else.
"""

from __future__ import annotations

import argparse

import torch

from seamask.base.progress import duration
from seamask.base.settings import override
from seamask.config import Config
from seamask.game.held import held_still
from seamask.networks.small_maps import convolve_small_maps
from seamask.recipes import recipe_config
from seamask.speed.count import Cost, count
from seamask.speed.workload import Workload, counted

ASSUMED = {
    "operations": 250e12,  # bf16 convolutions, a second: a quarter of an H100's peak
    "memory": 2.0e12,  # bytes a second, two thirds of what the same chip is sold with
    "inside": 200e9,  # bytes a second between GPUs of one machine
    "between": 40e9,  # bytes a second between machines of eight GPUs, each GPU
    "decode": 250.0,  # JPEGs of ImageNet's size a second and core, decoded and resized
}
FLOATS = 4  # bytes of a gradient
SETTINGS = {
    "exact, alternating": {},
    "simultaneous, light mask network (¼)": {"updates": "simultaneous", "masks.downscale": 4},
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


def plan() -> None:
    columns = ("run", "settings", "GPUs", "computing, h", "memory, h", "gradients, h", "in all",
               "images/s and GPU", "first bottleneck")  # fmt: skip
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    work = Workload(at(64, 2), torch.device("cpu"))
    players = (work.encoder, work.masker)  # each sends its own gradients, once
    weights = sum(p.numel() for player in players for p in player.parameters())
    for name, size, images, epochs, batch in RUNS:
        for words, changed in SETTINGS.items():
            cost = counted(at(size, batch, **changed))["step"]
            for gpus in (1, 8, 64):
                seen = images * epochs
                compute = cost.operations * seen / ASSUMED["operations"] / gpus
                # Counted in fp32; bf16 halves it.
                memory = cost.bytes / 2 * seen / ASSUMED["memory"] / gpus
                steps = seen / (batch * max(1, gpus // 8))  # eight GPUs share the batch
                link = ASSUMED["inside" if gpus <= 8 else "between"]
                moved = 2 * (gpus - 1) / gpus * weights * FLOATS
                network = steps * moved / link if gpus > 1 else 0.0
                total = compute + memory + network
                parts = {"computing": compute, "memory": memory, "gradients": network}
                hours = " | ".join(f"{s / 3600:.2f}" for s in parts.values())
                rate = seen / total / gpus
                limit = max(parts, key=lambda p: parts[p])
                print(
                    f"| {name}, {epochs} epochs | {words} | {gpus} | {hours} | {duration(total)} | "
                    f"{rate:,.0f} | {limit} |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[64, 96, 224])
    parser.add_argument("--no-plan", action="store_true")
    asked = parser.parse_args()
    for size in asked.size:
        table(f"{size} px, each pass", passes(size))
    for size in asked.size:
        for words, changed in (*SETTINGS.items(), ("exact, light (½)", {"masks.downscale": 2})):
            table(f"{size} px, a step, N = 4, batch 256: {words}",
                  counted(at(size, 256, **changed)))  # fmt: skip
    if not asked.no_plan:
        plan()


if __name__ == "__main__":
    main()
