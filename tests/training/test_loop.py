"""The loop: files of a run, settings that combine, probes, stopping, and what goes wrong."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs import after_each_step, assert_same_weights, config_of, lines_of, weights_of

import seamask
from seamask.base import settings
from seamask.base.errors import UserError
from seamask.config import Config
from seamask.runs import RunFolder
from seamask.training import snapshot, start_run


def test_a_run_leaves_what_it_promises(uninterrupted):
    out, _, summary = uninterrupted
    for name in (
        "config.yaml", "metrics.jsonl", "curves.png", "encoder.safetensors", "masker.safetensors",
        "manifest.json", "config.json", "masks/epoch-0001.png", "masks/epoch-0002.png",
    ):  # fmt: skip
        assert (out / name).stat().st_size > 0, name
    assert not list(out.rglob("*.tmp"))
    wanted = {
        "epoch", "step", "loss/encoder", "loss/mask", "penalty/budget", "penalty/overlap",
        "penalty/consistency", "penalty/sparsity", "penalty/entropy", "mask/coverage_1",
        "mask/binary", "lr/encoder", "lr/mask", "images_per_second", "data_wait",
    }  # fmt: skip
    logged = [line for line in lines_of(out) if "loss/encoder" in line]
    assert [line["step"] for line in logged] == [1, 2, 3, 4, 5, 6]
    assert all(wanted <= line.keys() for line in logged)
    assert all(0 <= line["data_wait"] <= 1 for line in logged)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["recipe"] == "shapes-seamask"
    assert manifest["precision"] == "fp32"
    assert manifest["results"] == summary.results
    assert {"versions", "commit", "machine", "normalization", "data", "load"} <= manifest.keys()
    scores = {"probe/knn", "probe/linear", "untrained/probe/knn"}
    scores |= {"mask/iou", "mask/iou_random", "mask/iou_colour"}
    assert scores <= summary.results.keys()


def test_config_yaml_starts_the_same_run_again(uninterrupted, tmp_path):
    out, _, _ = uninterrupted
    resolved = settings.read_yaml(out / "config.yaml", Config())
    assert yaml.safe_load((out / "config.yaml").read_text())["masks"]["budget"] == "0.2"
    assert not resolved.out  # a new run gets a folder of its own
    assert not resolved.overwrite
    start_run(settings.override(resolved, {"out": str(tmp_path / "again")}))
    assert_same_weights(out, tmp_path / "again")


def test_one_class_is_nothing_to_probe(tiny, tmp_path):
    # Labels exist, but the images of all classes but one cannot be read.
    for name in ("good", "bad"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(20):
            path = tmp_path / f"images/{name}/{k}.png"
            if name == "good":
                Image.new("RGB", (40, 40), (k * 10, 50, 90)).save(path)
            else:
                path.touch()
    summary = seamask.pretrain(
        data=tmp_path / "images", out=tmp_path / "run", recipe="shapes-sequential",
        **{**tiny, "epochs": 1, "batch_size": 8},
    )  # fmt: skip
    assert not any("probe" in name for name in summary.results)
    assert "mask/from_image_1" in summary.results  # which needs no labels
    assert len(summary.skipped) == 20
    assert (tmp_path / "run/masks/epoch-0001.png").exists()


def test_probes_do_not_change_the_training(uninterrupted, tmp_path):
    whole, tiny, _ = uninterrupted
    start_run(
        config_of(tiny, tmp_path / "no-probes", **{"log.probe_every": 0, "log.masks_every": 0})
    )
    assert_same_weights(whole, tmp_path / "no-probes")


@pytest.mark.parametrize(
    "changed",
    [
        {"masker": "none"},
        {"masker": "random-patch", "masks.patch": 8},
        {"masker": "random-block", "masks.single": True},
        {"masker": "simultaneous", "penalties.sparsity": 0.9, "masks.reduction": "sum"},
        {"masker": "sequential", "masks.single": True, "masks.detach": True},
        {"precision": "bf16"},
        {"objective": "byol", "masker": "simultaneous", "precision": "bf16"},
        pytest.param(
            {"objective": "simsiam", "masker": "random-block", "backbone": "vit_tiny_patch16_224"},
            marks=pytest.mark.slow,
        ),
        {"objective": "vicreg", "budget": "exact:0.2", "masks.disjoint": True},
        {"masker": "given", "masks.morph": "box", "accumulate": 2},
        {"budget": "superpixel", "masker": "simultaneous", "objective": "moco"},
        {"accumulate": 2},
        {"updates": "simultaneous", "stack": True, "objective": "byol"},
        {"masks.every": 2, "stack": True, "precision": "bf16"},
        pytest.param({"backbone": "vit_tiny_patch16_224"}, marks=pytest.mark.slow),
        {"encoder.stem": "small", "objective.form": "cross-view", "objective.hidden": ()},
        {"optim.encoder.optimizer": "lars", "optim.masker.optimizer": "sgd", "optim.per": "epoch"},
        {"data.limit": 32, "data.resident": "no", "views.interpolation": "bilinear"},
    ],
    ids=lambda changed: ",".join(f"{k.split('.')[-1]}={v}" for k, v in changed.items()),
)
def test_settings_combine(tiny, tmp_path, changed):
    settings = {**tiny, "epochs": 1, "log.every": 3, **changed}
    summary = seamask.pretrain(out=tmp_path / "run", **settings)
    assert all(torch.isfinite(t).all() for t in weights_of(tmp_path / "run").values())
    assert summary.results["probe/linear"] > 0


def test_an_exact_budget_moves_over_the_training(tiny, tmp_path):
    changed = {"budget": "exact:0.1->0.4", "masks.disjoint": True, "n_masks": 2}
    seamask.pretrain(out=tmp_path / "run", **{**tiny, **changed})
    lines = [line for line in lines_of(tmp_path / "run") if "loss/mask" in line]
    assert len(lines) == 6  # 2 epochs of 3 steps
    for done, line in enumerate(lines):
        expected = 0.1 + 0.3 * done / 6
        assert line["mask/coverage_1"] == pytest.approx(expected, abs=1e-4)
        assert line["mask/coverage_2"] == pytest.approx(expected, abs=1e-4)
        assert line["penalty/budget"] == pytest.approx(0, abs=1e-6)
    masks = seamask.load_masker(tmp_path / "run")(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(masks.mean((2, 3)), torch.full((2, 2), 0.4), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_compiled_networks_train(tiny, tmp_path):
    seamask.pretrain(out=tmp_path / "run", **{**tiny, "epochs": 1, "compile": True})
    assert not any("_orig_mod" in name for name in weights_of(tmp_path / "run"))


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tiny, tmp_path, monkeypatch):
    # Poison the encoder after step 4; the loss of step 5 is the first that is not finite.
    def poison(run, images, maps):
        if run.step == 4:
            with torch.no_grad():
                next(run.networks.encoder.parameters()).fill_(torch.nan)

    after_each_step(monkeypatch, poison)
    with pytest.raises(UserError, match=r"not finite at step 5 .*step-000000003\.pt"):
        start_run(config_of(tiny, tmp_path / "run"))
    state = snapshot.read(RunFolder(tmp_path / "run").latest_checkpoint())
    assert state["step"] == 3
    assert all(torch.isfinite(t).all() for t in state["encoder"].values())
    assert all(torch.isfinite(t).all() for t in weights_of(tmp_path / "run").values())


def test_out_that_holds_a_run_is_not_touched(uninterrupted, tiny, tmp_path):
    whole, _, _ = uninterrupted
    before = weights_of(whole)
    with pytest.raises(UserError, match="already holds a run"):
        seamask.pretrain(out=whole, **tiny)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights_of(whole).items())
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="not a run"):
            seamask.pretrain(out=tmp_path / "letters", overwrite=overwrite, **tiny)
    assert (tmp_path / "letters/dear.txt").exists()


def test_overwrite_replaces_a_run(tiny, tmp_path):
    for epochs in (2, 1):
        changed = {**tiny, "epochs": epochs, "overwrite": True}
        seamask.pretrain(out=tmp_path / "run", **changed)
    assert [line["step"] for line in lines_of(tmp_path / "run") if "loss/mask" in line] == [1, 2, 3]
    assert not (tmp_path / "run/masks/epoch-0002.png").exists()


def test_nothing_is_created_for_a_run_that_cannot_start(tiny, tmp_path):
    with pytest.raises(UserError, match="--batch-size 48 or less"):
        seamask.pretrain(out=tmp_path / "run", **{**tiny, "batch_size": 64})
    with pytest.raises(UserError, match="no such folder"):
        seamask.pretrain(data=tmp_path / "none", out=tmp_path / "run", **tiny)
    assert not (tmp_path / "run").exists()


def test_masks_of_a_budget_that_moves_are_shown_as_they_were(tiny, tmp_path):
    config = config_of(tiny, tmp_path / "run", budget="exact:0.1->0.6", epochs=2)
    start_run(config)
    for epoch, share in ((1, 0.35), (2, 0.6)):
        with np.load(tmp_path / f"run/masks/epoch-{epoch:04d}.npz") as kept:
            assert kept["shares"] == pytest.approx(share, abs=1e-3)
            assert kept["masks"].mean() / 255 == pytest.approx(share, abs=5e-3)
