"""Binary masks, and the role of a masker."""

import numpy as np
import pytest
import torch

from seamask.base.errors import UserError
from seamask.config import MasksConfig
from seamask.masks import Role, build_masker, straight_through
from seamask.masks.budget import Budget


def soft_masks(n=3, side=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(2, n, side, side, generator=draw, dtype=torch.float64)


def literal_hard(masks, patch, disjoint):
    found = np.zeros_like(masks)
    batch, n, height, width = masks.shape
    cells = (height // patch) * (width // patch)
    for b in range(batch):
        free, total = set(range(cells)), 0.0
        for k in range(n):
            blocks = masks[b, k].reshape(height // patch, patch, width // patch, patch)
            means = blocks.mean((1, 3)).ravel()
            count = round((total + means.mean()) * cells) - round(total * cells)
            if disjoint:
                total += means.mean()
            order = sorted(free, key=lambda cell: -means[cell])[:count]
            chosen = np.zeros(cells)
            chosen[order] = 1
            chosen = chosen.reshape(height // patch, width // patch)
            found[b, k] = np.kron(chosen, np.ones((patch, patch)))
            free -= set(order) if disjoint else set()
    return found


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("disjoint", [False, True])
def test_the_strongest_go_as_many_as_the_soft_mask_removes(patch, disjoint):
    masks = soft_masks()
    if disjoint:
        masks = masks.softmax(dim=1)
    hard = straight_through(masks, patch, disjoint)
    np.testing.assert_array_equal(hard, literal_hard(masks.numpy(), patch, disjoint))
    if disjoint:
        assert (hard.sum(1) == 1).all()  # as of a softmax, nothing is left and nothing goes twice


def test_the_gradient_passes_straight_through():
    masks = soft_masks().requires_grad_()
    cost = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    (straight_through(masks) * cost).sum().backward()
    assert torch.equal(masks.grad, cost)
    masks.grad = None
    (straight_through(masks, 2) * cost).sum().backward()
    means = torch.nn.functional.avg_pool2d(cost, 2)
    torch.testing.assert_close(masks.grad, torch.kron(means, torch.ones(2, 2).double()))


@pytest.mark.parametrize("changed", [
    {"masker": "sequential"},
    {"masker": "sequential", "disjoint": True, "budget": Budget(0.2, exact=True)},
    {"masker": "simultaneous", "downscale": 2},
])  # fmt: skip
def test_every_learned_masker_can_be_hard(changed):
    torch.manual_seed(0)
    config = MasksConfig(hard=True, hard_patch=8, n_masks=3, width=4, **changed)
    masker = build_masker(config, 32)
    assert not any("hard" in name for name in masker.state_dict())
    masks = masker(torch.randn(4, 3, 32, 32))
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert masks.requires_grad
    cells = torch.nn.functional.avg_pool2d(masks, 8)
    assert set(cells.unique().tolist()) == {0.0, 1.0}
    if config.budget.exact:
        assert (masks.sum(1) <= 1).all()
        assert (cells.sum((2, 3)) - 0.2 * 16).abs().max() < 1
    with pytest.raises(UserError, match="patch 7 does not divide 32×32 pixels"):
        build_masker(MasksConfig(hard=True, hard_patch=7), 32)


@pytest.mark.parametrize("text", ["1", "-1->1", "0.5", "-1"])
def test_a_role_is_read_as_it_is_written(text):
    assert str(Role.parse(text)) == text


def test_a_role_moves_as_a_budget_does():
    role = Role.parse("-1 -> 1")
    assert [role.at(done) for done in (0, 0.25, 0.5, 1, 2)] == [-1, -0.5, 0, 1, 1]
    assert role.moves
    assert not Role.parse("1").moves


@pytest.mark.parametrize("text", ["", "partner", "1->2->3", "nan", "-1->inf", "exact:1"])
def test_what_is_no_role_is_refused(text):
    with pytest.raises(UserError) as caught:
        Role.parse(text)
    assert "-1->1" in str(caught.value)
    assert "\n" not in str(caught.value)
