"""Health: what is measured changes nothing, and every way to go wrong is said once, in words."""

import copy
import json
import math
import re
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import seamask
from players import as_views, build_players, same, state
from seamask.base.settings import override
from seamask.cli import main
from seamask.config import Config
from seamask.game.players import View
from seamask.game.step import two_player_step
from seamask.masks import NoMasker, RandomBlockMasker, SequentialMasker
from seamask.objectives import build_objective
from seamask.objectives.settings import ObjectiveConfig
from seamask.recipes import recipe_config
from seamask.report.troubles import troubles
from seamask.training.health import (
    PATIENCE,
    Health,
    alignment,
    embedding_signs,
    rank_me,
    ranks,
)
from seamask.training.players import build_networks
from seamask.training.players import build_players as networks_players
from seamask.training.processes import Processes


def health_of(masker=None, config=None, **rules):
    objective = build_objective(ObjectiveConfig(hidden=(16,), out_dim=8))
    players = build_players(masker, objective=objective, **rules)
    return Health(config or Config(), players, objective), players


@pytest.mark.parametrize("rules", [{}, {"stack": True}, {"single": True}], ids=str)
def test_looking_changes_nothing(rules):
    health, players = health_of(**rules)
    batch = as_views()
    two_player_step(players, [batch], torch.Generator().manual_seed(0))
    before = copy.deepcopy((state(players.encoder), state(players.masker)))
    found, grams = health.examine(*batch, torch.Generator().manual_seed(1))
    assert same(before[0], state(players.encoder))
    assert same(before[1], state(players.masker))
    assert all(value.ndim == 0 and not value.requires_grad for value in found.values())
    assert grams.shape == (1 + 3, 8, 8)
    assert ranks(grams).keys() == {"embedding/rank", "mask/rank_1", "mask/rank_2", "mask/rank_3"}


def test_looking_leaves_a_masker_with_statistics_as_it_is():
    class Statistical(SequentialMasker):
        def __init__(self):
            super().__init__(2, 16, 4)
            self.norm = torch.nn.BatchNorm2d(3)

        def forward(self, images):
            return super().forward(self.norm(images))

    health, players = health_of(Statistical())
    two_player_step(players, [as_views()])
    before = state(players.masker)
    health.examine(*as_views(), torch.Generator())
    assert same(before, state(players.masker))
    assert players.masker.training


def test_what_a_mask_adds_is_its_loss_over_the_clean_pair():
    class Half(torch.nn.Module):
        learned = False

        def forward(self, images, generator=None, maps=None):
            masks = torch.zeros_like(images[:, :2])
            masks[:, 1, :, 8:] = 1  # the first mask removes nothing, the second one half
            return masks

    health, players = health_of(Half())
    a, b = as_views()
    two_player_step(players, [(a, b)])
    found, _ = health.examine(a, b, torch.Generator())
    with torch.no_grad():
        encode = copy.deepcopy(players.encoder)
        z_a, z_b = encode(a.images), encode(b.images)
        gone = b.images.clone()
        gone[..., 8:] = 0
        clean = players.objective(z_a, z_b)
        added = players.objective(z_a, encode(gone)) - clean
    assert found["loss/clean"].item() == pytest.approx(clean.item())
    assert found["mask/adds_1"].item() == pytest.approx(0, abs=1e-12)
    assert found["mask/adds_2"].item() == pytest.approx(added.item())


@pytest.mark.parametrize(
    "recipe", ["cifar10-seamask", "stl10-adios-simsiam", "cifar10-random-block"]
)
def test_looking_waits_for_no_device(recipe, monkeypatch):
    # Tensors on `meta` have no values: what asks for one raises, where a GPU would be waited for.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no meta
    config = override(recipe_config(recipe), {
        "image_size": 32, "batch_size": 4, "masks.width": 8, "objective.hidden": (16,),
        "objective.out_dim": 8, "objective.predictor": 8, "encoder.backbone": "test_resnet",
    })  # fmt: skip
    objective = build_objective(config.objective)
    networks = build_networks(config, objective)
    players = networks_players(config, networks, objective, Processes(torch.device("meta")))
    health = Health(config, players, objective)
    pair = tuple(View(torch.empty(4, 3, 32, 32, device="meta")) for _ in "ab")
    two_player_step(players, [pair], torch.Generator())
    found, grams = health.examine(*pair, torch.Generator())
    assert {value.device.type for value in (*found.values(), grams)} == {"meta"}
    with pytest.raises(RuntimeError, match="meta"):
        float(found["loss/clean"])


def test_without_masks_only_embeddings_are_looked_at():
    health, players = health_of(NoMasker())
    two_player_step(players, [as_views()])
    found, grams = health.examine(*as_views(), torch.Generator())
    assert not any(name.startswith("mask/") for name in found)
    assert grams.shape == (1, 8, 8)


