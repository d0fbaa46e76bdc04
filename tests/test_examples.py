"""The examples: each adds its part, with a setting of its own, by the command line alone."""

import ast
import json
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from command import call, parts_of_seamask
from seamask.base.registry import with_parts
from seamask.base.settings import leaves
from seamask.config import Config
from seamask.data import SOURCES
from seamask.evaluate import TASKS, task_config
from seamask.masks import MASKERS, PENALTIES
from seamask.objectives import OBJECTIVES
from seamask.plugins import load_plugin

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "plugins"
ADDS = {
    "masker": (MASKERS, "discs", "masks.radius"),
    "objective": (OBJECTIVES, "barlow", "objective.off_diagonal"),
    "source": (SOURCES, "npz", "data.npz_file"),
    "evaluation": (TASKS, "uniformity", "t"),
    "penalty": (PENALTIES, "soft", "penalties.soft"),
}
PUBLIC = {f"seamask.{room}" for room in ("masks", "objectives", "data", "evaluate", "views")}
PUBLIC |= {"seamask.base.settings", "seamask.base.errors"}


def plugin(name):
    return "--plugin", EXAMPLES / f"{name}.py"


def small(folder):
    """Recipe and settings of a run of one epoch of two steps."""
    return (
        "shapes-seamask",
        "--epochs", 1, "--image-size", 16, "--batch-size", 16, "--device", "cpu", "--threads", 1,
        "--data.shapes-train", 32, "--data.shapes-test", 0, "--data.cache", folder / "cache",
        "--masks.width", 4, "--objective.hidden", 16, "--objective.out-dim", 8, "--log.every", 1,
    )  # fmt: skip


def first_line(tmp_path, *arguments):
    """Return the first line of the log of a small run."""
    out = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
    assert call("pretrain", *small(tmp_path), "--out", out, *arguments) == 0
    return json.loads((out / "metrics.jsonl").read_text().splitlines()[0])


def complaint(capsys, *arguments):
    """Return the line that the command says about a mistake."""
    capsys.readouterr()
    assert call(*arguments) == 2
    return capsys.readouterr().err.removeprefix("seamask: error: ").strip()


def example(name):
    """Return the names that an example defines."""
    with parts_of_seamask():
        return run_path(str(EXAMPLES / f"{name}.py"))


def test_there_is_one_for_each_kind_of_part():
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(ADDS)


@pytest.mark.parametrize("name", ADDS)
def test_it_is_one_file_of_public_names_and_nothing_else_knows_it(name):
    registry, part, setting = ADDS[name]
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text())
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {module for module in imported if module.startswith("seamask")} <= PUBLIC
    assert part not in registry
    for file in (ROOT / "src").rglob("*.py"):
        if file.name not in ("commands.py", "mask_files.py"):  # forms of files have such names
            assert f'"{part}"' not in file.read_text(), file
    with parts_of_seamask():
        load_plugin(EXAMPLES / f"{name}.py")
        assert part in registry
        config = task_config(part) if registry is TASKS else with_parts(Config())
        assert setting in dict(leaves(type(config)))


def test_masker(tmp_path, capsys):
    asked = (*plugin("masker"), "--masker", "discs", "--masks.radius")
    few, many = (first_line(tmp_path, *asked, radius) for radius in (0.1, 0.4))
    assert few["mask/coverage_1"] == pytest.approx(np.pi * 0.1**2, abs=0.02)
    assert many["mask/coverage_1"] == pytest.approx(np.pi * 0.4**2, abs=0.1)
    says = complaint(capsys, "pretrain", *asked, 0)
    assert says == "--masks.radius is 0.0: it must be above 0 and at most 1"

    masker = example("masker")["DiscMasker"](2, 0.3)
    masks = masker(torch.randn(5, 3, 24, 40))
    assert masks.shape == (5, 2, 24, 40)
    masks[:, :, :12].sum().backward()  # half the image: whole discs weigh the same everywhere
    assert all(p.grad.isfinite().all() and p.grad.any() for p in masker.parameters())


def test_objective(tmp_path):
    asked = (*plugin("objective"), "--objective", "barlow", "--objective.off-diagonal")
    without, with_it = (first_line(tmp_path, *asked, weight) for weight in (0, 1))
    assert without["loss/encoder"] < with_it["loss/encoder"]

    a, b = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0)).double()
    c = np.corrcoef(a.T, b.T)[:4, 4:]  # [D, D], of each dimension of a with each of b
    literal = sum((1 - c[i, i]) ** 2 for i in range(4))
    literal += 0.3 * sum(c[i, j] ** 2 for i in range(4) for j in range(4) if i != j)
    ours = example("objective")["barlow_twins"](a, b, 0.3)
    assert ours.item() == pytest.approx(literal, rel=1e-3)  # 1e-5 is added to deviations


def greys(file, shades, **more):
    """Write grey images of one shade each."""
    images = np.tile(np.array(shades, np.uint8)[:, None, None], (1, 16, 16))
    np.savez(file, train_images=images, **more)


