"""A small encoder with a map of features, for what looks at one."""

import torch
from torch import nn


class Convolution(nn.Module):
    """One convolution, `[B, 3, H, W]` → map `[B, 6, H/4, W/4]` → features `[B, 6]`."""

    num_features = 6

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.feature_info = [{"reduction": 4, "num_chs": 6}]
        self.conv = nn.Conv2d(3, 6, 4, stride=4)

    def forward_features(self, images):
        return self.conv(images)

    def forward(self, images):
        return self.forward_features(images).mean((2, 3))