def test_embeddings_by_hand():
    torch.manual_seed(0)
    gaussian = torch.randn(4096, 16)
    found = embedding_signs(gaussian)
    assert found["embedding/spread"].item() == pytest.approx(1, abs=0.02)
    pairs = np.random.default_rng(0).integers(4096, size=(20000, 2))
    unit = torch.nn.functional.normalize(gaussian, dim=1).numpy()
    energy = [np.exp(-2 * ((unit[i] - unit[j]) ** 2).sum()) for i, j in pairs if i != j]
    assert found["embedding/uniformity"].item() == pytest.approx(
        math.log(np.mean(energy)), abs=0.05
    )
    one = torch.ones(64, 16)
    assert embedding_signs(one)["embedding/spread"].item() == pytest.approx(0, abs=1e-6)
    assert embedding_signs(one)["embedding/uniformity"].item() == pytest.approx(0, abs=1e-5)
    assert alignment(gaussian, 3 * gaussian).item() == pytest.approx(0, abs=1e-6)
    assert alignment(gaussian, -gaussian).item() == pytest.approx(4)


def test_rank_me_is_that_of_its_paper():
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 6)))
    singular = np.linalg.svd(z.numpy(), compute_uv=False)
    p = singular / singular.sum()
    assert rank_me(z @ z.T) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)
    assert rank_me(torch.ones(8, 8)) == pytest.approx(1, abs=1e-3)


# Made collapses


def line(**changed):
    """Return a healthy line of a log with four masks, but for what is changed."""
    signs = {
        "coverage": 0.25, "empty": 0.0, "full": 0.0, "from_image": 0.98, "border": 0.44,
        "overlap": 0.1, "rank": 9.0,
    }  # fmt: skip
    found = {"embedding/spread": 0.9, "embedding/rank": 30.0}
    for name, value in (signs | changed).items():
        if name == "spread":
            found["embedding/spread"] = value
            continue
        values = value if isinstance(value, list) else [value] * 4
        found |= {f"mask/{name}_{k}": v for k, v in enumerate(values, start=1)}
    return found


COLLAPSES = {
    "collapse": (line(spread=0.02), "embeddings collapse.*lower --optim.encoder.lr"),
    "extremes": (
        line(coverage=[1.0, 0.0, 0.0, 0.99], empty=[0, 1, 1, 0], full=[1, 0, 0, 0.9]),
        "all or nothing.*100 % 0 % 0 % 99 %.*raise --optim.masker.lr",
    ),
    "empty": (line(coverage=[0.6, 0, 0, 0], empty=[0, 1, 1, 1]), "all masks but one are empty"),
    "budget": (line(coverage=[0.61, 0.02, 0.02, 0.79]), "miss their budget.*asked are 25 %"),
    "place": (
        line(from_image=[0.9, 0.02, 0.9, 0.1]),
        "masks 2, 4 ignore the image: as little as 2 %.*raise --penalties.equipartition",
    ),
    "border": (line(border=[0.4, 0.4, 0.9, 0.4]), "border: 90 % of what mask 3"),
}


@pytest.mark.parametrize(("kind", "seen", "says"), [(k, *v) for k, v in COLLAPSES.items()])
def test_every_collapse_is_said_once_in_words(kind, seen, says):
    assert kind in troubles(seen, Config(), True)
    health, _ = health_of()
    said = [health.warn(seen) for _ in range(PATIENCE + 3)]
    assert [len(texts) for texts in said] == [0] * (PATIENCE - 1) + [1] + [0] * 3
    (text,) = said[PATIENCE - 1]
    assert re.search(says, text), text
    assert "\n" not in text


def test_what_goes_and_comes_back_is_said_again():
    health, _ = health_of()
    bad = COLLAPSES["budget"][0]
    assert [len(health.warn(bad)) for _ in range(PATIENCE + 1)] == [0, 0, 1, 0]
    assert [health.warn(line()) for _ in range(PATIENCE)] == [[]] * PATIENCE
    assert [len(health.warn(bad)) for _ in range(PATIENCE + 1)] == [0, 0, 1, 0]


def test_a_healthy_game_is_not_warned_of():
    health, _ = health_of()
    last_empty = line(coverage=[0.3, 0.25, 0.25, 0.0], empty=[0, 0, 0, 1])  # [Seq] appendix B
    for seen in (line(), last_empty, line(spread=0.5)):
        assert troubles(seen, Config(), True) == {}
        assert [health.warn(seen) for _ in range(5)] == [[]] * 5


def test_masks_that_come_down_to_their_budget_are_given_time():
    health, _ = health_of()
    for step in range(10):
        share = 0.6 - 0.03 * step
        assert health.warn(line(coverage=share)) == []
    assert [len(health.warn(line(coverage=0.45))) for _ in range(4)] == [0, 0, 1, 0]


def test_drawn_masks_are_not_warned_of():
    config = override(Config(), {"masker": "random-block"})
    assert troubles(line(from_image=0.0, full=1.0), config, learned=False) == {}
    health, players = health_of(RandomBlockMasker(2, 0.25))
    two_player_step(players, [as_views()], torch.Generator().manual_seed(0))
    found, _ = health.examine(*as_views(), torch.Generator().manual_seed(0))
    assert found["mask/from_image_1"] > 0.5


