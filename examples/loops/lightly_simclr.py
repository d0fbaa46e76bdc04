"""Learned masks in lightly's loop: its data set, transform, projection head and loss; our masks.

pip install lightly && python examples/loops/lightly_simclr.py path/to/images
"""

from __future__ import annotations

import math
import sys

import timm
import torch
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from torch import nn
from torch.utils.data import DataLoader

import seamask


def main(folder: str, epochs: int = 1, batch: int = 32, size: int = 32) -> list[float]:
    """Train on a folder of images; return the encoder's loss at each step."""
    torch.manual_seed(0)
    dataset = LightlyDataset(folder, transform=SimCLRTransform(input_size=size))
    loader = DataLoader(dataset, batch_size=batch, shuffle=True, drop_last=True)
    backbone = timm.create_model("test_resnet", num_classes=0)
    head = SimCLRProjectionHead(backbone.num_features, 256, 64)
    encoder = nn.Sequential(backbone, head)
    masker = seamask.SequentialMasker(n_masks=3, image_size=size, width=8, downscale=2)
    holds = 5 * math.log(2 * batch - 1)  # five times what the loss can fall by
    players = seamask.TwoPlayers(
        encoder,
        masker,
        objective=NTXentLoss(temperature=0.2),
        encoder_optimizer=torch.optim.AdamW(encoder.parameters(), lr=1e-3),
        masker_optimizer=torch.optim.AdamW(masker.parameters(), lr=1e-3),
        penalty_weights={"budget": holds, "equipartition": holds, "overlap": 1e-3},
        budget=seamask.Budget(0.25),
    )
    losses = []
    for _ in range(epochs):
        for views, _, _ in loader:
            x_a, x_b = views  # [batch, 3, size, size] each
            metrics = seamask.two_player_step(players, [(seamask.View(x_a), seamask.View(x_b))])
            losses.append(float(metrics["loss/encoder"]))
    print(f"{len(losses)} steps, loss {losses[0]:.3f} to {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main(sys.argv[1])
