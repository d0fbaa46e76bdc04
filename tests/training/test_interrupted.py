"""Real processes, killed and signalled: what they leave, and how it goes on."""

import ast
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from runs import after_each_step, assert_same_weights, lines_of, signal_after, wait_for, weights_of

from command import call
from seamask.base import settings
from seamask.base.errors import UserError
from seamask.cli import main
from seamask.data import load
from seamask.export import loading_code
from seamask.recipes import recipe_config
from seamask.runs import RunFolder
from seamask.training import resume_run, snapshot
from seamask.training.run import training_maps

RUN = {
    "recipe": "shapes-sequential", "--image-size": 16, "--data.shapes-train": 24,
    "--data.shapes-test": 16, "--batch-size": 8, "--epochs": 2, "--n-masks": 2,
    "--masks.width": 2, "--objective.hidden": 16, "--objective.out-dim": 8, "--log.every": 1,
    "--device": "cpu", "--threads": 1, "--log.masks-every": 0, "--log.probe-every": 1,
}  # fmt: skip
TIMING = {"images_per_second", "data_wait"}


def words(**changed):
    given = {**RUN, **{f"--{name.replace('_', '-')}": value for name, value in changed.items()}}
    return [given.pop("recipe"), *(str(w) for pair in given.items() for w in pair)]


