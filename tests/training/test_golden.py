"""Losses of five steps of every recipe, in float64: what changes speed alone leaves them be.

Where a change is meant to move them, write them anew with `python tests/training/test_golden.py`
and say in the commit why they moved.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seamask.data.shapes import MEAN, STD, generate
from seamask.draws import generator
from seamask.objectives import build_objective
from seamask.recipes import RECIPES, recipe_config
from seamask.settings import override
from seamask.training.players import build_networks, build_players
from seamask.training.step import View, two_player_step
from seamask.views import Views

FILE = Path(__file__).with_name("golden_losses.json")
STEPS, BATCH, SIZE = 5, 8, 16


def losses(recipe: str) -> list[list[float]]:
    """Return the encoder's loss, and the masker's where it learns, of each step of a recipe.

    The recipe's own players, objective, penalties, views and optimisers, on small images with small
    networks.
    """
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
    players = build_players(config, networks, objective, torch.device("cpu"))
    views = Views(config.views, SIZE, MEAN, STD)
    pixels, _, _ = generate(0, np.arange(STEPS * BATCH), SIZE)
    found = []
    for step, images in enumerate(torch.from_numpy(pixels).permute(0, 3, 1, 2).split(BATCH)):
        torch.manual_seed(step)
        draw = generator(0, step)
        a, b = (View(views(images, draw)[0].double()) for _ in "ab")
        metrics = two_player_step(players, [(a, b)], draw)
        objective.update(networks.encoder, step / STEPS)
        found.append([metrics[n].item() for n in ("loss/encoder", "loss/mask") if n in metrics])
    return found


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_losses_are_what_they_were(recipe):
    expected = json.loads(FILE.read_text())[recipe]
    # Views are computed in float32, whose last bits depend on the processor.
    np.testing.assert_allclose(losses(recipe), expected, rtol=1e-4)


if __name__ == "__main__":
    rows = (f'"{recipe}": {json.dumps(losses(recipe))}' for recipe in sorted(RECIPES))
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")
