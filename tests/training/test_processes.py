"""Two gloo processes against one: parameters and buffers."""

from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy

import seamask
from players import as_views, build_players, state, views
from seamask.base.errors import UserError
from seamask.game.players import View
from seamask.game.step import two_player_step
from seamask.networks.sync_batchnorm import synchronise_batchnorm
from seamask.objectives import build_objective
from seamask.objectives.settings import ObjectiveConfig
from seamask.training.processes import average_gradients, average_with_gradient

STEPS = 3
WEIGHTS = {"budget": 1.0, "overlap": 1e-3, "equipartition": 30.0}


OBJECTIVES = [
    {"form": "standard"}, {"form": "cross-view"}, {"name": "byol"}, {"name": "simsiam"},
    {"name": "vicreg"}, {"name": "moco", "queue": 12},
]  # fmt: skip


def config_of(changed: dict) -> ObjectiveConfig:
    return ObjectiveConfig(hidden=(16,), out_dim=8, predictor=8, **changed)


def train_half(fabric: Fabric, path: Path) -> None:
    """Train with half of each batch, with every objective, and save the players of each."""
    torch.set_num_threads(1)
    found = []
    for changed in OBJECTIVES:
        objective = build_objective(
            config_of(changed), partial(fabric.all_gather, sync_grads=True), fabric.global_rank
        )
        players = build_players(
            objective=objective,
            optimizer="lars",
            remember=objective.remember,
            penalty_weights=WEIGHTS,
            average=partial(average_gradients, fabric),
            average_masks=partial(average_with_gradient, fabric),
        )
        synchronise_batchnorm(players.encoder, fabric.device)
        for seed in range(STEPS):
            x_a, x_b = (x.chunk(2)[fabric.global_rank] for x in views(seed=seed))
            two_player_step(players, [(View(x_a), View(x_b))])
            objective.update(players.encoder, seed / STEPS)
        found.append((state(players.encoder), state(players.masker)))
    torch.save(found, f"{path}-{fabric.global_rank}")


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """What two processes trained: of each, the players of every objective."""
    path = tmp_path_factory.mktemp("halves") / "rank"
    here = LightningEnvironment()  # whatever cluster this machine is of
    strategy = DDPStrategy(cluster_environment=here, start_method="spawn")
    fabric = Fabric(accelerator="cpu", devices=2, strategy=strategy)
    fabric.launch(partial(train_half, path=path))
    return [torch.load(f"{path}-{rank}") for rank in range(2)]


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("changed", OBJECTIVES, ids=lambda c: "-".join(map(str, c.values())))
def test_two_processes_equal_one(changed, halves):
    first, second = (half[OBJECTIVES.index(changed)] for half in halves)
    objective = build_objective(config_of(changed))
    alone = build_players(
        objective=objective,
        optimizer="lars",
        remember=objective.remember,
        penalty_weights=WEIGHTS,
    )
    for seed in range(STEPS):
        two_player_step(alone, [as_views(seed=seed)])
        objective.update(alone.encoder, seed / STEPS)

    for ours, theirs, one in zip(
        first, second, (state(alone.encoder), state(alone.masker)), strict=True
    ):
        assert ours.keys() == theirs.keys() == one.keys()
        for name in one:
            assert torch.equal(ours[name], theirs[name]), name  # ranks agree bit for bit
            torch.testing.assert_close(ours[name], one[name], rtol=1e-8, atol=1e-10, msg=name)


def test_batch_norm_that_cannot_be_shared_is_refused_on_the_cpu():
    model = timm.create_model("mobilenetv3_small_050", num_classes=0)
    with pytest.raises(UserError, match="BatchNormAct2d cannot share"):
        synchronise_batchnorm(model, torch.device("cpu"))


@pytest.mark.ddp
@pytest.mark.slow
def test_what_a_process_refuses_is_one_line(tiny, tmp_path):
    with pytest.raises(UserError, match="fewer than one batch of 64") as error:
        seamask.pretrain(out=tmp_path / "run", devices=2, **{**tiny, "batch_size": 64})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