def start(*arguments, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "seamask", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


def logged(out, at_least=1):
    path = out / "metrics.jsonl"
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= at_least


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert call("pretrain", *words(out=out, **{"data.cache": cache})) == 0
    return out


def assert_same_run(ours, theirs):
    """All that a run leaves, but for times."""
    assert_same_weights(ours, theirs)
    for a, b in zip(lines_of(ours), lines_of(theirs), strict=True):
        assert {k: v for k, v in a.items() if k not in TIMING} == {
            k: v for k, v in b.items() if k not in TIMING
        }
    a, b = (json.loads((out / "manifest.json").read_text()) for out in (ours, theirs))
    assert a | {"seconds": 0} == b | {"seconds": 0}
    files = [{str(p.relative_to(out)) for p in out.rglob("*")} for out in (ours, theirs)]
    assert files[0] == files[1]
    for path in (theirs / "masks").iterdir():
        assert path.read_bytes() == (ours / "masks" / path.name).read_bytes()


@pytest.mark.parametrize(
    "missing",
    [
        ["encoder.safetensors", "masker.safetensors", "manifest.json", "last scores", "figures"],
        ["figures"],
    ],
    ids=len,
)
def test_a_run_killed_after_its_last_checkpoint_makes_what_is_missing(whole, tmp_path, missing):
    out = shutil.copytree(whole, tmp_path / "run")
    for name in missing:
        if name == "last scores":
            lines = (out / "metrics.jsonl").read_text().splitlines(keepends=True)
            assert "probe/knn" in lines[-1]
            (out / "metrics.jsonl").write_text("".join(lines[:-1]))
        elif name == "figures":
            last = max((out / "masks").glob("*.png")).stem
            for figure in (*(out / "masks").glob(f"{last}.*"), out / "curves.png"):
                figure.unlink()
        else:
            (out / name).unlink()
    (out / ".seamask-0123.tmp").write_text("{")
    resume_run(out)
    assert_same_run(out, whole)


def test_old_weights_beside_the_last_checkpoint_are_replaced(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "run")
    from safetensors.torch import load_file, save_file

    old = {name: torch.zeros_like(t) for name, t in load_file(out / "encoder.safetensors").items()}
    save_file(old, out / "encoder.safetensors")
    resume_run(out)
    assert_same_run(out, whole)


def test_a_run_killed_before_its_first_checkpoint_begins_again(whole, tmp_path, cache, capfd):
    out = tmp_path / "my run's"
    (out / "masks").mkdir(parents=True)
    shutil.copy(whole / "config.yaml", out)
    first_line = (whole / "metrics.jsonl").read_text().splitlines(keepends=True)[0]
    (out / "metrics.jsonl").write_text(first_line)
    assert call("pretrain", *words(out=out, **{"data.cache": cache})) == 2
    remedy = shlex.split(capfd.readouterr().err.split("`")[1])  # as a shell would read it
    assert remedy[:2] == ["seamask", "resume"]
    assert call(*remedy[1:]) == 0
    assert_same_run(out, whole)


def test_checkpoints_that_were_removed_are_not_a_run_that_never_had_any(whole, tmp_path, capfd):
    out = shutil.copytree(whole, tmp_path / "a run")
    shutil.rmtree(out / "checkpoints")
    assert call("resume", out) == 2
    remedy = shlex.split(capfd.readouterr().err.split("`")[1])
    assert_same_weights(out, whole)  # nothing is lost
    assert call(*remedy[1:]) == 0
    assert_same_run(out, whole)


class Killed(BaseException):
    """Ends a run in this process, which heeds it no more than a kill."""


def test_minutes_between_checkpoints_and_the_log_that_goes_on(tmp_path, cache, monkeypatch):
    # Killed in an epoch, between two lines of the log: the next line is what it would have been.
    changed = {"data.cache": cache, "log.every": 3, "log.checkpoint-minutes": 1e-6, "epochs": 1,
               "data.shapes-train": 48}  # fmt: skip
    assert call("pretrain", *words(out=tmp_path / "whole", **changed)) == 0
    out = tmp_path / "killed"

    def kill(run, images, maps):
        if run.step == 5:
            raise Killed

    with monkeypatch.context() as patch:
        after_each_step(patch, kill)
        with pytest.raises(Killed):
            main(["pretrain", *words(out=out, **changed)])
    found = [RunFolder.step_of(path) for path in RunFolder(out).all_checkpoints()]
    assert found == [4]  # within an epoch the latest is kept
    assert call("resume", out) == 0
    assert_same_run(out, tmp_path / "whole")


@pytest.mark.parametrize("killed_after", ["some files", "new config"])
def test_overwriting_is_all_or_nothing(whole, tmp_path, cache, killed_after):
    out = shutil.copytree(whole, tmp_path / "run")
    folder = RunFolder(out)
    os.replace(folder.config, folder.replaced)
    (out / ".seamask-0123.tmp").write_text("half")
    (out / "encoder.safetensors").unlink()
    if killed_after == "new config":
        for name in ("metrics.jsonl", "curves.png", "masker.safetensors", "manifest.json"):
            (out / name).unlink()
        for name in ("checkpoints", "masks"):
            shutil.rmtree(out / name)
    if killed_after == "new config":
        shutil.copy(whole / "config.yaml", out)
        assert call("resume", out) == 0
    else:
        assert call("pretrain", *words(out=out, **{"data.cache": cache})) == 0
    assert_same_run(out, whole)


@pytest.fixture
def photos(tmp_path):
    for k in range(24):
        path = tmp_path / f"photos/{'ab'[k % 2]}/{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 40), 5 * k + 5).convert("RGB").save(path)
    return tmp_path / "photos"


def test_data_that_moved_are_the_same_data(photos, tmp_path, cache, capfd):
    out = tmp_path / "run"
    changed = {"data": photos, "data.cache": cache, "batch-size": 8, "epochs": 1,
               "data.holdout": 0.25}  # fmt: skip
    assert call("pretrain", *words(out=out, **changed)) == 0
    moved = shutil.copytree(photos, tmp_path / "on another disk/images 2")
    for path in moved.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    shutil.rmtree(photos)
    assert call("resume", out) == 2
    assert f"--data {photos}: no such folder" in capfd.readouterr().err
    assert call("evaluate", out, "knn", "--data", moved) == 0
    (result,) = (out / "evaluations").glob("*.json")  # found as it was: split, cache and all
    assert json.loads(result.read_text())["protocol"]["data.holdout"] == 0.25
    capfd.readouterr()
    assert call("resume", out, "--data", moved, "--epochs", 2, "--log.every", 2) == 0
    said = capfd.readouterr().out
    assert f"goes on after step 2 of 4, from {out}/checkpoints/step-000000002.pt" in said
    assert RunFolder(out).read_config().data.source == str(moved)
    assert json.loads((out / "manifest.json").read_text())["epochs_done"] == 2
    assert call("evaluate", out, "knn") == 0  # from now on it knows where they are
    (moved / "a/0.png").unlink()
    assert call("resume", out) == 2
    assert "are not those that it was trained on" in capfd.readouterr().err


def test_clusters_of_images_that_moved_are_found(photos, tmp_path):
    config = settings.override(
        recipe_config("folder-seamask"),
        {"data": str(photos), "data.cache": str(tmp_path / "cache"), "budget": "exact:superpixel",
         "masks.superpixels": 9, "image_size": 16},
    )  # fmt: skip

    def maps(config):
        return training_maps(config, load(config.data, config.image_size), show=False)["clusters"]

    first = maps(config).clone()
    moved = photos.rename(tmp_path / "another name")
    there = set((tmp_path / "cache").iterdir())
    assert torch.equal(maps(settings.override(config, {"data": str(moved)})), first)
    assert set((tmp_path / "cache").iterdir()) == there


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            ["--seed", "7"],
            "--seed 7: this run was started with 0, which cannot change when it goes on; these "
            "can: --epochs (to more), --data, --data.objects, --threads, --device, --devices, "
            "--timeout, --cuda-graph, --data.root, --data.cache, --data.resident, --log.*",
        ),
        (["--epochs", "1"], "--epochs 1: this run is one of 2 epochs"),
        (["--no-such", "1"], "unknown setting '--no-such'"),
        (["--out", "x"], "--out x: this run"),
    ],
)
def test_what_cannot_change_when_a_run_goes_on(whole, given, says, capfd):
    assert call("resume", whole, *given) == 2
    assert says in capfd.readouterr().err


