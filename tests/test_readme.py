"""The papers tell the truth: names and links exist, numbers are counted."""

import re
import tomllib
import traceback
from pathlib import Path

import numpy as np
import pytest

import default_run
import seamask
from command import call
from seamask.base.documents import read_json
from seamask.base.registry import with_parts
from seamask.base.settings import differences, from_dict
from seamask.config import Config
from seamask.objectives import SimCLR
from seamask.recipes import recipe_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()


def test_what_it_shows_of_the_default_run_is_of_the_recipes_of_today():
    # Else: python docs/results/default_run.py
    measured = read_json(default_run.MEASURED)
    losses = read_json(default_run.LOSSES)
    for recipe in default_run.RECIPES:
        then = from_dict(measured["settings"][recipe], with_parts(Config()))
        assert list(differences(then, recipe_config(recipe))) == []
        assert np.array(measured["losses"][recipe]) == pytest.approx(np.array(losses[recipe]))
    assert default_run.digest(default_run.PICTURE) == measured["picture"]
    assert default_run.block(measured) in README
    assert f"{default_run.row(measured)}\n" in README


def test_it_is_short():
    assert len(README.splitlines()) <= 170


def test_every_public_name_is_there_and_documented():
    for name in seamask.__all__:
        assert getattr(seamask, name).__doc__, name


@pytest.mark.parametrize("paper", ["README", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG"])
def test_links_lead_somewhere(paper):
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / f"{paper}.md").read_text()):
        assert (ROOT / link).exists(), link


def test_the_architecture_names_what_exists():
    rooms = ROOT / "src" / "seamask"
    for room, name in re.findall(r"`([\w/]+\.py)(?:: (\w+))?", ARCHITECTURE):
        assert any(name in file.read_text() for file in rooms.rglob(room)), (room, name)


def test_the_architecture_has_the_layers_that_are_checked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = project["tool"]["importlinter"]["contracts"]
    block = ARCHITECTURE.partition("    cli ")[1:]
    lines = "".join(block).partition("\n\n")[0].splitlines()
    assert [re.split(" {3,}", line.strip())[0] for line in lines] == contract["layers"]


def test_frames_from_the_command_to_the_loss(tiny, tmp_path, monkeypatch):
    (written,) = re.findall(r"there are (\d+) functions of ours", ARCHITECTURE)
    stacks = []

    def loss(objective, anchor, other):
        stacks.append(traceback.extract_stack()[:-1])
        return anchor.sum() + other.sum()

    monkeypatch.setattr(SimCLR, "loss", loss)
    settings = tiny | {"epochs": 1, "objective.hidden": 16, "out": tmp_path / "run"}
    words = [w for n, v in settings.items() for w in (f"--{n.replace('_', '-')}", v)]
    assert call("pretrain", *words) == 0
    package = Path(seamask.__file__).parent
    ours = [frame for frame in stacks[0] if package in Path(frame.filename).parents]
    assert len(ours) == int(written)
