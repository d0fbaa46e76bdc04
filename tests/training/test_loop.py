"""The loop: resuming, stopping, probing, files of a run, and what goes wrong."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import seamask
from seamask.base import settings
from seamask.base.errors import UserError
from seamask.config import Config
from seamask.recipes import recipe_config
from seamask.runs import RunFolder
from seamask.training import Stopped, resume_run, snapshot, start_run
from seamask.training.run import Run


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights_of(run):
    return {
        f"{part}.{name}": tensor
        for part in ("encoder", "masker")
        for name, tensor in load_file(run / f"{part}.safetensors").items()
    }


def assert_same_weights(a, b):
    ours, theirs = weights_of(a), weights_of(b)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def after_each_step(monkeypatch, do):
    """Have `do(run, images, maps)` called after each step of a run."""
    take_step = Run.take_step

    def take_step_and_do(run, images, maps):
        step = take_step(run, images, maps)
        do(run, images, maps)
        return step

    monkeypatch.setattr(Run, "take_step", take_step_and_do)


def signal_after(monkeypatch, step):
    """Send the signal to stop when a run has taken that many steps."""

    def signal_then(run, images, maps):
        if run.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    after_each_step(monkeypatch, signal_then)


def config_of(tiny, out, **changed):
    return settings.override(recipe_config("shapes-seamask"), {**tiny, "out": str(out), **changed})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cache):
    """A finished run of 2 epochs of 3 steps, and its settings."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    tiny = {
        "data.cache": str(cache), "data.shapes_train": 48, "data.shapes_test": 32,
        "image_size": 32, "batch_size": 16, "epochs": 2, "masks.width": 4,
        "objective.hidden": (16,), "objective.out_dim": 8, "optim.warmup_epochs": 1,
        "log.every": 1, "device": "cpu", "threads": 1,
        "log.keep_checkpoints": 9, "log.masks_every": 1, "log.probe_every": 1,
    }  # fmt: skip
    return out, tiny, seamask.pretrain(out=out, **tiny)


