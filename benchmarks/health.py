"""What looking at the game's health costs: one look beside the steps between two lines of the log.

    python benchmarks/health.py

In turns within one run; a ratio of medians. Random images, the recipe's own networks and batch.
"""

import statistics
import time

import torch

from seamask.base.draws import generator
from seamask.base.settings import override
from seamask.game.players import View
from seamask.game.step import two_player_step
from seamask.objectives import build_objective
from seamask.recipes import recipe_config
from seamask.training.health import Health
from seamask.training.players import build_networks, build_players
from seamask.training.processes import Processes

ROUNDS = 9
CASES = {
    "cifar10-seamask, test_resnet, batch 128": ("cifar10-seamask", {
        "encoder.backbone": "test_resnet", "encoder.stem": "standard", "batch_size": 128,
        "masks.width": 16, "objective.hidden": (256,), "objective.out_dim": 64,
    }),
    "shapes-seamask": ("shapes-seamask", {}),
    "shapes-sequential (exact)": ("shapes-sequential", {}),
}  # fmt: skip


def measure(recipe, changed):
    config = override(recipe_config(recipe), changed)
    objective = build_objective(config.objective)
    networks = build_networks(config, objective)
    players = build_players(config, networks, objective, Processes(torch.device("cpu")))
    health = Health(config, players, objective)
    size = config.image_size
    a, b = (View(torch.randn(config.batch_size, 3, size, size)) for _ in "ab")
    seconds = {"step": [], "look": []}
    for turn in range(ROUNDS + 2):
        for name, do in (
            ("step", lambda: two_player_step(players, [(a, b)], generator(0))),
            ("look", lambda: health.examine(a, b, generator(1))),
        ):
            start = time.perf_counter()
            do()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    step, look = (statistics.median(seconds[name]) for name in ("step", "look"))
    return step, look, look / (config.log.every * step)


if __name__ == "__main__":
    for name, case in CASES.items():
        step, look, share = measure(*case)
        print(
            f"{name}: step {1e3 * step:.0f} ms, look {1e3 * look:.0f} ms: {share:.1%} of the time"
        )
