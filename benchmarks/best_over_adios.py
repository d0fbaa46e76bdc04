"""The fastest settings, against a step that orders its passes as ADIOS's code does."""

import torch

from adios_step import AdiosOrder
from harness import Row, benchmark, recipe, whole_cycle
from seamask.speed.timing import in_turns, median, ratio
from seamask.training.workload import Workload

LIGHT = {"masks.downscale": 4}
SIMULTANEOUS = {"updates": "simultaneous"}
SETTINGS = {
    "exact alternating": {},
    "simultaneous": SIMULTANEOUS,
    "simultaneous, light mask network (¼)": SIMULTANEOUS | LIGHT,
    "simultaneous, stacked, light (¼)": SIMULTANEOUS | LIGHT | {"stack": True},
    "light (¼), masks every 4th step": LIGHT | {"masks.every": 4},
    "simultaneous, light (¼), one of the masks per image (ADIOS-s)":
        SIMULTANEOUS | LIGHT | {"masks.single": True},
}  # fmt: skip


def measure(o):
    rows = []
    precisions = ("fp32", "bf16") if o.bf16 else ("fp32",)
    for size in o.size:
        slow, works = {}, {}
        for precision in precisions:
            config = recipe(o, size, precision=precision)
            for kind in ("plain", "ours") if o.device.type == "cpu" else ("plain",):
                work = Workload(config, o.device)
                slow[kind, precision] = AdiosOrder(work, plain=kind == "plain").step
            for name, changed in SETTINGS.items():
                changed = changed | {"precision": precision}
                works[name, precision] = Workload(recipe(o, size, **changed), o.device)
        things = slow | {key: whole_cycle(work) for key, work in works.items()}
        times = in_turns(things, o.device, o.rounds)
        for key, work in works.items():
            times[key] = [t / work.config.masks.every for t in times[key]]
        seconds = median(times)
        for key in works:
            name, precision = key
            found = ratio(times, ("plain", "fp32"), key)
            beside = f"{seconds[key]:.2f} s, ADIOS's order {seconds['plain', 'fp32']:.2f} s"
            if precision != "fp32":
                beside += f"; in {precision} {ratio(times, ('plain', precision), key):.2f} ×"
            if o.device.type == "cpu":
                beside += f"; with our convolutions {ratio(times, ('ours', precision), key):.2f} ×"
            rows.append(Row(
                f"{name}, {precision}, against ADIOS's order in fp32, {size} px, batch {o.batch}",
                "≥ 5 ×", f"{found:.2f} × ({beside})", found >= 5,
            ))  # fmt: skip
            print(rows[-1].markdown(), flush=True)
    return rows


def options(parser):
    fast = torch.cuda.is_available() or torch.backends.mkldnn.is_available()
    has = torch.cuda.is_available() or (fast and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    parser.add_argument("--bf16", action="store_true", default=has, help="if there is hardware")


if __name__ == "__main__":
    benchmark(__doc__, measure, extra=options, rounds=3)
