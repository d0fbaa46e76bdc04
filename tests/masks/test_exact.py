"""Exact budgets: met on any logits, with the right gradients; disjoint masks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit

from seamask.base.errors import UserError
from seamask.masks import SequentialMasker, exact, exact_sigmoid
from seamask.masks.budget import Budget
from seamask.masks.role import Role

shares = st.floats(0, 1, exclude_min=True, exclude_max=True)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e3, 1e6, 1e30]),
    budget=st.floats(0.001, 0.999),
    ties=st.booleans(),
)
def test_the_budget_is_met_on_any_logits(seed, scale, budget, ties):
    logits = scale * torch.randn(2, 3, 16, 16, generator=seeded(seed))
    if ties:  # saturated both ways, and nothing between
        logits = torch.where(logits > 0, 1e5, -1e5)
    masks = exact_sigmoid(logits, budget)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert (masks.double().mean((2, 3)) - budget).abs().max() < 1e-5


@pytest.mark.parametrize("budget", [0.05, 0.25, 0.9])
def test_the_mask_is_that_of_a_literal_solution(budget):
    logits = 3 * torch.randn(4, 8, 8, generator=seeded(0), dtype=torch.float64)
    room = torch.rand(4, 8, 8, generator=seeded(1), dtype=torch.float64) * 0.02 + 0.95
    found = exact_sigmoid(logits, budget, room)
    for mask, values, free in zip(found.numpy(), logits.numpy(), room.numpy(), strict=True):
        bias = brentq(
            lambda t, v=values, r=free: np.mean(r * expit(v + t)) - budget, -50, 50, xtol=1e-14
        )
        np.testing.assert_allclose(mask, free * expit(values + bias), atol=1e-6)


def test_gradients_are_those_of_finite_differences(monkeypatch):
    monkeypatch.setattr(exact, "TOLERANCE", 1e-15)  # finite differences need all digits
    logits = torch.randn(2, 2, 4, 4, generator=seeded(0), dtype=torch.float64, requires_grad=True)
    room = torch.rand(2, 2, 4, 4, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    budget = torch.full((2, 2), 0.2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(exact_sigmoid, (logits, budget, room))
    assert torch.autograd.gradcheck(lambda x: exact_sigmoid(x, 0.7), (logits,))


def test_no_gradient_moves_how_much_is_removed():
    logits = torch.randn(3, 2, 8, 8, generator=seeded(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(exact_sigmoid(logits, 0.3).sum(), logits)
    assert gradient.abs().max() < 1e-6


def test_saturated_masks_have_a_gradient_of_zero_rather_than_none():
    logits = torch.cat([torch.full((1, 1, 4, 4), 1e6), torch.full((1, 1, 4, 4), -1e6)], dim=-1)
    logits.requires_grad_()
    masks = exact_sigmoid(logits, 0.5)
    (gradient,) = torch.autograd.grad((masks * torch.randn(1, 1, 4, 8)).sum(), logits)
    assert gradient.isfinite().all()


def test_a_mask_without_enough_room_takes_all_of_it():
    room = torch.zeros(1, 1, 4, 4)
    room[..., 0] = 0.5  # an eighth of the image
    logits = torch.randn(1, 1, 4, 4, generator=seeded(0))
    assert torch.equal(exact_sigmoid(logits, 0.125, room), room)
    assert torch.equal(exact_sigmoid(logits, 0.25, room), room)
    assert torch.equal(exact_sigmoid(logits, 0.25, torch.zeros_like(room)), torch.zeros_like(room))


def test_half_precision_logits_give_float32_masks():
    masks = exact_sigmoid(torch.randn(1, 1, 32, 32, generator=seeded(0)).bfloat16(), 0.25)
    assert masks.dtype == torch.float32
    assert masks.mean() == pytest.approx(0.25, abs=1e-6)


# In the masker

EXACT = Budget(0.3, exact=True)
THIRD = Budget(1 / 3, exact=True)


def masker(**options):
    torch.manual_seed(0)
    return SequentialMasker(n_masks=3, image_size=32, width=4, **options)


def images():
    return 3 * torch.randn(2, 3, 32, 32, generator=seeded(2))


@pytest.mark.parametrize("downscale", [1, 2])
@pytest.mark.parametrize("disjoint", [False, True])
def test_every_mask_of_every_image_meets_its_budget(downscale, disjoint):
    masks = masker(budget=Budget(0.3, exact=True), disjoint=disjoint, downscale=downscale)(images())
    torch.testing.assert_close(masks.mean((2, 3)), torch.full((2, 3), 0.3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"budget": EXACT},
        {"budget": THIRD},
        {"downscale": 2},
    ],
)
def test_disjoint_masks_never_remove_a_pixel_twice(options):
    masks = masker(disjoint=True, **options)(images())
    assert masks.min() >= 0
    assert masks.sum(1).max() <= 1 + 1e-5
    overlapping = masker(**options)(images())
    assert overlapping.sum(1).max() > 1 + 1e-2  # or this would show nothing


def test_disjoint_masks_break_a_stick():
    masks = masker(disjoint=True)
    found, shares = masks(images()), []
    room = torch.ones(2, 32, 32)
    features = masks.unet(images())
    for k, head in enumerate(masks.head):
        share = head(torch.cat([features, found[:, :k]], dim=1)).sigmoid()[:, 0]
        shares.append(room * share)
        room = room * (1 - share)
    torch.testing.assert_close(found, torch.stack(shares, dim=1))


@pytest.mark.parametrize(
    "options",
    [{"disjoint": True}, {"budget": EXACT}, {"budget": EXACT, "disjoint": True}],
)
def test_gradients_reach_every_head(options):
    network = masker(**options)
    weight = torch.randn(2, 3, 32, 32, generator=seeded(3))
    (network(images()) * weight).sum().backward()
    assert all(head.weight.grad.abs().max() > 0 for head in network.head)


def test_disjoint_masks_cannot_remove_more_than_everything():
    with pytest.raises(UserError, match=r"3 disjoint masks cannot remove 0\.4 of an image each"):
        masker(disjoint=True, budget=Budget(0.4, exact=True))


# The grammar


@pytest.mark.parametrize(("text", "budget"), [
    ("0.25", Budget(0.25)),
    ("exact:0.25", Budget(0.25, exact=True)),
    ("0.1->0.5", Budget(0.1, 0.5)),
    (" exact: 0.5 -> 0.1 ", Budget(0.5, 0.1, exact=True)),
])  # fmt: skip
def test_budgets_are_read(text, budget):
    assert Budget.parse(text) == budget


@pytest.mark.parametrize(
    "text", ["", "x", "0.1->", "0.1->0.2->0.3", "exakt:0.1", "0", "1", "-0.1", "nan", "0.2->1.5"]
)
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(UserError, match=r"^--budget is "):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["0.25", "exact:0.25", "0.1->0.5", "exact:superpixel"])
def test_budgets_are_written_as_they_are_read(text):
    assert str(Budget.parse(text)) == text


@given(share=shares, end=st.none() | shares, exact=st.booleans())
def test_a_budget_is_written_with_all_its_digits(share, end, exact):
    budget = Budget(share, end, exact=exact)
    assert Budget.parse(str(budget)) == budget


@given(st.floats(allow_nan=False, allow_infinity=False), st.none() | st.floats(-9, 9))
def test_a_role_is_written_with_all_its_digits(factor, end):
    role = Role(factor, end)
    assert Role.parse(str(role)) == role


@pytest.mark.parametrize("exact", [False, True])
def test_only_an_exact_budget_is_asked_of_the_masker(exact):
    # A moving one: what is asked follows the training, and the trained network keeps its end.
    network = masker(budget=Budget(0.1, 0.5, exact=exact))
    asked = Budget(0.1, 0.5).target(images(), None, 3, done=0.25)
    assert asked.shape == (2, 1)
    torch.testing.assert_close(asked, torch.full((2, 1), 0.2))
    met = network(images(), shares=asked).mean((2, 3))
    torch.testing.assert_close(met, torch.full((2, 3), 0.2), atol=1e-5, rtol=0)
    own = network(images()).mean((2, 3))
    assert torch.allclose(own, torch.full((2, 3), 0.5), atol=1e-5) == exact


def test_a_budget_moves_linearly():
    budget = Budget.parse("0.1->0.5")
    assert [budget.at(done) for done in (0, 0.5, 1, 2)] == pytest.approx([0.1, 0.3, 0.5, 0.5])


@pytest.mark.parametrize("draw", ["cauchy", "normal", "bimodal"])
def test_steps_that_nobody_may_look_at_are_enough(draw):
    """In a CUDA graph their number is fixed."""
    seeded = torch.Generator().manual_seed(0)
    noise = torch.randn(64, 1024, generator=seeded, dtype=torch.float64)
    logits = {
        "cauchy": 50 * noise / torch.randn(64, 1024, generator=seeded, dtype=torch.float64),
        "normal": 1000 * noise,
        "bimodal": 100 * noise.sign() + noise,
    }[draw].clamp(-exact.LARGEST, exact.LARGEST)
    budget = torch.linspace(0.02, 0.9, 64, dtype=torch.float64)
    bias, _ = exact._solve(logits, budget, torch.ones_like(logits), look=0)
    share = torch.sigmoid(logits + bias[:, None]).mean(1)
    torch.testing.assert_close(share, budget, atol=1e-6, rtol=0)


@pytest.mark.parametrize("look", [0, exact.LOOK])
def test_masks_are_the_same_however_often_they_are_looked_at(look):
    logits = 5 * torch.randn(8, 3, 64, generator=seeded(3), dtype=torch.float64)
    room, budget = torch.rand(logits.shape, generator=seeded(4)).double(), torch.tensor(0.2)
    (often, _), (seldom, _) = (exact._solve(logits, budget, room, n) for n in (1, look))
    assert torch.equal(often, seldom)
