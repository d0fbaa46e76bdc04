"""Small players in float64, for tests of the step."""

import copy

import torch
from torch import nn

from seamask.game.players import TwoPlayers, View
from seamask.masks import SequentialMasker
from seamask.networks import Encoder
from seamask.networks.view_batchnorm import keep_views_apart
from seamask.objectives import build_objective
from seamask.objectives.settings import ObjectiveConfig
from seamask.training.optim import build_optimizer
from seamask.training.settings import PlayerConfig

WEIGHTS = {"budget": 1.0, "overlap": 1e-3, "consistency": 1e-3}


class Backbone(nn.Sequential):
    """Two convolutions with batch norm; it tells of its last map as timm's models do."""

    def forward_features(self, images):
        return self[:-2](images)


def build_encoder(objective) -> Encoder:
    backbone = Backbone(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    backbone.feature_info = [{"reduction": 4, "num_chs": 16}]
    return objective.encoder(backbone, 16)


def build_players(
    masker=None, n_masks=3, optimizer="sgd", lr=0.05, objective=None, **rules
) -> TwoPlayers:
    torch.manual_seed(0)
    objective = objective or build_objective(ObjectiveConfig(hidden=(16,), out_dim=8))
    encoder = build_encoder(objective).double()
    masker = (masker or SequentialMasker(n_masks, image_size=16, width=4)).double()
    player = PlayerConfig(optimizer=optimizer, lr=lr)
    if rules.get("stack"):
        keep_views_apart(encoder)
    rules.setdefault("penalty_weights", dict(WEIGHTS))
    rules.setdefault("of_view", objective.from_view if objective.alone else None)
    if objective.one_sided:
        rules["one_way"] = objective.from_one
    return TwoPlayers(
        encoder=encoder,
        masker=masker,
        objective=objective,
        encoder_optimizer=build_optimizer(encoder, player, trust=0.02),
        masker_optimizer=build_optimizer(masker, player, trust=0.02) if masker.learned else None,
        **rules,
    )


def views(batch=8, size=16, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(batch, 3, size, size, generator=draw, dtype=torch.float64) for _ in "ab"
    )


def as_views(*arguments, **keywords):
    return tuple(View(x) for x in views(*arguments, **keywords))


def state(module):
    return copy.deepcopy(module.state_dict())


def same(before, after) -> bool:
    return before.keys() == after.keys() and all(
        torch.equal(before[name], after[name]) for name in before
    )