def test_a_finished_run_says_so(whole, tmp_path, capfd):
    out = shutil.copytree(whole, tmp_path / "run")
    assert call("resume", out, "--threads", 1) == 0
    assert "it is finished" in capfd.readouterr().out
    assert_same_run(out, whole)


PLUGIN = """
from dataclasses import dataclass
from seamask.masks import PENALTIES, Penalty

@dataclass(frozen=True)
class Centre:
    centre: float = 0.0

PENALTIES.register("centre", Centre)(Penalty(lambda masks, budget: masks.mean()))
"""


def test_a_run_names_its_plugins(tmp_path, cache, capfd):
    plugin = tmp_path / "my parts.py"
    plugin.write_text(PLUGIN)
    out = tmp_path / "run"
    changed = {"data.cache": cache, "epochs": 1, "penalties.centre": 0.5}
    assert call("pretrain", *words(out=out, **changed), "--plugin", plugin) == 0
    capfd.readouterr()
    for command in (["resume", out], ["evaluate", out, "knn"]):
        assert call(*command) == 2
        said = capfd.readouterr().err
        assert f"this run was made with --plugin '{plugin}': give it here too" in said
    assert call("pretrain", *words(out=out, **changed), "--plugin", plugin) == 2
    remedy = shlex.split(capfd.readouterr().err.split("`")[1])
    assert call(*remedy[1:]) == 0


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\\nb", "a\nb", "ä b", "a\udcffb", "{x}", "$HOME"])
def test_the_line_that_loads_weights_is_python_for_any_path(name):
    line = loading_code("resnet18", {"img_size": 32}, f"/runs/{name}/encoder.safetensors")
    (call_of_timm,) = [n for n in ast.walk(ast.parse(line)) if isinstance(n, ast.Call)]
    given = {k.arg: ast.literal_eval(k.value) for k in call_of_timm.keywords}
    assert given["checkpoint_path"] == f"/runs/{name}/encoder.safetensors"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_signals_of_schedulers_and_terminals_save(tmp_path, cache, name, capfd, monkeypatch):
    signal_after(monkeypatch, 2, getattr(signal, name))
    out = tmp_path / "run"
    code = call("pretrain", *words(out=out, **{"data.cache": cache}))
    assert code == 128 + getattr(signal, name)
    said = capfd.readouterr().err
    assert f"{name}: saving a checkpoint after this step, then stopping" in said
    latest = RunFolder(out).latest_checkpoint()
    assert f"kept is {latest}" in said
    assert snapshot.read(latest)["step"] == lines_of(out)[-1]["step"] == 2


def test_what_is_ignored_stays_ignored(tmp_path, cache, monkeypatch):
    signal_after(monkeypatch, 2, signal.SIGHUP)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert call("pretrain", *words(out=tmp_path / "run", **{"data.cache": cache})) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert lines_of(tmp_path / "run")[-1]["step"] == 6


