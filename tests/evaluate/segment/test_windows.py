"""Windows cover every pixel of an image."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from seamask.evaluate.segment.windows import starts, windowed


class Mean(nn.Module):
    """Takes 16-pixel squares only; gives every pixel back."""

    def forward(self, images):
        assert images.shape[-2:] == (16, 16)
        return images[:, :2] * 2


@pytest.mark.parametrize("size", [(16, 16), (10, 40), (33, 17), (64, 5)])
def test_windows_cover_every_pixel(size):
    images = torch.randn(1, 3, *size)
    torch.testing.assert_close(windowed(Mean(), images, 16), images[:, :2] * 2)


def test_windows_overlap_by_a_third():
    for length in range(16, 100):
        places = starts(length, 16)
        assert (places[0], places[-1]) == (0, length - 16)
        assert all(0 < b - a <= 11 for a, b in pairwise(places))
