"""How long a run will take, said within its first seconds."""

import re
import statistics
from collections import Counter

import pytest
import torch
from runs import config_of, lines_of

from seamask.base.settings import override
from seamask.recipes import recipe_config
from seamask.speed.timing import in_turns
from seamask.training import pace, start_run
from seamask.training.pace import first_views, step_seconds, views_of
from seamask.training.workload import Workload


@pytest.mark.parametrize(("changed", "views", "first"), [
    ({"n_masks": 3}, (1, 3), 1),
    ({"n_masks": 3, "masks.single": True}, (1, 1), 1),
    ({"n_masks": 3, "masks.stack": True}, (1, 3), 4),
    ({"masker": "none"}, (1, 1), 1),
    ({"n_masks": 2, "masks.compare": ("each", "none")}, (2, 4), 2),
    ({"n_masks": 2, "masks.compare": ("both",)}, (0, 4), 0),
])  # fmt: skip
def test_views_of_a_step(changed, views, first):
    config = override(recipe_config("shapes-sequential"), changed)
    assert views_of(config) == views
    assert first_views(config) == first


def test_passes_of_a_step():
    config = override(recipe_config("shapes-sequential"), {"n_masks": 3})
    spent = Counter({"views": 1.0, "mask network": 2.0, "encoder passes": 1.0})
    # The encoder: 4 views forward and backward; the masker: 4 forward, 3 backward to the images.
    assert step_seconds(config, spent, learned=True) == (19 + 3 * 2 + 1, 19)
    at_once = override(config, {"updates": "simultaneous"})
    assert step_seconds(at_once, spent, learned=True) == (12 + 3 * 2 + 1, 12)
    assert step_seconds(config, spent, learned=False) == (12 + 2 + 1, 12)


def test_the_estimate_is_about_what_a_step_takes():
    config = override(recipe_config("folder-seamask"), {"batch_size": 16, "image_size": 64})
    work = Workload(config, torch.device("cpu"))
    spent: Counter = Counter()

    def hear(name, seconds):
        if not spent["encoder passes"]:
            spent[name] += seconds

    work.step()
    with pace.heard(hear):
        work.step()
    taken = min(in_turns({"": work.step}, torch.device("cpu"), rounds=3)[""])
    assert 0.3 < step_seconds(config, spent, learned=True)[0] / taken < 3


def test_a_run_says_it_before_its_first_step_is_over(tiny, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(pace, "PATIENCE", 0.01)  # seconds: less than any machine takes
    start_run(config_of(tiny, tmp_path / "run", **{"data.shapes_train": 64, "epochs": 4}))
    (line,) = [x for x in capfd.readouterr().err.splitlines() if "in about an hour" in x]
    assert line.startswith("about ")
    flags = line.rpartition(": ")[2].split()
    assert flags[::2] <= ["--data.limit", "--epochs", "--optim.warmup-epochs"]
    assert int(flags[flags.index("--epochs") + 1]) <= 4


def test_what_it_says_leaves_out_the_first_step(tiny, tmp_path, capfd):
    start_run(config_of(tiny, tmp_path / "run", **{"data.shapes_train": 128}))
    (said,) = re.findall(
        r"about (\S+) s a step, (.*) to the end of epoch 2 \(from 4 steps\)", capfd.readouterr().err
    )
    rates = [
        line["images_per_second"] for line in lines_of(tmp_path / "run") if "loss/encoder" in line
    ]
    assert 0.2 < float(said[0]) / statistics.median(16 / rate for rate in rates) < 2
