"""Features: those of eval mode, and how their training images are split."""

import torch
from torch import nn

from seamask.data import Normalization
from seamask.evaluate import Features, features
from seamask.evaluate.features import extract

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def test_features_are_those_of_eval_mode_and_leave_the_backbone_as_it_was(monkeypatch):
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    monkeypatch.setattr(features, "BATCH", 4)
    backbone.train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    pixels = torch.randint(0, 256, (10, 16, 16, 3), dtype=torch.uint8)
    found = extract(backbone, pixels, 16, Normalization(MEAN, STD))
    assert backbone.training
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())
    images = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(
        STD
    )[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(found, backbone.eval()(images), rtol=1e-4, atol=1e-5)


def test_classes_of_one_image_can_be_split():
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    split = Features(torch.randn(6, 2), labels, torch.zeros(1, 2), labels[:1]).split(0.5, 0)
    assert len(split.train) == len(split.test) == 3
