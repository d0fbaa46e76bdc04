"""Boolean masks of patches against a literal loop."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seamask import UserError, token_masks


def literal(masks, patch, keep=None, threshold=None):
    b, n, h, w = masks.shape
    found = np.zeros((b, n, (h // patch) * (w // patch)), bool)
    for i in range(b):
        for k in range(n):
            shares = [
                masks[i, k, y : y + patch, x : x + patch].mean()
                for y in range(0, h, patch)
                for x in range(0, w, patch)
            ]
            if threshold is not None:
                found[i, k] = [share > threshold for share in shares]
                continue
            gone = len(shares) - round(keep * len(shares))
            for t in sorted(range(len(shares)), key=lambda t: (-shares[t], t))[:gone]:
                found[i, k, t] = True
    return found


@given(
    seed=st.integers(0, 99), patch=st.sampled_from([1, 2, 4]), share=st.floats(0, 1),
    rows=st.integers(1, 3), columns=st.integers(1, 3),
)  # fmt: skip
def test_as_the_loop(seed, patch, share, rows, columns):
    shape = (2, 3, rows * patch, columns * patch)
    # Eighths, whose means float32 has exactly: no two orders of a sum differ.
    masks = np.random.default_rng(seed).integers(0, 9, shape) / 8
    for asked in ({"keep": share}, {"threshold": share}):
        found = token_masks(torch.tensor(masks, dtype=torch.float32), patch, **asked)
        assert (found.numpy() == literal(masks, patch, **asked)).all()


@pytest.mark.parametrize(("asked", "says"), [
    ({"patch": 3, "keep": 0.5}, "patch 3 does not divide 8×8"),
    ({"patch": 4}, "one of keep and threshold"),
    ({"patch": 4, "keep": 0.5, "threshold": 0.5}, "one of keep and threshold"),
    ({"patch": 4, "keep": 1.5}, "keep is 1.5"),
    ({"patch": 4, "threshold": -1}, "threshold is -1"),
])  # fmt: skip
def test_refused(asked, says):
    with pytest.raises(UserError, match=says):
        token_masks(torch.zeros(1, 1, 8, 8), **asked)
