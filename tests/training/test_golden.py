"""Losses of five steps of every recipe, in float64: what changes speed alone leaves them be.

Where a change is meant to move them, write them anew with `python tests/training/test_golden.py`
and say in the commit why they moved.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seamask.base.draws import generator
from seamask.base.settings import override
from seamask.game.players import View
from seamask.game.step import two_player_step
from seamask.objectives import build_objective
from seamask.recipes import RECIPES, recipe_config
from seamask.training.players import build_networks, build_players
from seamask.training.processes import Processes

FILE = Path(__file__).with_name("golden_losses.json")
STEPS, BATCH, SIZE = 5, 8, 16


def losses(recipe: str, device: str = "cpu") -> list[list[float]]:
    """Return the encoder's loss, and the masker's where it learns, of each step of a recipe.

    The recipe's own players, objective, penalties and optimisers, with small networks on noise.
    Weights and images are NumPy's: those of PyTorch differ in last bits between processors, and
    five steps make more of that.
    """
    objective, networks, players, rng = small(recipe, device)
    found = []
    for step in range(STEPS):
        image = rng.standard_normal((BATCH, 3, SIZE, SIZE))
        noise = rng.standard_normal((2, *image.shape))
        a, b = (View(torch.from_numpy(image + n).to(device)) for n in noise)
        metrics = two_player_step(players, [(a, b)], generator(0, step))
        objective.update(networks.encoder, step / STEPS)
        found.append([metrics[n].item() for n in ("loss/encoder", "loss/mask") if n in metrics])
    return found


def small(recipe: str, device: str):
    """Build a recipe's objective, networks and players, in float64, and what draws their images."""
    vit = "vit" in recipe_config(recipe).encoder.backbone
    config = override(recipe_config(recipe), {
        "image_size": SIZE, "batch_size": BATCH, "masks.width": 8, "masks.downscale": 1,
        "objective.hidden": (16,), "objective.out_dim": 8, "objective.predictor": 8,
        "encoder.stem": "auto", "encoder.backbone": "test_vit" if vit else "test_resnet",
        "encoder.patch": 8 if vit else 0,
    })  # fmt: skip
    objective = build_objective(config.objective)
    networks = build_networks(config, objective)
    networks.encoder.double()
    networks.masker.double()
    players = build_players(config, networks, objective, Processes(torch.device(device)))
    rng = np.random.default_rng(0)
    for network in (networks.encoder, networks.masker):
        draw_weights(network, rng)
    return objective, networks, players, rng


@torch.no_grad()
def draw_weights(network: nn.Module, rng: np.random.Generator) -> None:
    """Draw what is drawn at the start anew; norms keep their ones and zeros."""
    for parameter in network.parameters():
        if parameter.unique().numel() > 1:
            fan = max(1, parameter[0].numel())
            parameter.copy_(torch.from_numpy(rng.standard_normal(parameter.shape) / fan**0.5))


# The large ones have the methods of the others, with other numbers.
LARGE = ("stl10", "imagenet100s")


@pytest.mark.parametrize("recipe", [
    pytest.param(name, marks=pytest.mark.slow if name.startswith(LARGE) else ())
    for name in sorted(RECIPES)
])  # fmt: skip
def test_losses_are_what_they_were(recipe):
    expected = json.loads(FILE.read_text())[recipe]
    np.testing.assert_allclose(losses(recipe), expected, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_losses_are_the_same_on_a_gpu(recipe):
    expected = json.loads(FILE.read_text())[recipe]
    np.testing.assert_allclose(losses(recipe, "cuda"), expected, rtol=1e-5)


if __name__ == "__main__":
    rows = (f'"{recipe}": {json.dumps(losses(recipe))}' for recipe in sorted(RECIPES))
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")
