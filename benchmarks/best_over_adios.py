"""The fastest settings, against a step that orders its passes as ADIOS's code does."""

import torch

from adios_step import AdiosOrder
from harness import Row, benchmark, recipe
from seamask.speed.timing import in_turns, median, ratio
from seamask.speed.workload import Workload

SETTINGS = {
    "simultaneous": {"updates": "simultaneous"},
    "simultaneous, stacked": {"updates": "simultaneous", "stack": True},
    "simultaneous, light mask network (¼)": {"updates": "simultaneous", "masks.downscale": 4},
    "simultaneous, stacked, light (¼)": {
        "updates": "simultaneous", "stack": True, "masks.downscale": 4,
    },
    "simultaneous, light (¼), one of the masks per image (ADIOS-s)": {
        "updates": "simultaneous", "masks.downscale": 4, "masks.single": True,
    },
}  # fmt: skip
BF16 = "bf16, simultaneous, stacked, light (¼)"


def measure(o):
    rows = []
    for size in o.size:
        slow = {"ADIOS fp32": AdiosOrder(Workload(recipe(o, size, precision="fp32"), o.device))}
        settings = {name: {**s, "precision": "fp32"} for name, s in SETTINGS.items()}
        if o.bf16:
            bf16 = {"precision": "bf16"}
            slow["ADIOS bf16"] = AdiosOrder(Workload(recipe(o, size, **bf16), o.device))
            settings[BF16] = SETTINGS["simultaneous, stacked, light (¼)"] | bf16
        works = {name: Workload(recipe(o, size, **s), o.device) for name, s in settings.items()}
        things = {name: thing.step for name, thing in (slow | works).items()}
        times = in_turns(things, o.device, o.rounds)
        seconds = median(times)
        for name in works:
            found = ratio(times, "ADIOS fp32", name)
            beside = f"{seconds[name]:.2f} s, ADIOS's order {seconds['ADIOS fp32']:.2f} s"
            if name == BF16:
                same = ratio(times, "ADIOS bf16", name)
                beside += f", in bf16 {seconds['ADIOS bf16']:.2f} s: {same:.2f} ×"
            rows.append(Row(
                f"{name}, against ADIOS's order in fp32, {size} px, batch {o.batch}",
                "≥ 5 ×", f"{found:.2f} × ({beside})", found >= 5,
            ))  # fmt: skip
    return rows


def options(parser):
    fast = torch.cuda.is_available() or torch.backends.mkldnn.is_available()
    has = torch.cuda.is_available() or (fast and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    parser.add_argument("--bf16", action="store_true", default=has, help="if there is hardware")


if __name__ == "__main__":
    benchmark(__doc__, measure, extra=options, rounds=3)
