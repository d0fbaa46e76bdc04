"""Time of a step over the time of the encoder passes in it."""

from harness import Row, benchmark, recipe
from seamask.speed.timing import in_ranges, median, ratio
from seamask.training.workload import Workload

NETWORKS = {
    # name: (settings, goals)
    "paper's U-Net, width 32": ({}, {"fp32": 1.20, "bf16": 1.18}),
    "light mask network, half resolution": ({"masks.downscale": 2}, {"fp32": 1.08, "bf16": 1.08}),
    "light mask network, quarter resolution": (
        {"masks.downscale": 4}, {"fp32": 1.04, "bf16": 1.06},
    ),
}  # fmt: skip


def measure(o):
    rows = []
    for size in o.size:
        for name, (changed, goals) in NETWORKS.items():
            goal = goals[o.precision]
            work = Workload(recipe(o, size, **changed), o.device)
            times = in_ranges(work.step, o.device, o.rounds)
            found = ratio(times, "step", "encoder passes")
            seconds = median(times)
            rows.append(Row(
                f"step over its encoder passes, {size} px, batch {o.batch}, {o.precision}, {name}",
                f"≤ {goal:.2f}",
                f"{found:.3f} ({seconds['step']:.2f} s over {seconds['encoder passes']:.2f} s)",
                found <= goal,
            ))  # fmt: skip
            print(rows[-1].markdown(), flush=True)
    return rows


if __name__ == "__main__":
    benchmark(__doc__, measure, size=[64, 96])