SLOW_STEP = """
import sys, time
from seamask.training.run import Run
take = Run.take_step
def slowly(run, images, maps):
    if run.step > 1:
        open({flag!r}, "w").close()
        for _ in range(600):
            time.sleep(0.1)
    return take(run, images, maps)
Run.take_step = slowly
"""


@pytest.mark.slow
def test_the_second_ctrl_c_stops_at_once_and_says_what_is_kept(tmp_path, cache):
    out, flag = tmp_path / "run", tmp_path / "slow"
    code = SLOW_STEP.format(flag=str(flag)) + "from seamask.cli import main; main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "pretrain",
         *words(out=out, **{"data.cache": cache, "log.checkpoint-minutes": 1e-6})],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(flag.exists, process)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)  # the step takes a minute
    assert process.returncode == 128 + signal.SIGINT
    assert "once more stops at once" in said
    kept = out / "checkpoints/step-000000002.pt"
    assert f"stopped at once; kept is {kept}; go on with: seamask resume {out}" in said
    assert not list(out.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.ddp
def test_several_processes_heed_a_signal_soon_whatever_the_log(tmp_path, cache):
    out = tmp_path / "run"
    changed = {"epochs": 5000, "devices": 2, "log.every": 100_000, "log.checkpoint-minutes": 0.05,
               "data.shapes-train": 4_000, "data.cache": cache}  # fmt: skip
    process = start("pretrain", *words(out=out, **changed))
    wait_for(lambda: RunFolder(out).latest_checkpoint(), process)  # by time, too
    before = time.time()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert RunFolder(out).latest_checkpoint().stat().st_mtime - before < 5
    assert process.returncode == 128 + signal.SIGTERM, said
    assert f"go on with: seamask resume {out}" in said


@pytest.mark.slow
@pytest.mark.ddp
def test_processes_whose_parent_died_keep_the_run_save_and_leave(tmp_path, cache):
    import psutil

    out = tmp_path / "run"
    changed = {"epochs": 5000, "devices": 2, "data.cache": cache, "log.checkpoint-every": 0}
    process = start("pretrain", *words(out=out, **changed))
    wait_for(logged(out), process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    for child in children:  # they notice nothing yet
        child.suspend()
    process.kill()
    process.wait()  # its pipes are the children's too
    with pytest.raises(UserError, match="is training this run"), RunFolder(out).claimed():
        pass
    for child in children:
        child.resume()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    process.communicate()
    assert RunFolder(out).latest_checkpoint() is not None
    with RunFolder(out).claimed():
        pass


def test_resume_says_which_run_there_is_not(tmp_path):
    with pytest.raises(UserError, match="no run at"):
        resume_run(tmp_path / "none")


def test_weights_are_those_of_the_checkpoint(whole):
    state = snapshot.read(RunFolder(whole).latest_checkpoint())
    exported = weights_of(whole)
    backbone = {k.removeprefix("backbone."): v for k, v in state["encoder"].items()}
    for name, tensor in exported.items():
        part, _, inner = name.partition(".")
        ours = backbone if part == "encoder" else state["masker"]
        assert torch.equal(tensor, ours[inner])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_cursor_comes_back_and_nothing_is_left_half(tmp_path, name):
    # While images are prepared there is nothing to save yet.
    terminal, its = os.openpty()
    changed = {"out": tmp_path / "run", "data.cache": tmp_path / "cache"}
    process = subprocess.Popen(
        [sys.executable, "-m", "seamask", "pretrain",
         *words(**changed, **{"data.shapes-train": 100_000})],
        stdout=its, stderr=its, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(its)
    said = b""
    while b"\x1b[?25l" not in said:  # the cursor is hidden: the bar has begun
        said += os.read(terminal, 4096)
    process.send_signal(getattr(signal, name))
    try:
        while more := os.read(terminal, 4096):
            said += more
    except OSError:  # so ends a terminal
        pass
    assert process.wait(timeout=600) == 128 + getattr(signal, name)
    assert said.rindex(b"\x1b[?25h") > said.rindex(b"\x1b[?25l")
    assert f"seamask: stopped by {name}".encode() in said
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "cache").glob("*/*"))
