"""Learned masks in a plain PyTorch loop, on the built-in images.

python examples/loops/plain_torch.py
"""

from __future__ import annotations

import math

import timm
import torch
from torch import nn

import seamask
from seamask.data import DataConfig, load
from seamask.views import Views, ViewsConfig


def main(steps: int = 50, batch: int = 32, size: int = 32) -> list[float]:
    """Train for some steps; return the encoder's losses."""
    torch.manual_seed(0)
    data = load(DataConfig(shapes_train=256, shapes_test=16), size)  # or source="path/to/images"
    images = data.train.pixels.permute(0, 3, 1, 2)  # uint8 [n, 3, S, S]
    draw_view = Views(ViewsConfig(), size, *data.normalization)
    backbone = timm.create_model("test_resnet", num_classes=0)
    encoder = nn.Sequential(backbone, nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, 64))
    encoder(torch.zeros(2, 3, size, size))
    masker = seamask.SequentialMasker(n_masks=3, image_size=size, width=8, downscale=2)
    holds = 5 * math.log(2 * batch - 1)  # five times what NT-Xent can fall by
    players = seamask.TwoPlayers(
        encoder,
        masker,
        objective=seamask.nt_xent,
        encoder_optimizer=torch.optim.AdamW(encoder.parameters(), lr=1e-3),
        masker_optimizer=torch.optim.AdamW(masker.parameters(), lr=1e-3),
        penalty_weights={"budget": holds, "equipartition": holds, "overlap": 1e-3},
        budget=seamask.Budget(0.25),
        single=True,
        simultaneous=True,
    )
    losses = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        part = images[torch.randint(len(images), (batch,), generator=generator)]
        x_a, x_b = (draw_view(part, generator)[0] for _ in range(2))
        pair = (seamask.View(x_a), seamask.View(x_b))
        metrics = seamask.two_player_step(players, [pair], generator)
        losses.append(float(metrics["loss/encoder"]))
        if step % 10 == 0:
            removed = " ".join(f"{metrics[f'mask/coverage_{k}']:.0%}" for k in (1, 2, 3))
            print(f"step {step}: loss {losses[-1]:.3f}, removed {removed}")
    return losses


if __name__ == "__main__":
    main()
