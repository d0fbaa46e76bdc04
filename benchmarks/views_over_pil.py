"""Views against torchvision's PIL pipeline, images a second."""

import torch
from torchvision import transforms as T

from harness import Row, benchmark, recipe
from seamask.speed.timing import in_turns, median, ratio
from seamask.training.workload import MEAN, STD, Workload


def pil_pipeline(size):
    """ADIOS's and SimCLR's augmentations as they are usually written."""
    return T.Compose([
        T.RandomResizedCrop(size, interpolation=T.InterpolationMode.BICUBIC),
        T.RandomApply([T.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
        T.RandomGrayscale(0.2),
        T.RandomApply([T.GaussianBlur(max(3, size // 10 // 2 * 2 + 1), (0.1, 2.0))], p=0.5),
        T.RandomHorizontalFlip(),
        T.ToTensor(),
        T.Normalize(MEAN, STD),
    ])  # fmt: skip


def measure(o):
    rows = []
    for size in o.size:
        work = Workload(recipe(o, size), o.device)
        pictures = [T.functional.to_pil_image(image) for image in work.images.cpu()]
        pipeline = pil_pipeline(size)

        def pil(pictures=pictures, pipeline=pipeline):
            for _ in "ab":
                torch.stack([pipeline(p) for p in pictures])

        things = {"PIL": pil, "views": work.make_views}
        if o.device.type == "cuda":
            things["step"] = work.step
        times = in_turns(things, o.device, o.rounds)
        found, seconds = ratio(times, "PIL", "views"), median(times)
        each = ", ".join(f"{n} {2 * o.batch / seconds[n]:,.0f}/s" for n in ("views", "PIL"))
        rows.append(Row(f"views against torchvision's PIL pipeline, {size} px, one core",
                        "≥ 3 ×", f"{found:.2f} × ({each})", found >= 3))  # fmt: skip
        if "step" in seconds:
            share = ratio(times, "views", "step")
            rows.append(Row(f"share of views in a step, {size} px", "≤ 8 %", f"{share:.1%}",
                            share <= 0.08))  # fmt: skip
    return rows


if __name__ == "__main__":
    benchmark(__doc__, measure, threads=1)
