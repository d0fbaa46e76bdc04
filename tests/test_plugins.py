"""Files that add to what there is: loaded when named, and only then."""

import json
import subprocess
import sys

import pytest
import yaml

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
