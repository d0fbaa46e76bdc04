"""Files that add to what there is: loaded when named, and only then."""

import json
import subprocess
import sys

import pytest

from seamask.base.errors import UserError
from seamask.plugins import take_plugins

CENTRE = """
from seamask.masks import PENALTIES, Penalty

def centre(masks, budget):  # [B, N, H, W] -> scalar
    return masks[..., 10:-10, 10:-10].mean()

PENALTIES["centre"] = Penalty(centre)
"""

NORM = """
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from seamask.base.settings import Within
from seamask.evaluate import TASKS, Context, EvaluationConfig, Metric, Task
from seamask.evaluate.features import extract

@dataclass(frozen=True)
class NormConfig(EvaluationConfig):
    power: Annotated[float, Within(1)] = 2.0
    \'\'\'Of the norm that is taken.\'\'\'

def run(context: Context) -> dict[str, float]:
    backbone, data, size = context.subject.backbone, context.data, context.size
    features = extract(backbone, data.probe_test.pixels, size, data.mean, data.std)
    return {"norm": float(features.norm(context.config.power, dim=1).mean())}

TASKS.register("norm")(
    Task("length of the features", NormConfig, run, (Metric("norm"),), needs=("labels",))
)
"""

STUDY = """
methods: {SimCLR: shapes-simclr}
seeds: 1
settings: {epochs: 1, batch_size: 16, image_size: 32, data.shapes_train: 32, data.shapes_test: 32}
evaluations: {length: {task: norm, power: 3, metrics: [norm]}}
"""


def seamask(*arguments):
    command = [sys.executable, "-m", "seamask", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.ddp
def test_a_penalty_from_a_file_is_paid_in_every_process_and_never_loaded_unasked(tmp_path):
    plugin = tmp_path / "centre.py"
    plugin.write_text(CENTRE)
    out = tmp_path / "run"
    small = (
        "--data.shapes-train", 32, "--data.shapes-test", 32, "--epochs", 1, "--batch-size", 16,
        "--devices", 2, "--threads", 1, "--data.cache", tmp_path / "cache", "--out", out,
    )  # fmt: skip
    asked = ("--penalties.more", "centre=0.5", *small)
    refused = seamask("pretrain", *asked)
    assert refused.returncode == 2
    assert "unknown penalty 'centre'" in refused.stderr
    trained = seamask("pretrain", "--plugin", plugin, *asked)
    assert trained.returncode == 0, trained.stderr
    assert '"penalty/centre"' in (out / "metrics.jsonl").read_text()
    assert seamask("resume", out).returncode == 2  # a run's settings load no code
    assert seamask("resume", out, f"--plugin={plugin}").returncode == 0


@pytest.mark.slow
def test_an_evaluation_from_a_file_has_settings_of_its_own(tmp_path):
    plugin, study = tmp_path / "norm.py", tmp_path / "length.yaml"
    plugin.write_text(NORM)
    study.write_text(STUDY)
    small = ("--data.shapes-train", 32, "--data.shapes-test", 32, "--data.cache", tmp_path)
    asked = ("evaluate", "untrained:test_resnet", "norm", "--data", "shapes", "--threads", 1,
             "--image-size", 32, "--json", *small)  # fmt: skip
    refused = seamask(*asked)
    assert refused.returncode == 2
    assert "unknown evaluation 'norm'" in refused.stderr
    done = seamask(*asked, "--plugin", plugin, "--power", 3)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["protocol"]["power"] == 3
    assert result["metrics"]["norm"] > 0
    refused = seamask(*asked, "--plugin", plugin, "--power", 0)
    assert refused.stderr == "seamask: error: --power is 0.0: it must be at least 1\n"
    said = seamask("evaluate", "any/run", "norm", "--help", "--plugin", plugin).stdout
    assert "Of the norm that is taken." in said

    out = tmp_path / "out"
    done = seamask("study", study, "--plugin", plugin, "--out", out, "--data.cache", tmp_path)
    assert done.returncode == 0, done.stderr
    table = (out / "table.md").read_text()
    assert "- **length**: norm, norm on shapes; image_size 32; " in table
    assert "; power 3.0; " in table


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
        ("1 +", "SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_one_line(content, says, tmp_path):
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=says) as error:
        take_plugins(["--epochs", "1", "--plugin", str(path)])
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_the_other_arguments_stay():
    assert take_plugins(["a", "--epochs", "1"]) == ["a", "--epochs", "1"]
    with pytest.raises(UserError, match="--plugin needs the name"):
        take_plugins(["--plugin"])
