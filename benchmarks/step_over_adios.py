"""Exact alternating step against a step that orders its passes as ADIOS's code does."""

from adios_step import AdiosOrder
from harness import Row, benchmark, recipe
from seamask.speed.timing import in_turns, median, ratio
from seamask.training.workload import Workload

ADIOS, ALONE = "order of ADIOS", "the order alone"


def measure(o):
    rows = []
    goal = 3.0 if o.device.type == "cuda" else 1.7
    for size in o.size:
        config = recipe(o, size)
        things = {
            ADIOS: AdiosOrder(Workload(config, o.device), plain=True).step,
            ALONE: AdiosOrder(Workload(config, o.device)).step,
            "looped": Workload(config, o.device).step,
            "stacked": Workload(recipe(o, size, stack=True), o.device).step,
        }
        times = in_turns(things, o.device, o.rounds)
        seconds = median(times)
        for name in ("looped", "stacked"):
            found, order = ratio(times, ADIOS, name), ratio(times, ALONE, name)
            rows.append(Row(
                f"exact alternating step ({name}) against ADIOS's order, {size} px, "
                f"batch {o.batch}, {o.precision}",
                f"≥ {goal} ×",
                f"{found:.2f} × ({seconds[name]:.2f} s, ADIOS's {seconds[ADIOS]:.2f} s; with our "
                f"convolutions, so the order alone, {order:.2f} ×)",
                found >= goal,
            ))  # fmt: skip
    return rows


if __name__ == "__main__":
    benchmark(__doc__, measure)
