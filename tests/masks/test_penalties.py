"""Every penalty against float64 NumPy written from the table of the method, pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from command import parts_of_seamask
from seamask.base.errors import UserError
from seamask.masks import PENALTIES as PUBLIC_PENALTIES
from seamask.masks import (
    Penalty,
    all_penalties,
    budget_penalty,
    consistency_penalty,
    entropy_penalty,
    equipartition_penalty,
    overlap_penalty,
    sparsity_penalty,
    weights_at,
)
from seamask.masks.settings import PenaltiesConfig

BUDGET = 0.3


def np_budget(m, budget=BUDGET):
    batch, n = m.shape[:2]
    return sum((m[b, k].mean() - budget) ** 2 for b in range(batch) for k in range(n)) / (batch * n)


def np_overlap(m):
    batch, n = m.shape[:2]
    dots = [(m[b, i] * m[b, j]).sum() for b in range(batch) for i in range(n) for j in range(i)]
    return sum(dots) / (batch * n)


def np_consistency(m, kernel_size=3):
    batch, n, height, width = m.shape
    reach = kernel_size // 2
    total = 0.0
    for plane in m.reshape(batch * n, height, width):
        for y in range(height):
            for x in range(width):
                around = [
                    plane[v, u]
                    for v in range(y - reach, y + reach + 1)
                    for u in range(x - reach, x + reach + 1)
                    if 0 <= v < height and 0 <= u < width  # only pixels that exist
                ]
                total += (plane[y, x] - sum(around) / len(around)) ** 2
    return total / (batch * n)


def np_sparsity(m):
    return np.mean([sum(1 / math.sin(math.pi * k.mean()) for k in image) for image in m])


def np_entropy(m):
    found = []
    for image in m:
        e = np.exp([k.mean() for k in image])
        p = e / e.sum()
        found.append(-(p * np.log(p)).sum())
    return np.mean(found)


def np_equipartition(m):
    _, n, height, width = m.shape
    total = 0.0
    for k in range(n):
        places = [[m[:, k, y, x].mean() for x in range(width)] for y in range(height)]
        total += np.mean((np.array(places) - m[:, k].mean()) ** 2)
    return total / n


PENALTIES = {
    "budget": (lambda m: budget_penalty(m, BUDGET), np_budget),
    "overlap": (overlap_penalty, np_overlap),
    "consistency": (consistency_penalty, np_consistency),
    "consistency5": (lambda m: consistency_penalty(m, 5), lambda m: np_consistency(m, 5)),
    "sparsity": (sparsity_penalty, np_sparsity),
    "entropy": (entropy_penalty, np_entropy),
    "equipartition": (equipartition_penalty, np_equipartition),
}
each_penalty = pytest.mark.parametrize(("ours", "theirs"), PENALTIES.values(), ids=PENALTIES)


def draw(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.02, 0.98, shape))


@each_penalty
@pytest.mark.parametrize("shape", [(3, 4, 6, 5), (1, 1, 2, 2), (2, 1, 1, 7), (2, 5, 3, 3)])
def test_equals_numpy(ours, theirs, shape):
    masks = draw(*shape)
    value = ours(masks)
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(theirs(masks.numpy()), rel=1e-12, abs=1e-14)


@each_penalty
def test_gradient_equals_finite_differences(ours, theirs):
    assert gradcheck(ours, draw(2, 3, 4, 4).requires_grad_())


@each_penalty
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_masks_are_computed_in_float32(ours, theirs, dtype):
    masks = draw(1, 3, 48, 48).to(dtype)  # sums and areas that neither type can hold
    value = ours(masks)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(theirs(masks.double().numpy()), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0, 1])
def test_sparsity_is_a_finite_cost_at_the_ends(value, dtype):
    # ADIOS's own formula gives −1.1e7, a reward, for a mask that removes everything.
    masks = torch.full((2, 3, 96, 96), value, dtype=dtype, requires_grad=True)
    cost = sparsity_penalty(masks)
    cost.backward()
    assert cost.item() == pytest.approx(3 / math.sin(math.pi * 1e-4), rel=0.1)
    assert masks.grad.isfinite().all()


def test_all_penalties_are_the_single_ones_unweighted():
    masks = draw(2, 3, 5, 5)
    found = all_penalties([(masks, BUDGET)])
    assert set(found) == set(PENALTIES) - {"consistency5"}
    for name, value in found.items():
        assert value.item() == pytest.approx(PENALTIES[name][1](masks.numpy()), rel=1e-12)


def test_budget_can_differ_from_mask_to_mask():
    masks, budgets = draw(2, 3, 4, 4), draw(2, 3, seed=1)
    expected = np.mean([
        (masks[b, k].numpy().mean() - budgets[b, k].item()) ** 2 for b in range(2) for k in range(3)
    ])  # fmt: skip
    assert budget_penalty(masks, budgets).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_penalties_of_two_views(reduction):
    a, b = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
    found = all_penalties([(a, BUDGET), (b, BUDGET)], reduction)
    for name, value in found.items():
        literal = PENALTIES[name][1]
        expected = (np.sum if reduction == "sum" else np.mean)(
            [literal(a.numpy()), literal(b.numpy())]
        )
        if name == "entropy":  # ADIOS: one softmax over the areas of both
            expected = literal(np.concatenate([a.numpy(), b.numpy()], axis=1))
        assert value.item() == pytest.approx(expected, rel=1e-12), name


def test_equipartition_is_free_where_every_pixel_is_removed_equally_often():
    # Four images, each with another quarter removed: even over the batch, uneven in each image.
    masks = torch.zeros(4, 1, 4, 4, dtype=torch.float64)
    for k, (y, x) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
        masks[k, :, y : y + 2, x : x + 2] = 1
    assert equipartition_penalty(masks).item() == 0
    assert equipartition_penalty(masks[:1]).item() == pytest.approx(0.25 * 0.75)  # one image alone
    same = masks[:1].expand(4, -1, -1, -1)
    assert equipartition_penalty(same).item() == pytest.approx(0.25 * 0.75)


@pytest.mark.parametrize("area", [0.0, 1e-9, 1 - 1e-9, 1.0])
def test_sparsity_calls_an_empty_or_full_mask_back(area):
    masks = torch.full((1, 1, 4, 4), area, dtype=torch.float64, requires_grad=True)
    sparsity_penalty(masks).backward()
    inside = masks.grad.sum().item()
    assert inside < 0 if area < 0.5 else inside > 0
    edge = math.pi * math.cos(math.pi * 1e-4) / math.sin(math.pi * 1e-4) ** 2
    assert abs(inside) == pytest.approx(edge, rel=1e-4)  # the slope at the edge


@pytest.mark.parametrize(("height", "width"), [(96, 96), (32, 32), (48, 64), (224, 224)])
def test_weights_keep_their_strength_at_any_size_batch_and_loss(height, width):
    config = PenaltiesConfig(
        budget=2.0, equipartition=3.0, overlap=3e-4, consistency=5e-4, sparsity=0.93, entropy=0.7
    )
    weights = weights_at(config, height, width, batch_size=10, loss_range=4.0)
    assert weights == pytest.approx({
        "budget": 8.0,
        "equipartition": 12.0,
        "overlap": 3e-4 * 9216 / (height * width),
        "consistency": 5e-4 * 9216 / (height * width),
        "sparsity": 0.93,
        "entropy": 7.0,
    })  # fmt: skip


def test_a_penalty_of_ones_own_is_paid_beside_the_others():
    masks = draw(2, 3, 4, 4)
    with parts_of_seamask():
        edge = Penalty(lambda m, b: m[..., 0].sum(2).mean() * b, True)
        PUBLIC_PENALTIES.register("edge")(edge)
        weights = weights_at(PenaltiesConfig(more=("edge=0.5",)), 48, 48)
        found = all_penalties([(masks, BUDGET)])
    assert weights["edge"] == 2.0  # a sum over pixels keeps its strength
    expected = masks.numpy()[..., 0].sum(2).mean() * BUDGET
    assert found["edge"].item() == pytest.approx(expected)
    assert "edge" not in PUBLIC_PENALTIES


def test_a_penalty_that_is_no_scalar_is_refused():
    with parts_of_seamask():
        PUBLIC_PENALTIES.register("edge")(Penalty(lambda m, b: m.mean((1, 2, 3))))
        with pytest.raises(
            UserError, match=r"penalty edge gives a tensor \[2\]: expected a scalar"
        ):
            all_penalties([(draw(2, 3, 4, 4), BUDGET)])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("edgy=1", "unknown penalty 'edgy'"),
        ("overlap", "expected NAME=WEIGHT"),
        ("overlap=much", "expected NAME=WEIGHT"),
    ],
)
def test_a_weight_that_cannot_be_read_is_refused(more, says):
    with pytest.raises(UserError, match=says):
        weights_at(PenaltiesConfig(more=(more,)), 96, 96)


def test_weights_of_zero_are_left_out():
    nothing = PenaltiesConfig(budget=0, overlap=0, consistency=0, sparsity=0, entropy=0)
    assert weights_at(nothing, 96, 96) == {}
    assert set(weights_at(PenaltiesConfig(), 96, 96)) == {"budget", "overlap", "consistency"}


quick = settings(max_examples=25)
sides = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)


@quick
@given(seeds, st.integers(1, 5), sides, sides)
def test_disjoint_masks_do_not_overlap(seed, n, height, width):
    rng = np.random.default_rng(seed)
    owner = rng.integers(n, size=(2, 1, height, width))
    masks = (owner == np.arange(n)[:, None, None]) * rng.random((2, 1, height, width))
    assert overlap_penalty(torch.from_numpy(masks)).item() == pytest.approx(0, abs=1e-14)


@quick
@given(seeds, st.integers(2, 5), sides)
def test_overlap_does_not_depend_on_the_order_of_the_masks(seed, n, side):
    masks = draw(2, n, side, side, seed=seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    expected = overlap_penalty(masks).item()
    assert overlap_penalty(masks[:, order]).item() == pytest.approx(expected, rel=1e-12)


@quick
@given(st.floats(0, 1), sides, sides, st.sampled_from([1, 3, 5]))
def test_constant_masks_are_consistent(value, height, width, kernel_size):
    masks = torch.full((1, 2, height, width), value, dtype=torch.float64)
    assert consistency_penalty(masks, kernel_size).item() == pytest.approx(0, abs=1e-14)


@quick
@given(seeds, st.integers(1, 57))
def test_budget_is_free_exactly_at_the_asked_area(seed, removed):
    order = np.random.default_rng(seed).permutation(64)
    masks = torch.from_numpy((order < removed).reshape(1, 1, 8, 8).astype(np.float64))
    assert budget_penalty(masks, removed / 64).item() == pytest.approx(0, abs=1e-30)
    assert budget_penalty(masks, removed / 64 + 0.1).item() == pytest.approx(0.01)


@quick
@given(seeds, st.integers(2, 6))
def test_equal_areas_cost_the_most_entropy(seed, n):
    masks = draw(1, n, 3, 3, seed=seed)
    equal = masks[:, :1].expand(-1, n, -1, -1)
    assert entropy_penalty(equal).item() == pytest.approx(math.log(n), rel=1e-12)
    assert entropy_penalty(masks).item() <= math.log(n) + 1e-12


@pytest.mark.parametrize("shape", [(5, 8, 8), (8, 8), (1, 2, 3, 8, 8)])
@pytest.mark.parametrize("penalty", [
    lambda m: budget_penalty(m, 0.2), overlap_penalty, consistency_penalty, sparsity_penalty,
    entropy_penalty, equipartition_penalty,
])  # fmt: skip
def test_what_are_no_masks_is_refused(penalty, shape):
    with pytest.raises(UserError, match=r"expected \[B, N, H, W\]"):
        penalty(torch.rand(shape))


def test_a_window_with_an_even_side_is_refused():
    with pytest.raises(UserError, match="kernel_size 2: the pooling window has an odd side"):
        consistency_penalty(torch.rand(2, 1, 8, 8), 2)
