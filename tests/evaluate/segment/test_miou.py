"""Measures against cases by hand and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torchmetrics.classification import MulticlassJaccardIndex

from seamask.base.errors import UserError
from seamask.evaluate.segment.miou import class_ious, confusion, mean_iou


def test_a_hand_computed_case():
    truth = torch.tensor([[0, 0, 1, 255], [0, 1, 1, 255]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 1, 1, 3], [0, 1, 2, 0]], dtype=torch.uint8)
    counts = confusion(predicted, truth, n_classes=4)
    expected = torch.zeros(4, 4, dtype=torch.int64)
    expected[0, 0], expected[0, 1], expected[1, 1], expected[1, 2] = 2, 1, 2, 1
    assert counts.dtype == torch.int64
    assert torch.equal(counts, expected)
    # class 0: 2 of 3; class 1: 2 of 4; class 2: predicted, never true; class 3: only where ignored
    ious = class_ious(counts)
    np.testing.assert_allclose(ious[:3], [200 / 3, 50, 0])
    assert ious[3].isnan()
    assert mean_iou(counts) == pytest.approx((200 / 3 + 50 + 0) / 3)


def test_another_label_can_be_ignored():
    truth, predicted = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1])
    assert confusion(predicted, truth, 2, ignore=2).tolist() == [[1, 0], [1, 0]]


def test_a_label_outside_the_classes_is_refused():
    for wrong in (3, 254):
        truth = torch.tensor([0, wrong, 255], dtype=torch.uint8)
        with pytest.raises(UserError, match=f"value {wrong}.* 3 classes") as error:
            confusion(torch.zeros(3), truth, 3)
        assert "\n" not in str(error.value)


@settings(max_examples=50)
@given(st.data())
def test_mean_iou_against_torchmetrics(data):
    n_classes = data.draw(st.integers(2, 6))
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=8))
    labels = st.sampled_from([*range(n_classes), 255])
    truth = torch.from_numpy(data.draw(arrays.arrays(np.uint8, shape, elements=labels)))
    classes = st.integers(0, n_classes - 1)
    predicted = torch.from_numpy(data.draw(arrays.arrays(np.uint8, shape, elements=classes)))
    oracle = MulticlassJaccardIndex(n_classes, ignore_index=255, average="macro")
    expected = 100 * float(oracle(predicted.long(), truth.long()))
    counts = confusion(predicted, truth, n_classes)
    if counts.sum() == 0:
        assert np.isnan(mean_iou(counts))
    else:
        assert mean_iou(counts) == pytest.approx(expected, abs=1e-3)


def test_one_confusion_over_parts_is_that_of_the_whole():
    torch.manual_seed(0)
    truth, predicted = torch.randint(0, 5, (2, 6, 8, 8))
    parts = sum(confusion(p, t, 5) for p, t in zip(predicted, truth, strict=True))
    assert torch.equal(parts, confusion(predicted, truth, 5))
