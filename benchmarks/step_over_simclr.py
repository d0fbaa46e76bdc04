"""A step with masks over SimCLR's: what it costs to leave learned masks on."""

from harness import LIGHT, Row, benchmark, recipe, whole_cycle
from seamask.base.settings import override
from seamask.speed.timing import in_turns, median, ratio
from seamask.training.workload import Workload

VIT = {"encoder.backbone": "vit_tiny_patch16_224", "encoder.patch": 8}
# Masks that learn from a pass have to be seen by it: patches are left out in the three of four
# steps in which they do not move.
LEFT_OUT = {**LIGHT, "masks.every": 4, "masks.hard": True, "masks.hard_patch": 8, "masks.drop": 0.5}
KINDS = {
    # name: (of both, of the step with masks, goal)
    "ResNet-18, light": ({}, LIGHT, 1.08),
    "ResNet-18, random blocks, one mask": (
        {}, {"masks.masker": "random-block", "masks.ratio": 0.25, "masks.n_masks": 1}, None,
    ),
    "ResNet-18, exact": ({}, {}, None),
    "ViT-Tiny, light, no patch left out": (VIT, LIGHT, None),
    "ViT-Tiny, light, masks every 4th step, hard, exactly ½ left out otherwise": (
        VIT, LEFT_OUT | {"masks.budget": "exact:0.5"}, 0.85,
    ),
    "– exactly ¾": (VIT, LEFT_OUT | {"masks.budget": "exact:0.75"}, 0.85),
}  # fmt: skip


def measure(o):
    rows = []
    for size in o.size:
        for name, (base, changed, goal) in KINDS.items():
            plain = recipe(o, size, **base)
            works = {
                "masks": Workload(override(plain, changed), o.device),
                "simclr": Workload(override(plain, {"masks.masker": "none"}), o.device),
            }
            times = in_turns({k: whole_cycle(w) for k, w in works.items()}, o.device, o.rounds)
            times = {k: [t / works[k].config.masks.every for t in ts] for k, ts in times.items()}
            found, seconds = ratio(times, "masks", "simclr"), median(times)
            rows.append(Row(
                f"step over SimCLR's, {size} px, batch {o.batch}, {o.precision}: {name}",
                "–" if goal is None else f"≤ {goal:.2f}×",
                f"{found:.2f}× ({seconds['masks']:.2f} over {seconds['simclr']:.2f} s)",
                None if goal is None else found <= goal,
            ))  # fmt: skip
            print(rows[-1].markdown(), flush=True)
    return rows


if __name__ == "__main__":
    benchmark(__doc__, measure, size=[64, 96])
