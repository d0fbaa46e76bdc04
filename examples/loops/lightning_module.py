"""Learned masks in a Lightning module: two players, two optimisers, manual optimisation.

pip install lightning && python examples/loops/lightning_module.py
"""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import timm
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

import seamask
from seamask.data import DataConfig, load
from seamask.views import Views, ViewsConfig


class Masked(L.LightningModule):
    """An encoder and the mask network that it trains against."""

    def __init__(self, size: int, batch: int, normalization: Any, lr: float = 1e-3) -> None:
        super().__init__()
        self.automatic_optimization = False  # each player steps when its gradient is ready
        backbone = timm.create_model("test_resnet", num_classes=0)
        head = nn.Sequential(nn.Linear(backbone.num_features, 128), nn.ReLU(), nn.Linear(128, 64))
        self.encoder = nn.Sequential(backbone, head)
        self.masker = seamask.SequentialMasker(3, size, width=8, downscale=2)
        self.draw_view = Views(ViewsConfig(), size, *normalization)
        self.lr, self.holds = lr, 5 * math.log(2 * batch - 1)

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the encoder's and the masker's."""
        parts = (self.encoder, self.masker)
        return [torch.optim.AdamW(part.parameters(), lr=self.lr) for part in parts]

    def on_fit_start(self) -> None:
        """Seat the players: Lightning has the optimisers by now."""
        encoder_optimizer, masker_optimizer = self.optimizers()
        self.players = seamask.TwoPlayers(
            self.encoder,
            self.masker,
            seamask.nt_xent,
            encoder_optimizer,
            masker_optimizer,
            penalty_weights={"budget": self.holds, "equipartition": self.holds, "overlap": 1e-3},
            budget=seamask.Budget(0.25),
        )

    def training_step(self, batch: list[Tensor], step: int) -> None:
        """Draw two views of the images, let both players move, log what they say."""
        generator = torch.Generator().manual_seed(self.global_step)
        a, b = (seamask.View(self.draw_view(batch[0], generator)[0]) for _ in range(2))
        metrics = seamask.two_player_step(self.players, [(a, b)], generator)
        self.log_dict(metrics, prog_bar=True)


def main(steps: int = 20, batch: int = 32, size: int = 32) -> Masked:
    """Train on the built-in images; return the module."""
    L.seed_everything(0, verbose=False)
    data = load(DataConfig(shapes_train=256, shapes_test=16), size)
    images = torch.as_tensor(data.train.pixels).permute(0, 3, 1, 2)
    loader = DataLoader(TensorDataset(images), batch, shuffle=True, drop_last=True)
    module = Masked(size, batch, data.normalization)
    trainer = L.Trainer(
        max_steps=2 * steps,  # Lightning counts each optimiser's
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    return module


if __name__ == "__main__":
    main()
