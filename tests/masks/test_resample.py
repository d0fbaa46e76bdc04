"""Resampling by products against PyTorch's kernels."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from seamask.masks.resample import box_filtered, enlarged

SIDES = st.integers(1, 9)


@given(SIDES, SIDES, st.sampled_from([2, 4]))
def test_enlarged_is_bilinear_with_its_gradient(height, width, factor):
    maps = torch.rand(2, 3, height, width, dtype=torch.float64)
    ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    found = enlarged(ours, factor)
    expected = F.interpolate(theirs, scale_factor=float(factor), mode="bilinear")
    torch.testing.assert_close(found, expected)
    pull = torch.rand_like(expected)
    found.backward(pull)
    expected.backward(pull)
    torch.testing.assert_close(ours.grad, theirs.grad)


@given(SIDES, SIDES, st.sampled_from([1, 3, 5, 7]))
def test_box_filtered_is_average_pooling_with_its_gradient(height, width, kernel):
    maps = torch.rand(2, 3, height, width, dtype=torch.float64)
    ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    found = box_filtered(ours, kernel)
    expected = F.avg_pool2d(theirs, kernel, 1, kernel // 2, count_include_pad=False)
    torch.testing.assert_close(found, expected)
    pull = torch.rand_like(expected)
    found.backward(pull)
    expected.backward(pull)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("function", [lambda m: enlarged(m, 4), lambda m: box_filtered(m, 3)])
def test_autocast_changes_nothing(function):
    maps = torch.rand(2, 3, 8, 8)
    expected = function(maps)
    with torch.autocast("cpu", torch.bfloat16):
        found = function(maps)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
