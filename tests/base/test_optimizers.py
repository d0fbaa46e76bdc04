"""What optimisers share: which parameters decay, and the warm-up."""

import pytest
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR

from seamask.base.optimizers import warmed_up, weight_groups


def test_biases_and_norms_neither_decay_nor_adapt():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5))
    big, small = weight_groups(module.parameters(), 0.1)
    assert (big["weight_decay"], big["always_adapt"]) == (0.1, True)
    assert (small["weight_decay"], small["always_adapt"]) == (0.0, False)
    assert [p.ndim for p in big["params"]] == [4, 2]
    assert [p.ndim for p in small["params"]] == [1, 1, 1, 1]


@pytest.mark.parametrize(("steps", "expected"), [
    (0, [1, 1, 0.1, 0.1]),
    (3, [0.25, 0.5, 0.75, 1, 1, 0.1, 0.1]),
])  # fmt: skip
def test_the_rate_rises_before_the_schedule_begins(steps, expected):
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule = warmed_up(optimizer, MultiStepLR(optimizer, [2], gamma=0.1), steps)
    rates = []
    for _ in expected:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(expected)