def test_source(tmp_path, capsys, monkeypatch):
    greys(tmp_path / "a.npz", range(20), train_labels=np.arange(20)[:, None] % 2)
    greys(tmp_path / "b.npz", range(100, 116))
    (tmp_path / "c.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:99])  # cut short
    monkeypatch.chdir(tmp_path)
    asked = (*plugin("source"), "--data", "npz", "--data.npz-file")
    for file in ("a.npz", "b.npz"):
        assert "loss/encoder" in first_line(tmp_path, *asked, file, "--data.root", ".")
    stores = {
        json.loads((s / "meta.json").read_text())["splits"]["train"]["n"]: (s / "train.pixels")
        for s in tmp_path.glob("cache/npz-*-16")
    }
    assert {n: sorted(set(file.read_bytes())) for n, file in stores.items()} == {
        20: list(range(20)), 16: list(range(100, 116)),
    }  # fmt: skip
    config = yaml.safe_load((tmp_path / "run1" / "config.yaml").read_text())
    assert config["data"]["npz_file"] == "b.npz"
    monkeypatch.chdir(ROOT)  # the run knows where its data is
    assert call("resume", tmp_path / "run1", *plugin("source")) == 0
    run = (*small(tmp_path), "--out", tmp_path / "none", "--data.root", tmp_path)
    for file, says in (("c.npz", "holds no uint8 array"), ("d.npz", "No such file")):
        said = complaint(capsys, "pretrain", *run, *asked, file)
        assert f"{tmp_path / file}" in said
        assert says in said


STUDY = """
methods: {SimCLR: shapes-simclr}
seeds: 1
settings: {epochs: 1, batch_size: 16, image_size: 16, data.shapes_train: 32, data.shapes_test: 32}
evaluations: {spread: {task: uniformity, t: 3, metrics: [uniformity]}}
"""


def test_evaluation(tmp_path, capsys):
    asked = (
        "evaluate", "untrained:test_resnet", "uniformity", "--data", "shapes", "--threads", 1,
        "--image-size", 16, "--data.shapes-train", 32, "--data.shapes-test", 32,
        "--data.cache", tmp_path, "--json",
    )  # fmt: skip
    assert "unknown evaluation 'uniformity'" in complaint(capsys, *asked)
    found = []
    for t in (1, 4):
        assert call(*asked, *plugin("evaluation"), "--t", t) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert [one["protocol"]["t"] for one in found] == [1, 4]
    low, high = (one["metrics"] for one in found)
    assert low["alignment"] == high["alignment"] > 0
    assert 0 > low["uniformity"] > high["uniformity"]
    assert complaint(capsys, *asked, *plugin("evaluation"), "--t", 0) == (
        "--t is 0.0: it must be above 0"
    )
    assert call("evaluate", "any/run", "uniformity", "--help", *plugin("evaluation")) == 0
    assert "Power of the distance between two views" in capsys.readouterr().out

    scope = example("evaluation")
    x, y = torch.nn.functional.normalize(torch.randn(2, 5, 3), dim=2)
    distances = [float((x[i] - x[j]).norm()) for i in range(5) for j in range(i)]
    literal = np.log(np.mean(np.exp(-3 * np.square(distances))))
    assert scope["uniformity"](x, 3) == pytest.approx(literal, rel=1e-5)
    literal = np.mean([float((x[i] - y[i]).norm()) ** 3 for i in range(5)])
    assert scope["alignment"](x, y, 3) == pytest.approx(literal, rel=1e-5)


@pytest.mark.slow
def test_a_study_has_its_evaluation(tmp_path):
    study, out = tmp_path / "spread.yaml", tmp_path / "out"
    study.write_text(STUDY)
    asked = ("study", study, "--out", out, "--data.cache", tmp_path / "cache", "--threads", 1)
    assert call(*asked, *plugin("evaluation")) == 0
    table = (out / "table.md").read_text()
    assert "- **spread: uniformity**: uniformity, uniformity on shapes; image_size 16; " in table
    assert "; t 3.0" in table


def test_penalty(tmp_path, capsys):
    asked = (*plugin("penalty"), "--penalties.soft")
    free, paid = (first_line(tmp_path, *asked, weight) for weight in (0, 0.5))
    # Both runs have the same masks in their first step; the price is in units of NT-Xent's range.
    price = 0.5 * np.log(2 * 16 - 1) * free["penalty/soft"]
    assert paid["loss/mask"] - free["loss/mask"] == pytest.approx(price, rel=1e-4)
    says = complaint(capsys, "pretrain", *asked, -1)
    assert says == "--penalties.soft is -1.0: it must be at least 0"


@pytest.mark.slow
@pytest.mark.ddp
def test_they_combine_in_every_process_and_are_never_loaded_unasked(tmp_path, capsys):
    greys(tmp_path / "a.npz", range(32))
    out = tmp_path / "run"
    files = [word for name in ADDS for word in plugin(name)]
    asked = (
        *small(tmp_path), "--data", "npz", "--data.root", tmp_path, "--data.npz-file", "a.npz",
        "--masker", "discs", "--masks.radius", 0.2, "--n-masks", 2, "--objective", "barlow",
        "--objective.off-diagonal", 0.01, "--penalties.soft", 0.5, "--devices", 2, "--out", out,
    )  # fmt: skip
    assert "unknown setting" in complaint(capsys, "pretrain", *asked)
    assert call("pretrain", *asked, *files) == 0
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["mask/coverage_2"] == pytest.approx(np.pi * 0.2**2, abs=0.05)
    assert line["penalty/soft"] > 0
    assert load_file(out / "masker.safetensors")["places.6.weight"].shape == (4, 512)
    assert "unknown setting" in complaint(capsys, "resume", out)  # settings of a run load no code
    assert call("evaluate", out, "uniformity", "--json", "--threads", 1, *files) == 0


@pytest.mark.slow
def test_masks_of_an_example_can_be_measured(tmp_path, capsys):
    measured = call(
        "bench", "shapes-sequential", *plugin("masker"), "--masker", "discs", "--masks.radius",
        0.2, "--seconds", 0.5, "--image-size", 16, "--batch-size", 8, "--threads", 1,
        "--figure", tmp_path / "bench.png",
    )  # fmt: skip
    said = capsys.readouterr().out
    assert measured == 0
    assert "discs masks" in said
    assert "simultaneous" in said  # tried, or named as untried: only of masks that are learned
