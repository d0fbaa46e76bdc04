"""How long a run will take, said within its first seconds."""

import re
import statistics
from collections import Counter

import pytest
import torch
import yaml
from runs import config_of, lines_of

from seamask.base.settings import override, to_dict
from seamask.commands import parse_pretrain
from seamask.recipes import recipe_config
from seamask.runs import RunFolder
from seamask.speed.timing import in_turns
from seamask.training import pace, start_run
from seamask.training.pace import first_views, step_seconds, views_of
from seamask.training.preflight import preflight
from seamask.training.processes import Processes
from seamask.training.run import Run
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

    def estimate():
        spent: Counter = Counter()

        def hear(name, seconds):
            if not spent["encoder passes"]:
                spent[name] += seconds

        with pace.heard(hear):
            work.step()
        return step_seconds(config, spent, learned=True)[0]

    work.step()
    estimated = min(estimate() for _ in range(5))
    taken = min(in_turns({"": work.step}, torch.device("cpu"), rounds=5)[""])
    assert 0.3 < estimated / taken < 3


def test_a_run_says_it_before_its_first_step_is_over(tiny, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(pace, "PATIENCE", 0.01)  # seconds: less than any machine takes
    start_run(config_of(tiny, tmp_path / "run", **{"data.shapes_train": 64, "epochs": 4}))
    (line,) = [x for x in capfd.readouterr().err.splitlines() if "in about an hour" in x]
    assert line.startswith("about ")
    flags = line.rpartition(": ")[2].split()
    assert flags[::2] <= ["--data.limit", "--epochs", "--optim.warmup-epochs"]
    assert int(flags[flags.index("--epochs") + 1]) <= 4


@pytest.mark.parametrize("changed", [
    {"encoder.patch": 4}, {"encoder.patch": 0}, {"encoder.patch": 4, "masks.drop": 0.5},
])  # fmt: skip
def test_what_would_fit_can_be_asked_for_with_a_vit(tiny, tmp_path, changed):
    more = {"encoder.backbone": "vit_tiny_patch16_224", "image_size": 32, "epochs": 300}
    config = config_of(tiny, tmp_path / "run", **more, **changed)
    run = Run(Processes(torch.device("cpu")), config, RunFolder(tmp_path / "run"))
    flags = pace.fitting(run, step=60.0, share=0.9).split()
    assert ("--backbone" in flags) == ("masks.drop" not in changed)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    preflight(parse_pretrain(["--config", str(tmp_path / "config.yaml"), *flags]))
    assert "about an hour" in pace.told(run, 60.0, 0.9, "4 steps")
    assert "about an hour" not in pace.told(run, 60.0, 0.9, "4 steps", new=False)


def test_what_it_says_leaves_out_the_first_step(tiny, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(pace, "SLOW", 600.0)  # seconds: more than a step of a busy machine
    start_run(config_of(tiny, tmp_path / "run", **{"data.shapes_train": 128}))
    (said,) = re.findall(
        r"about (\S+) s a step, (.*) to the end of epoch 2 \(from 4 steps\)", capfd.readouterr().err
    )
    rates = [
        line["images_per_second"] for line in lines_of(tmp_path / "run") if "loss/encoder" in line
    ]
    assert 0.2 < float(said[0]) / statistics.median(16 / rate for rate in rates) < 2
