"""Our views against kornia's, which could replace them: images a second.

kornia is no dependency of this package; without it there is no row.
"""

import torch
from torch import nn

from harness import Row, benchmark, recipe
from seamask.speed.timing import in_turns, median, ratio
from seamask.training.workload import MEAN, STD, Workload


def kornia_views(size):
    """The same operations in kornia, drawn image by image; its crops are not antialiased."""
    from kornia import augmentation as K

    return nn.Sequential(
        K.RandomResizedCrop((size, size), resample="bicubic"),
        K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomGaussianBlur((9, 9), (0.1, 2.0), p=0.5),
        K.RandomHorizontalFlip(),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    )


def measure(o):
    rows = []
    for size in o.size:
        work = Workload(recipe(o, size), o.device)
        try:
            theirs = kornia_views(size).to(o.device)
        except ImportError:
            return [Row("our views against kornia's", "> 1.3 ×", "kornia is not installed", None)]

        def kornia(views=theirs, work=work):
            for _ in "ab":
                views(work.images.float() / 255)

        things = {"ours": work.make_views, "kornia": kornia}
        if o.compiled:
            fused = torch.compile(theirs)
            things["kornia, compiled"] = lambda views=fused, work=work: kornia(views, work)
        times = in_turns(things, o.device, o.rounds, warm_up=3)
        seconds = median(times)
        for name in list(things)[1:]:
            found = ratio(times, name, "ours")
            each = ", ".join(f"{2 * o.batch / seconds[n]:,.0f}/s" for n in ("ours", name))
            rows.append(Row(f"our views against {name}, {size} px, batch {o.batch}",
                            "> 1.3 ×, else take kornia", f"{found:.2f} × ({each})",
                            found > 1.3))  # fmt: skip
    return rows


def options(parser):
    parser.add_argument("--compiled", action="store_true", help="compile kornia's too: minutes")


if __name__ == "__main__":
    benchmark(__doc__, measure, extra=options, threads=1)
