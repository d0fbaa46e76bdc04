"""Runs that stop and go on: to the same weights, or refused in one line."""

import os
import resource
import shutil
import signal
import subprocess
import sys

import pytest
import torch
import yaml
from PIL import Image
from runs import after_each_step, assert_same_weights, config_of, lines_of, signal_after, weights_of

from seamask.base.errors import UserError
from seamask.runs import RunFolder
from seamask.training import Stopped, resume_run, snapshot, start_run


def test_resume_refuses_other_settings(uninterrupted, tmp_path):
    whole, _, _ = uninterrupted
    out = shutil.copytree(whole, tmp_path / "edited")
    lines = yaml.safe_load((out / "config.yaml").read_text())
    lines["seed"] = 7
    (out / "config.yaml").write_text(yaml.safe_dump(lines))
    with pytest.raises(UserError, match="trained with seed 0"):
        resume_run(out)


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


def test_time_spent_waiting_for_data_is_counted_beyond_a_stop(tiny, tmp_path, monkeypatch):
    def wait_and_stop(run, images, maps):
        if run.step == 2:
            run.image_loader.waited = 1e6
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        after_each_step(patch, wait_and_stop)
        with pytest.raises(Stopped):
            start_run(config_of({**tiny, "epochs": 1, "log.every": 3}, out))
    resume_run(out)
    (waits,) = [line["data_wait"] for line in lines_of(out) if "data_wait" in line]
    assert waits > 1


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
        assert torch.equal(images.amax((1, 2, 3)), maps["objects"].amax((1, 2)) * 5)
        seen.extend(maps["objects"][:, 0, 0].tolist())

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
    with pytest.raises(UserError, match="are not those that it was trained on"):
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
