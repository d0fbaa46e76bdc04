"""Convolutions on small maps: PyTorch's over ours as matrix products, forward and backward."""

import torch
from torch import nn

from harness import Row, benchmark
from seamask.networks import small_maps
from seamask.speed.timing import in_turns, median, ratio

MAPS = ((512, 1), (512, 2), (512, 3), (256, 4), (256, 6))  # channels and side, as in ResNet-18


def measure(o):
    usual = small_maps.LARGEST
    small_maps.LARGEST = 36  # also those that are left to convolutions
    rows = []
    for channels, side in MAPS:
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        ours = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
        x = torch.randn(o.batch, channels, side, side).contiguous(memory_format=torch.channels_last)
        x.requires_grad_()
        things = {}
        for name, module in (("conv", conv), ("product", small_maps.multiply_small_maps(ours))):
            module.to(memory_format=torch.channels_last)

            def both(module=module, x=x):
                with torch.autocast("cpu", torch.bfloat16, enabled=o.precision == "bf16"):
                    out = module(x)
                out.backward(torch.ones_like(out))

            things[name] = both
        times = in_turns(things, torch.device("cpu"), o.rounds, warm_up=3)
        seconds, used = median(times), side * side <= usual
        rows.append(Row(
            f"3×3 convolution, {channels} channels of {side}×{side} pixels, batch {o.batch}, "
            f"{o.precision}",
            "> 1 ×" if used else "none: left to the convolution",
            f"{ratio(times, 'conv', 'product'):.2f} × "
            f"({1e3 * seconds['conv']:.1f} over {1e3 * seconds['product']:.1f} ms)",
            ratio(times, "conv", "product") > 1 if used else None,
        ))  # fmt: skip
    return rows


if __name__ == "__main__":
    benchmark(__doc__, measure, rounds=20)