def test_a_run_leaves_what_it_promises(uninterrupted):
    out, _, summary = uninterrupted
    for name in (
        "config.yaml", "metrics.jsonl", "curves.png", "encoder.safetensors", "masker.safetensors",
        "manifest.json", "masks/epoch-0001.png", "masks/epoch-0002.png",
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
    assert manifest["results"] == summary.results
    assert {"versions", "commit", "machine", "normalization", "data", "load"} <= manifest.keys()
    assert {"probe/knn", "probe/linear", "untrained/probe/knn", "mask/iou", "mask/iou_random"} <= (
        summary.results.keys()
    )


def test_config_yaml_starts_the_same_run_again(uninterrupted, tmp_path):
    out, _, _ = uninterrupted
    resolved = settings.read_yaml(out / "config.yaml", Config())
    assert yaml.safe_load((out / "config.yaml").read_text())["masks"]["budget"] == "0.2"
    assert not resolved.out  # a new run gets a folder of its own
    assert not resolved.overwrite
    start_run(settings.override(resolved, {"out": str(tmp_path / "again")}))
    assert_same_weights(out, tmp_path / "again")


def test_resume_refuses_other_settings(uninterrupted, tmp_path):
    whole, _, _ = uninterrupted
    out = shutil.copytree(whole, tmp_path / "edited")
    lines = yaml.safe_load((out / "config.yaml").read_text())
    lines["seed"] = 7
    (out / "config.yaml").write_text(yaml.safe_dump(lines))
    with pytest.raises(UserError, match="trained with seed 0"):
        resume_run(out)


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


@pytest.mark.parametrize("stop_at", [2, 3, 5])
def test_resumed_equals_uninterrupted(uninterrupted, tmp_path, monkeypatch, stop_at):
    whole, tiny, _ = uninterrupted
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        signal_after(patch, stop_at)  # in the middle of an epoch, or at its end
        with pytest.raises(Stopped, match="seamask resume"):
            start_run(config_of(tiny, out))
    assert RunFolder(out).latest_checkpoint().name == f"step-{stop_at:09d}.pt"
    resume_run(out)
    assert_same_weights(whole, out)
    timing = {"images_per_second", "data_wait"}
    for ours, theirs in zip(lines_of(out), lines_of(whole), strict=True):
        for name in theirs.keys() - timing:
            assert ours[name] == theirs[name], name


def test_a_run_with_label_maps_resumes_to_the_same_weights(uninterrupted, tmp_path, monkeypatch):
    _, tiny, _ = uninterrupted
    tiny = {**tiny, "budget": "exact:superpixel", "log.masks_every": 0, "log.probe_every": 0}
    start_run(config_of(tiny, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        signal_after(patch, 4)
        with pytest.raises(Stopped):
            start_run(config_of(tiny, tmp_path / "stopped"))
    resume_run(tmp_path / "stopped")
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_given_masks_of_a_folder_come_with_their_images_and_resume(
    uninterrupted, tmp_path, monkeypatch
):
    _, tiny, _ = uninterrupted
    for k in range(48):  # the colour of an image is its label
        for folder, value in (("images", k * 5), ("maps", k)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("L", (40, 40), value).save(tmp_path / folder / f"{k}.png")
    given = {"data": str(tmp_path / "images"), "data.objects": str(tmp_path / "maps")}
    tiny = {**tiny, **given, "masker": "given", "n_masks": 2}
    start_run(config_of(tiny, tmp_path / "whole"))
    seen = []

    def look(run, images, maps):
        assert torch.equal(images.amax((1, 2, 3)), maps.amax((1, 2)) * 5)
        seen.extend(maps[:, 0, 0].tolist())

    after_each_step(monkeypatch, look)
    with monkeypatch.context() as patch:
        signal_after(patch, 2)
        with pytest.raises(Stopped):
            start_run(config_of(tiny, tmp_path / "stopped"))
    resume_run(tmp_path / "stopped")
    assert sorted(seen) == sorted([*range(48), *range(48)])  # each image once in both epochs
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_resume_drops_what_was_logged_after_the_checkpoint(uninterrupted, tmp_path):
    # A kill -9 in epoch 2 leaves the checkpoint of epoch 1 and lines beyond it.
    whole, tiny, _ = uninterrupted
    out = tmp_path / "killed"
    start_run(config_of(tiny, out))
    (out / "checkpoints/step-000000006.pt").unlink()
    resume_run(out)
    assert_same_weights(whole, out)
    assert [line["step"] for line in lines_of(out)] == [line["step"] for line in lines_of(whole)]


def test_resuming_a_finished_run_changes_nothing(uninterrupted):
    out, _, summary = uninterrupted
    before = weights_of(out)
    again = resume_run(out)
    assert again.results == pytest.approx(summary.results)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights_of(out).items())


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
    summary = seamask.pretrain(out=tmp_path / "run", **{**tiny, "epochs": 1, **changed})
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


def test_tensorboard(tiny, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seamask.pretrain(out=tmp_path / "run", **{**tiny, "epochs": 1, "log.tensorboard": True})
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert len(events.Scalars("loss/encoder")) == 3


@pytest.mark.slow
def test_compiled_networks_train(tiny, tmp_path):
    seamask.pretrain(out=tmp_path / "run", **{**tiny, "epochs": 1, "compile": True})
    assert not any("_orig_mod" in name for name in weights_of(tmp_path / "run"))


# What goes wrong ------------------------------------------------------------------------------


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


class Payload:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "foreign", "code", "other model"])
def test_damaged_and_foreign_checkpoints(tiny, tmp_path, capsys, damage):
    out = tmp_path / "run"
    start_run(config_of(tiny, out))
    path = RunFolder(out).latest_checkpoint()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("no checkpoint at all")
    elif damage == "foreign":
        torch.save({"state_dict": {}}, path)
    elif damage == "code":
        torch.save({"format": snapshot.FORMAT, "step": Payload()}, path)
    else:
        state = snapshot.read(path)
        state["masker"] = {"other": torch.zeros(1)}
        torch.save(state, path)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"step-000000006\.pt"):
        resume_run(out)
    assert "code from a checkpoint ran" not in capsys.readouterr().out
    assert path.read_bytes() == before


def test_resume_refuses_other_images(tiny, tmp_path):
    out = tmp_path / "run"
    start_run(config_of(tiny, out))
    lines = yaml.safe_load((out / "config.yaml").read_text())
    lines["data"]["shapes_train"] = 64
    (out / "config.yaml").write_text(yaml.safe_dump(lines))
    with pytest.raises(UserError, match="have changed since"):
        resume_run(out)


def test_a_full_disk_loses_nothing(tiny, tmp_path):
    # A limit on file sizes stands in for a full disk: writing past it fails in the same places.
    out = tmp_path / "run"
    start_run(config_of(tiny, out, epochs=1))
    before = weights_of(out)
    kept = RunFolder(out).latest_checkpoint().read_bytes()
    code = (
        "import resource, signal, sys; from seamask.cli import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(kept) // 2}, {resource.RLIM_INFINITY}));"
        "main(sys.argv[1:])"
    )
    lines = yaml.safe_load((out / "config.yaml").read_text())
    lines["epochs"] = 2
    (out / "config.yaml").write_text(yaml.safe_dump(lines))
    done = subprocess.run(
        [sys.executable, "-c", code, "resume", str(out)], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("seamask: error: cannot write")
    assert "Traceback" not in done.stderr
    assert RunFolder(out).latest_checkpoint().read_bytes() == kept
    assert all(torch.equal(before[name], tensor) for name, tensor in weights_of(out).items())
    assert not list(out.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.ddp)])
def test_a_signal_to_the_command_saves_and_says_how_to_go_on(tiny, tmp_path, devices):
    out = tmp_path / "run"
    changed = {**tiny, "epochs": 500, "devices": devices, "log.checkpoint_every": 0}
    del changed["objective.hidden"]
    flags = [word for k, v in changed.items() for word in (f"--{k}", str(v))]
    process = subprocess.Popen(
        [sys.executable, "-m", "seamask", "pretrain", "--out", str(out), *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert f"seamask resume {out}" in said
    assert RunFolder(out).latest_checkpoint() is not None


def test_a_run_soon_says_how_long_it_will_take(tiny, tmp_path, capfd):
    start_run(config_of(tiny, tmp_path / "run", **{"log.every": 1, "epochs": 2}))
    said = [line for line in capfd.readouterr().err.splitlines() if "seamask bench" in line]
    (line,) = said  # once, not at every line of the log
    logged = [found for found in lines_of(tmp_path / "run") if "lr/mask" in found][1]
    rate, wait = logged["images_per_second"], logged["data_wait"]
    assert line.startswith(f"{rate:,.1f} images/s, {wait:.1%} of the time waiting for data")
    assert "more for 2 epochs, probes and figures not counted" in line
