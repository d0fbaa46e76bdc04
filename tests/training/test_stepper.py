"""Which steps are recorded as a CUDA graph; that they are the step is in test_device.py."""

from dataclasses import replace

import pytest
import torch

from seamask.base.settings import override
from seamask.objectives import build_objective
from seamask.recipes import recipe_config
from seamask.training.players import build_networks, build_players
from seamask.training.processes import Processes
from seamask.training.stepper import records

GPU = torch.device("cuda")
SMALL = {"image_size": 32, "masks.width": 4, "objective.hidden": (8,), "objective.out_dim": 8}


def players_of(config):
    objective = build_objective(config.objective)
    return build_players(
        config, build_networks(config, objective), objective, Processes(torch.device("cpu"))
    )


@pytest.mark.parametrize(
    ("changed", "device", "expected"),
    [
        ({}, GPU, True),
        ({"cuda_graph": "no"}, GPU, False),
        ({}, torch.device("cpu"), False),
        ({"masks.drop": 0.5, "encoder.backbone": "test_vit"}, GPU, False),
    ],
)
def test_what_is_recorded(changed, device, expected):
    config = override(recipe_config("shapes-seamask"), SMALL | changed)
    assert records(config, players_of(config), device) == expected


def test_parts_from_elsewhere_are_recorded_only_if_it_is_asked_for():
    config = override(recipe_config("shapes-seamask"), SMALL)
    players = players_of(config)

    class Mine(type(players.masker)):
        pass

    players.masker.__class__ = Mine
    assert not records(config, players, GPU)
    assert records(replace(config, cuda_graph="yes"), players, GPU)
