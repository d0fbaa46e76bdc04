"""Every objective with every masker and budget on a ResNet and a ViT: two steps of each."""

import copy
import itertools
from typing import get_args

import pytest
import torch

from seamask.base.settings import override
from seamask.config import Config, check
from seamask.game.players import View
from seamask.game.step import two_player_step
from seamask.masks import MASKERS
from seamask.objectives import OBJECTIVES, build_objective
from seamask.training.players import build_networks, build_players
from seamask.training.processes import Processes
from seamask.views.fill import fill
from seamask.views.settings import Fill

pytestmark = pytest.mark.slow  # there are some 130

BUDGETS = ["0.3", "exact:0.3", "superpixel", "exact:superpixel"]
BACKBONES = {
    "test_resnet": {"encoder.stem": "standard"},
    "test_vit": {"encoder.patch": 8},
    "test_vit, dropping": {"encoder.patch": 8, "masks.drop": 0.5},
}
FILLS, CHANNELS = get_args(Fill), (3, 3, 3, 3, 1)  # taken in turns
# What only sequential masks can do; what is drawn or given heeds no budget.
VARIANTS = [
    (masker, budget, disjoint)
    for masker, budget, disjoint in itertools.product(MASKERS, BUDGETS, (False, True))
    if masker == "sequential"
    or (not disjoint and (budget == "0.3" or (masker, budget) == ("simultaneous", "superpixel")))
]
# Each pair of parts is there, not each three.
COMBINATIONS = [
    (objective, *variant, backbone)
    for (i, objective), (j, variant), (k, backbone) in itertools.product(
        enumerate(OBJECTIVES), enumerate(VARIANTS), enumerate(BACKBONES)
    )
    if (i + j + k) % 3 == 0
    if (objective, variant[0]) != ("reconstruct", "none")  # which has nothing to predict
]


def test_every_pair_is_there():
    of_three = [(objective, tuple(masks), backbone) for objective, *masks, backbone in COMBINATIONS]
    for sides, pair in (((0, 1), (OBJECTIVES, VARIANTS)), ((0, 2), (OBJECTIVES, BACKBONES)),
                        ((1, 2), (VARIANTS, BACKBONES))):  # fmt: skip
        there = {tuple(c[s] for s in sides) for c in of_three}
        assert set(itertools.product(*pair)) - there <= {("reconstruct", ("none", "0.3", False))}


def batch(kind, channels):
    draw = torch.Generator().manual_seed(1)
    maps = torch.ones(8, 32, 32, dtype=torch.uint8)
    maps[:, :12] = 2
    maps[:, 20:, 9:30] = 3
    images = (torch.randn(8, channels, 32, 32, generator=draw) for _ in "ab")
    return tuple(View(x, maps, maps, maps, fill(kind, x, draw)) for x in images)


def state(module):
    return copy.deepcopy({**dict(module.named_parameters()), **dict(module.named_buffers())})


def moved(before, after):
    return any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("objective", "masker", "budget", "disjoint", "backbone"),
    COMBINATIONS,
    ids=["-".join(map(str, c)) for c in COMBINATIONS],
)
def test_two_steps(objective, masker, budget, disjoint, backbone):
    turn = COMBINATIONS.index((objective, masker, budget, disjoint, backbone))
    kind, channels = FILLS[turn % len(FILLS)], CHANNELS[turn % len(CHANNELS)]
    config = check(override(Config(), {
        "data.channels": channels, "objective": objective, "masker": masker, "budget": budget,
        "masks.disjoint": disjoint,
        "backbone": backbone.split(",")[0], "image_size": 32, "batch_size": 8, "n_masks": 3,
        "masks.width": 4, "objective.hidden": (8,), "objective.out_dim": 8, "objective.queue": 16,
        "objective.predictor": 8, "objective.prototypes": 16, "objective.decoder": 1,
        "objective.decoder_width": 32,
        "optim.encoder.optimizer": "sgd", "optim.masker.optimizer": "sgd",
        **BACKBONES[backbone],
    }))  # fmt: skip
    loss = build_objective(config.objective)
    networks = build_networks(config, loss)
    players = build_players(config, networks, loss, Processes(torch.device("cpu")))
    encoder, network = networks.encoder, networks.masker
    seen = []  # after the encoder's step, and after the masker's
    for optimizer in (players.encoder_optimizer, players.masker_optimizer):
        if optimizer is not None:
            take = optimizer.step

            def step_and_look(take=take):
                take()
                seen.append((state(encoder), state(network)))

            optimizer.step = step_and_look
    for step in range(2):
        seen = [(state(encoder), state(network))]
        pair = batch(kind, channels)
        metrics = two_player_step(players, [pair], torch.Generator().manual_seed(step))
        loss.update(encoder, step / 2)
        assert all(torch.isfinite(value) for value in metrics.values())
        assert moved(seen[0][0], seen[1][0])  # the encoder moved
        assert not moved(seen[0][1], seen[1][1])  # and the masker did not
        if network.learned:
            assert moved(seen[1][1], seen[2][1])
            after = {n: p for n, p in seen[2][0].items() if n in dict(encoder.named_parameters())}
            assert not moved(after, seen[1][0])
