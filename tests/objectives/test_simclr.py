"""NT-Xent against literal double loops over the equations it comes from."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from seamask.base.errors import UserError
from seamask.objectives import SimCLR, build_objective, nt_xent
from seamask.objectives.settings import ObjectiveConfig

FORMS = ["standard", "cross-view"]
each_form = pytest.mark.parametrize("form", FORMS)


def cosine(u, v):
    return (u @ v) / (math.sqrt(u @ u) * math.sqrt(v @ v))


def np_standard(a, b, temperature):
    """SimCLR eq. 1: 2B anchors, each with its partner and 2B − 2 negatives."""
    n = len(a)
    z = [*a, *b]  # the partner of i is i + B, modulo 2B
    total = 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        positive = math.exp(cosine(z[i], z[partner]) / temperature)
        below = sum(math.exp(cosine(z[i], z[k]) / temperature) for k in range(2 * n) if k != i)
        total += -math.log(positive / below)
    return total / (2 * n)


def np_cross_view(a, b, temperature):
    """Sequential masking eq. 1 as printed, with its minus sign."""
    n, total = len(a), 0.0
    for i in range(n):
        positive = math.exp(cosine(a[i], b[i]) / temperature)
        below = sum(math.exp(cosine(a[i], b[j]) / temperature) for j in range(n) if j != i)
        total += -math.log(positive / below)
    return total / n


ORACLES = {"standard": np_standard, "cross-view": np_cross_view}


def embeddings(batch, dim=6, seed=0):
    rng = np.random.default_rng(seed)
    return (torch.from_numpy(rng.normal(size=(batch, dim)) * 3) for _ in range(2))


@each_form
@pytest.mark.parametrize("batch", [2, 3, 9])
@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_equals_numpy(form, batch, temperature):
    a, b = embeddings(batch)
    loss = nt_xent(a, b, temperature, form)
    assert loss.shape == ()
    assert loss.dtype == torch.float64
    expected = ORACLES[form](a.numpy(), b.numpy(), temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@each_form
def test_gradient_equals_finite_differences(form):
    a, b = (z.requires_grad_() for z in embeddings(3, 4))
    assert gradcheck(lambda a, b: nt_xent(a, b, 0.2, form), (a, b))


@each_form
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_slices_of_a_global_batch_average_to_its_loss(form, ranks):
    a, b = (z.requires_grad_() for z in embeddings(8))
    whole = nt_xent(a, b, 0.2, form)
    local = 8 // ranks
    parts = [
        nt_xent(a[at : at + local], b[at : at + local], 0.2, form, (a, b), offset=at)
        for at in range(0, 8, local)
    ]
    mean = torch.stack(parts).mean()
    assert mean.item() == pytest.approx(whole.item(), rel=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(mean, (a, b)), torch.autograd.grad(whole, (a, b)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


@each_form
def test_objective_gathers_over_processes(form):
    a, b = embeddings(6)
    everyone = {a[2:4].sum().item(): a, b[2:4].sum().item(): b}

    def gather(local):  # what all processes hold, [R, B, D]
        return everyone[local.sum().item()].view(3, 2, -1)

    objective = SimCLR(ObjectiveConfig(form=form, temperature=0.3), gather, rank=1)
    expected = nt_xent(a[2:4], b[2:4], 0.3, form, (a, b), offset=2)
    assert objective(a[2:4], b[2:4]).item() == pytest.approx(expected.item(), rel=1e-12)
    alone = SimCLR(ObjectiveConfig(form=form, temperature=0.3))(a, b)
    assert alone.item() == pytest.approx(ORACLES[form](a.numpy(), b.numpy(), 0.3), rel=1e-12)


@each_form
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_embeddings_give_a_float32_loss(form, dtype):
    a, b = (z.to(dtype) for z in embeddings(8, 32))
    loss = nt_xent(a, b, 0.1, form)
    assert loss.dtype == torch.float32
    expected = ORACLES[form](a.double().numpy(), b.double().numpy(), 0.1)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@each_form
def test_autocast_does_not_coarsen_the_objective(form):
    a, b = (z.float() for z in embeddings(8, 32))
    objective = build_objective(ObjectiveConfig(form=form, temperature=0.1))
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(a, b)
    assert loss.dtype == torch.float32
    expected = ORACLES[form](a.double().numpy(), b.double().numpy(), 0.1)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@each_form
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(2, 6), scale=st.floats(1e-3, 1e3))
def test_scale_and_order_and_views_do_not_matter(form, seed, batch, scale):
    a, b = embeddings(batch, seed=seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(batch))
    expected = pytest.approx(nt_xent(a, b, 0.2, form).item(), rel=1e-9)
    assert nt_xent(a * scale, b, 0.2, form).item() == expected
    if form == "standard":  # the printed form has one direction
        assert nt_xent(b, a, 0.2, form).item() == expected
    assert nt_xent(a[order], b[order], 0.2, form).item() == expected


def test_two_images_by_hand():
    # a_0 = b_0 = e_x, a_1 = b_1 = e_y: the partner at cosine 1, all negatives at 0.
    a = torch.eye(2, dtype=torch.float64)
    e = math.exp(1 / 0.5)
    assert nt_xent(a, a, 0.5).item() == pytest.approx(-math.log(e / (e + 2)), rel=1e-12)
    cross = nt_xent(a, a, 0.5, "cross-view").item()
    assert cross == pytest.approx(-math.log(e / 1), rel=1e-12)


def test_an_unknown_objective_names_the_known_one():
    with pytest.raises(UserError, match="simclr"):
        build_objective(ObjectiveConfig(name="simclrr"))
