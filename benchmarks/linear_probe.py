"""Cached linear probe of 50,000 × 512 features, ten classes."""

import torch

from harness import Row, benchmark
from seamask.evaluate.features import Features
from seamask.evaluate.linear import linear_accuracy
from seamask.evaluate.probes import GRADIENT, STRENGTH
from seamask.speed.timing import in_turns, median


def measure(o):
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 512, generator=draw)
    mix = torch.randn(512, 512, generator=draw) / 512**0.5

    def some(n):
        labels = torch.randint(10, (n,), generator=draw)
        noise = 8 * torch.randn(n, 512, generator=draw)
        # Features are positive, skewed and correlated, as a ReLU and a pooling leave them.
        mixed = (centres[labels] + noise) @ mix
        return mixed.relu(), labels

    features = Features(*some(50_000), *some(10_000))
    times = in_turns(
        {"probe": lambda: linear_accuracy(features, STRENGTH, GRADIENT)},
        torch.device("cpu"),
        o.rounds,
    )
    found = median(times)["probe"]
    return [Row("cached linear probe of 50,000 × 512 features, one strength", "≤ 20 s",
                f"{found:.1f} s", found <= 20)]  # fmt: skip


if __name__ == "__main__":
    benchmark(__doc__, measure, rounds=1)
