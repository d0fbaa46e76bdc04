"""Files that add to what there is: loaded when named, and only then."""

import json
import subprocess
import sys

import pytest
import yaml
from safetensors.torch import load_file

from seamask.base.errors import UserError
from seamask.plugins import take_plugins

CENTRE = """
from seamask.masks import PENALTIES, Penalty

def centre(masks, budget):  # [B, N, H, W] -> scalar
    return masks[..., 10:-10, 10:-10].mean()

PENALTIES["centre"] = Penalty(centre)
"""

GREYS = """
from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np

from seamask.base.settings import Within
from seamask.data import SOURCES, Plan, Source, Split, array_chunks


@dataclass(frozen=True)
class GreysSettings:
    greys_count: Annotated[int, Within(1)] = 8
    \"\"\"How many shades there are.\"\"\"


@SOURCES.register("greys", GreysSettings)
def greys(config: GreysSettings, size: int, seed: int) -> Source:
    def plan() -> Plan:
        shades = np.arange(config.greys_count, dtype=np.uint8)[:, None, None, None]
        images = np.tile(shades, (1, 16, 16, 3))
        chunks = partial(array_chunks, images, None, size)
        return Plan({"train": Split(config.greys_count, chunks, labelled=False)})

    return Source("greys", lambda: str(config.greys_count), plan, images=config.greys_count)
"""

BLUR = """
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from seamask.base.settings import Within
from seamask.masks import MASKERS

@dataclass(frozen=True)
class BlurSettings:
    kernel: Annotated[int, Within(1)] = 3

class Blur(nn.Module):
    learned = True

    def __init__(self, n_masks, kernel):
        super().__init__()
        self.layer = nn.Conv2d(3, n_masks, kernel, padding=kernel // 2)

    def forward(self, images, generator=None, objects=None):  # [B, 3, H, W] -> [B, N, H, W]
        return self.layer(images).sigmoid()

@MASKERS.register("blur", BlurSettings)
def blur(settings, image_size):
    return Blur(settings.n_masks, settings.kernel)
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
    features = extract(backbone, data.probe_test.pixels, size, *data.normalization)
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
@pytest.mark.ddp
def test_a_data_set_from_a_file_brings_its_own_settings(tmp_path):
    plugin = tmp_path / "greys.py"
    plugin.write_text(GREYS)
    out, cache = tmp_path / "run", tmp_path / "cache"
    asked = (
        "pretrain", "shapes-seamask", "--data", "greys", "--data.greys-count", 20, "--epochs", 1,
        "--image-size", 16, "--batch-size", 8, "--devices", 2, "--threads", 1,
        "--data.cache", cache, "--out", out,
    )  # fmt: skip
    wrong = seamask(*asked, "--plugin", plugin, "--data.greys-count", 0)
    assert "--data.greys-count is 0: it must be at least 1" in wrong.stderr
    assert "How many shades there are." in seamask(*asked, "--help", "--plugin", plugin).stdout
    trained = seamask(*asked, "--plugin", plugin)
    assert trained.returncode == 0, trained.stderr
    (store,) = cache.glob("greys-*-16")
    assert json.loads((store / "meta.json").read_text())["splits"]["train"]["n"] == 20
    assert sorted(set((store / "train.pixels").read_bytes())) == list(range(20))
    assert yaml.safe_load((out / "config.yaml").read_text())["data"]["greys_count"] == 20
    assert "greys" in json.loads((out / "manifest.json").read_text())["data"].values()
    assert seamask("resume", out, "--plugin", plugin).returncode == 0


@pytest.mark.slow
@pytest.mark.ddp
def test_a_masker_from_a_file_has_settings_of_its_own_in_every_process(tmp_path):
    plugin = tmp_path / "blur.py"
    plugin.write_text(BLUR)
    out = tmp_path / "run"
    asked = (
        "--masker", "blur", "--masks.kernel", 5, "--n-masks", 2, "--data.shapes-train", 32,
        "--data.shapes-test", 0, "--epochs", 1, "--batch-size", 16, "--devices", 2, "--threads", 1,
        "--data.cache", tmp_path / "cache", "--out", out,
    )  # fmt: skip
    trained = seamask("pretrain", "--plugin", plugin, *asked)
    assert trained.returncode == 0, trained.stderr
    assert load_file(out / "masker.safetensors")["layer.weight"].shape == (2, 3, 5, 5)
    resumed = seamask("resume", out, "--plugin", plugin)
    assert resumed.returncode == 0, resumed.stderr
    wrong = seamask("pretrain", "--plugin", plugin, "--masker", "blur", "--masks.kernel", 0)
    assert wrong.returncode == 2
    assert "--masks.kernel is 0: it must be at least 1" in wrong.stderr


@pytest.mark.slow
def test_a_masker_from_a_file_can_be_measured(tmp_path):
    plugin = tmp_path / "blur.py"
    plugin.write_text(BLUR)
    measured = seamask(
        "bench", "shapes-sequential", "--plugin", plugin, "--masker", "blur", "--masks.kernel", 5,
        "--seconds", 0.5, "--image-size", 16, "--batch-size", 8, "--threads", 1,
        "--figure", tmp_path / "bench.png",
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
    assert "blur masks" in measured.stdout
    assert "--updates simultaneous" in measured.stdout  # only of masks that are learned


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