def test_what_is_there_already_is_not_advised():
    bad = COLLAPSES["extremes"][0]
    weak = override(Config(), {"penalties.budget": 0.2})
    assert (
        "raise --penalties.budget (now 0.2; 5 holds)" in troubles(bad, weak, True)["extremes"].text
    )
    assert "raise --optim.masker.lr" in troubles(bad, Config(), True)["extremes"].text
    fixed = line(from_image=0.0)
    text = troubles(fixed, Config(), True)["place"].text
    assert "raise --penalties.equipartition (now 0; 5 holds)" in text
    strong = override(Config(), {"penalties.equipartition": 5.0})
    assert "further (now 5), or --optim.masker.lr" in troubles(fixed, strong, True)["place"].text
    still = troubles(line(from_image=0.0, binary=0.01, adds=0.0), strong, True)["place"].text
    assert "stands still: lower --optim.masker.lr" in still
    assert "raise" not in still
    slow = troubles(line(from_image=0.0, binary=0.01, adds=0.1), strong, True)["place"].text
    assert "further (now 5), or --optim.masker.lr" in slow
    exact = override(Config(), {"budget": "exact:0.005", "penalties.budget": 0})
    assert "--penalties.budget" not in troubles(bad, exact, True)["extremes"].text


def test_a_budget_that_nobody_pays_for_is_missed_all_the_same():
    unpaid = override(Config(), {"penalties.budget": 0})
    text = troubles(line(coverage=0.91), unpaid, True)["budget"].text
    assert "asked are 25 %; raise --penalties.budget (now 0; 5 holds)" in text


def test_adios_is_told_of_its_own_penalties():
    config = override(Config(), {"masker": "simultaneous"})
    text = troubles(COLLAPSES["extremes"][0], config, True)["extremes"].text
    assert "--penalties.sparsity" in text
    assert "budget" not in text


# Runs


def test_a_run_logs_health_and_ends_with_it(tiny, tmp_path):
    summary = seamask.pretrain(out=tmp_path / "run", **tiny)
    lines = [json.loads(n) for n in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    logged = [n for n in lines if "loss/encoder" in n]
    wanted = {"embedding/spread", "embedding/rank", "embedding/alignment", "embedding/uniformity"}
    signs = ("coverage", "empty", "full", "from_image", "border", "overlap", "rank", "adds")
    wanted |= {f"mask/{sign}_{k}" for sign in signs for k in (1, 2, 3)}
    assert all(wanted <= n.keys() for n in logged)
    assert all(math.isfinite(value) for n in logged for value in n.values())
    assert {f"mask/{sign}_1" for sign in signs} <= summary.results.keys()
    assert summary.asked == 0.2


def test_masks_under_superpixel_budgets_are_looked_at_too(tiny, tmp_path):
    summary = seamask.pretrain(out=tmp_path / "run", budget="superpixel", **tiny | {"epochs": 1})
    assert "mask/from_image_1" in summary.results
    assert summary.asked is None


def test_the_end_of_a_run_says_how_its_masks_are(tiny, tmp_path, capsys):
    flags = [word for k, v in tiny.items() if k != "objective.hidden"
             for word in (f"--{k.replace('_', '-')}", str(v))]  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", "--out", str(tmp_path / "run"), "--objective.hidden", "16", *flags])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert re.search(r"masks +mask 1 +mask 2 +mask 3 +asked\n  removed, %( +\d+){3} +20\n", said)
    for label in ("from the image, %", "effective rank", "empty images, %", "adds to the loss"):
        assert re.search(rf"  {re.escape(label)}( +-?[\d.]+){{3}}\n", said), label
    assert "\nscored on 32 held-out images\n" in said
    assert re.search(r"accuracy +trained +untrained +chance\n  kNN.* 12.5 %\n", said)
    assert "\non 32 held-out images " in said
    assert "note: 48 images and 2 epochs are little to learn from" in said
    assert re.search(r"embeddings +spread [\d.]+ \(healthy: 1\), rank \d+", said)


@pytest.mark.slow
def test_the_old_default_sets_it_off(tiny, tmp_path, capfd):
    # Weight 1 in nats, LARS and the published rates aside: the budget does not hold, and masks end
    # at everything or nothing whatever the image.
    settings = tiny | {
        "data.shapes_train": 256, "batch_size": 64, "epochs": 60, "masks.width": 8,
        "masks.single": True, "updates": "simultaneous", "penalties.budget": 1 / math.log(127),
        "optim.masker.lr": 0.01, "log.masks_every": 0, "log.probe_every": 0,
        "log.checkpoint_every": 0, "log.every": 4,
    }  # fmt: skip
    summary = seamask.pretrain(out=tmp_path / "run", recipe="shapes-sequential", **settings)
    said = capfd.readouterr().err
    assert "warning: masks" in said
    assert summary.warnings
    held = seamask.pretrain(
        out=tmp_path / "held", recipe="shapes-sequential",
        **settings | {"penalties.budget": 5.0, "penalties.equipartition": 5.0},
    )  # fmt: skip
    assert held.warnings == ()
