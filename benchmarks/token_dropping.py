"""A masked pass of a ViT with its masked patches left out, over one with them blanked."""

import torch

from harness import Row, benchmark
from seamask.networks import Encoder, build_backbone
from seamask.speed.timing import in_turns, ratio

PATCH = 8
SHARES = (0.25, 0.5, 0.75)  # of the patches that are masked


def measure(o):
    rows = []
    for size in o.size:
        vit, _, _ = build_backbone("vit_tiny_patch16_224", size, patch=PATCH)
        encoder = Encoder(vit, torch.nn.Linear(192, 128)).to(o.device)
        encoder.drop = 0.5
        for share in SHARES:
            found = over_blanked(encoder, size, share, o)
            what = f"ViT-Tiny, patches of 8, {size} px, batch {o.batch}, {share:.0%} masked"
            row = Row(f"{what}: blanked over left out", "–", f"{found:.2f}×", None)
            print(row.markdown(), flush=True)
            rows.append(row)
    return rows


def over_blanked(encoder, size, share, o):
    images = torch.randn(o.batch, 3, size, size, device=o.device)
    side = size // PATCH
    ranks = torch.rand(o.batch, side * side).argsort(1).argsort(1)
    gone = (ranks < share * side * side).float().view(-1, 1, side, side).to(o.device)
    mask = gone.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)

    def passes(*seen):
        encoder(*seen).square().mean().backward()
        encoder.zero_grad()

    both = {
        "blanked": lambda: passes(images * (1 - mask)),
        "left out": lambda: passes(images, mask),
    }
    return ratio(in_turns(both, o.device, o.rounds), "blanked", "left out")


if __name__ == "__main__":
    benchmark(__doc__, measure, size=[96], batch=32)
