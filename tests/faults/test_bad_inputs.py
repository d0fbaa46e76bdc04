"""Inputs that cannot be used: one line that names the thing and the remedy, exit code 2.

One table. `…` is the base line, a training of seconds that would end well; `RUN` is a run that did.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from command import call
from seamask.base.documents import parse_json, parse_yaml
from seamask.base.errors import UserError
from seamask.base.paths import check_writable, local
from seamask.base.settings import check_ranges, from_dict, record
from seamask.config import Config, check
from seamask.evaluate.subject import About
from seamask.evaluate.task import Result
from seamask.runs import RunFolder
from seamask.training.snapshot import State

SMALL = (
    "--image-size 16 --epochs 1 --n-masks 2 --data.shapes-train 32 --data.shapes-test 16 "
    "--batch-size 8 --threads 1 --masks.width 2 --objective.hidden 32"
)
BASE = f"pretrain shapes-sequential {SMALL} --data.cache CACHE --out out"
STUDY = """
title: small
methods: {one: {recipe: shapes-sequential, image_size: 16, epochs: 1, masks.width: 2,
  data.shapes_train: 32, data.shapes_test: 16, batch_size: 8, threads: 1, n_masks: 2,
  objective.hidden: [32], data.cache: CACHE}}
evaluations: {kNN: {task: knn, neighbours: [1], temperatures: [0.1]}}
seeds: 1
"""
LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
DEEP = "[" * 3000 + "]" * 3000
DIGITS = "9" * 5000
LONG = "a" * 300


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended well, beside the cache it was made with."""
    folder = tmp_path_factory.mktemp("bad-inputs")
    out = folder / "run"
    words = BASE.replace("CACHE", str(folder / "cache")).split()
    assert call(*words[:-1], out) == 0
    return out


@pytest.fixture
def here(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with an image and files that are plain."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 20), "red").save("ok.png")
    Path("study.yaml").write_text(STUDY.replace("CACHE", str(run.parent / "cache")))
    return tmp_path


def complaint(capsys: pytest.CaptureFixture[str], run: Path, line: str) -> str:
    """Return what the command says about a mistake: one line."""
    line = line.replace("…", BASE).replace("CACHE", str(run.parent / "cache"))
    capsys.readouterr()
    code = call(*(word.replace("RUN", str(run)) for word in line.split()))
    said = capsys.readouterr()
    assert code == 2, said
    assert said.err.startswith("seamask: error: "), said.err
    assert said.err.count("\n") == 1, said.err
    assert len(said.err) < 1000
    return said.err.removeprefix("seamask: error: ").strip()


# The command line -------------------------------------------------------------------------------

LINES = [
    ("… --image-size 100000000", "--image-size is 100000000: it must be between 8 and 8192"),
    ("… --image-size 1000000000000", "--image-size is 1000000000000: it must be between 8"),
    ("… --image-size 4096 --batch-size 1024 --data.shapes-train 2000", "--batch-size 1024"),
    ("… --data.size 100000000", "--data.size is 100000000: it must be between 0 and 8192"),
    ("… --backbone resnet18.nosuchtag", "unknown backbone 'resnet18.nosuchtag'"),
    ("… --backbone inception_v3", "--backbone inception_v3 cannot take 16 pixels"),
    ("… --backbone crossvit_9_240", "--backbone crossvit_9_240 cannot take 16 pixels"),
    ("… --backbone vit_tiny_patch16_224 --encoder.patch 5", "patches of 5 do not divide them"),
    (f"… --seed {10**30}", "--seed is 1000000000000000000000000000000: it must be between 0"),
    ("… --seed 4294967296", "it must be between 0 and 4294967295"),
    ("… --out ~nosuchuser/x", "--out ~nosuchuser/x: there is no home folder ~nosuchuser"),
    (f"… --out {LONG}", "File name too long"),
    ("… --out ok.png/x", "ok.png is a file, not a folder"),
    ("… --out ", "--out"),
    (f"… --data {LONG}", "File name too long"),
    ("… --data ~nosuchuser", "--data ~nosuchuser: there is no home folder ~nosuchuser"),
    ("… --data.objects ~nosuchuser --data .", "there is no home folder ~nosuchuser"),
    ("… --data.root ~nosuchuser", "--data.root ~nosuchuser: there is no home folder"),
    ("… --data.cache ~nosuchuser", "--data.cache ~nosuchuser: there is no home folder"),
    (f"… --data.shapes-train {10**20}", "--data.shapes-train is 100000000000000000000"),
    ("… --masks.width 100000000", "--masks.width is 100000000: it must be between 1 and 4096"),
    ("… --n-masks 100000000", "--n-masks is 100000000: it must be between 1 and 254"),
    ("… --objective.out-dim 10000000000000", "--objective.out-dim is 10000000000000"),
    ("… --objective moco --objective.queue 10000000000000", "--objective.queue is 1000000000"),
    ("… --objective.hidden 1000000 1000000", "networks and optimisers take"),
    ("… --objective moco --objective.queue 60000000 --objective.out-dim 8192", "--objective.queue"),
    ("… --budget superpixel --masks.superpixels 1000000000000", "--masks.superpixels is"),
    ("… --budget superpixel --masks.superpixels 257", "an image of 16 pixels a side has 256"),
    ("… --epochs 1_0", "--epochs is '1_0': expected INT"),
    ("… --epochs ٣", "--epochs is '٣': expected INT"),
    (f"… --epochs {DIGITS}", "--epochs is '9999"),
    ("… --optim.encoder.lr 1_0.5", "--optim.encoder.lr is '1_0.5': expected FLOAT"),
    ("… --objective.hidden 1_0 8", "--objective.hidden is '1_0 8'"),
    ("… --threads 100000000000", "--threads is 100000000000: it must be between 0 and 1024"),
    (f"resume {LONG}", "File name too long"),
    ("resume ~nosuchuser", "there is no home folder ~nosuchuser"),
    ("resume nosuch", "no run at nosuch: no such folder"),
    ("masks RUN ok.png --out ~nosuchuser/x.png", "--out ~nosuchuser/x.png: there is no home"),
    ("masks RUN ok.png --out ok.png/x.png", "ok.png is a file, not a folder"),
    (f"masks RUN {LONG}", "File name too long"),
    ("masks RUN ~nosuchuser/x.png", "there is no home folder ~nosuchuser"),
    ("evaluate RUN knn --out ~nosuchuser/x", "--out ~nosuchuser/x: there is no home folder"),
    ("evaluate RUN knn --out ok.png", "ok.png"),
    ("evaluate ~nosuchuser knn", "~nosuchuser: there is no home folder ~nosuchuser"),
    ("evaluate untrained:~nosuchuser knn", "there is no home folder ~nosuchuser"),
    (f"evaluate {LONG} knn", "File name too long"),
    (f"evaluate RUN knn --neighbours {10**30}", "--neighbours is 100000000000000000000000000000"),
    (f"evaluate RUN knn --seed {10**30}", "--seed is 1000000000000000000000000000000"),
    ("evaluate RUN cluster --seed 4294967296", "it must be between 0 and 4294967295"),
    (
        "evaluate RUN linear --protocol paper --lr 1e38 --epochs 2 --batch-size 16 --threads 1",
        "the linear classifier diverged at --lr 1e+38: take a lower one",
    ),
    ("evaluate RUN linear --momentum 2", "--momentum is 2.0: it must be at least 0 and below 1"),
    ("evaluate untrained:resnet18.nope knn", "unknown backbone 'resnet18.nope'"),
    ("study study.yaml --out ~nosuchuser/x", "~nosuchuser/x: there is no home folder"),
    ("study study.yaml --results ~nosuchuser/x", "--results ~nosuchuser/x: there is no home"),
    ("study study.yaml --out ok.png/x", "ok.png is a file, not a folder"),
    ("study study.yaml --seeds 1000000000", "seeds is 1000000000: a study has at most 1000"),
    ("study study.yaml --epochs 2024-13-45", "--epochs is '2024-13-45': expected int"),
    (f"study study.yaml --epochs {DIGITS}", "--epochs is '9999"),
    ("study study.yaml --epochs 1_0", "--epochs is '1_0': expected int"),
    ("study ~nosuchuser/x.yaml", "there is no home folder ~nosuchuser"),
    ("bench --seconds 1_0", "--seconds is '1_0': expected FLOAT"),
    ("study study.yaml --seeds 1_0", "--seeds is '1_0': expected INT"),
    ("bench --figure .", "--figure .: is a folder; name a file"),
    ("… --log.every 99999999999", "--log.every is 99999999999: it must be at most 2147483647"),
    ("bench --figure ~nosuchuser/x.png", "--figure ~nosuchuser/x.png: there is no home folder"),
    ("data imagenet100s --imagenet ~nosuchuser", "--imagenet ~nosuchuser: there is no home"),
    ("recipes --plugin ~nosuchuser/x.py", "--plugin ~nosuchuser/x.py: there is no home folder"),
    (f"recipes --plugin {LONG}.py", "File name too long"),
    ("pretrain --config ~nosuchuser/x.yaml", "--config ~nosuchuser/x.yaml: there is no home"),
    (f"pretrain --config {LONG}", "File name too long"),
    ("pretrain --config .", "cannot read the settings in .: Is a directory"),
]


@pytest.mark.parametrize(("line", "says"), LINES, ids=[line[:70] for line, _ in LINES])
def test_a_line_of_words(line, says, here, run, capsys):
    before = sorted(here.iterdir())
    assert says in complaint(capsys, run, line)
    assert sorted(here.iterdir()) == before  # nothing half-written


# Files of settings and of studies ---------------------------------------------------------------

CONFIGS = [
    ("epochs: 2024-13-45", "--epochs is '2024-13-45': expected int"),
    ("epochs: !!timestamp 2024-13-45", "line 1: no value: month must be in 1..12"),
    (f"seed: 1\nepochs: {DIGITS}", "line 2: no value: Exceeds the limit (4300 digits)"),
    ("seed: 1\nepochs: !!float abc", "line 2: no value: could not convert string to float: 'abc'"),
    ("epochs: !!int abc", "line 1: no value: invalid literal for int()"),
    (f"epochs: {DEEP}", "line 1: nested too deeply"),
    ("".join(f"{'  ' * n}a:\n" for n in range(3000)), "nested too deeply"),
    (LAUGHS, "it stands for more than 100,000 values"),
    ("epochs: &a [*a]", "line 1: *a stands for itself"),
    ("epochs: *nosuch", "line 1: found undefined alias"),
    ('seed: 1\nrecipe: "\\ud800"', "line 2: a text that is half a character"),
    ('out: "a\\0b"', "--out a\\x00b: not the name of a file"),
    ('data: "a\\0b"', "--data a\\x00b: not the name of a file"),
    ("epochs: 1_0", "--epochs is '1_0': expected int"),
    ("epochs: 1:30", "--epochs is '1:30': expected int"),
    ("epochs: 010", "--epochs is '010': expected int"),
    ("epochs: 1\nepochs: 2", "line 2: 'epochs' is there twice"),
    ("optim.encoder.lr: 1_0.5", "--optim.encoder.lr is '1_0.5': expected float"),
    (f"optim.encoder.lr: 1{'0' * 400}", "expected float"),
    ("optim.encoder.lr: .nan", "--optim.encoder.lr is nan: it must be a finite number"),
    ("epochs: 1e400", "--epochs is '1e400': expected int"),
    ("epochs: !!binary aGVsbG8=", "--epochs is b'hello': expected int"),
    ("epochs: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    ("? [1, 2]\n: 3", "line 1"),
    ("epochs: [", "line"),
    ("- epochs", "expected `name: value` lines"),
    ("", "expected `name: value` lines"),
    ("epochs: \x01", "cannot read the settings in"),
    (f"out: {LONG}", "File name too long"),
    ("out: ~nosuchuser/x", "there is no home folder ~nosuchuser"),
    ("out: ''\ndata.root: ''", "--data.root is empty"),
]


@pytest.mark.parametrize(("text", "says"), CONFIGS, ids=[text[:40] for text, _ in CONFIGS])
def test_a_file_of_settings(text, says, here, run, capsys):
    Path("c.yaml").write_text(text)
    assert says in complaint(capsys, run, "pretrain --config c.yaml --data.cache CACHE")


def test_a_file_that_is_no_text(here, run, capsys):
    Path("c.yaml").write_bytes(b"epochs: 1\ndata: \xff\n")
    said = complaint(capsys, run, "pretrain --config c.yaml")
    assert said == "cannot read the settings in c.yaml: line 2: not UTF-8 text"


def test_names_and_aliases_that_yaml_means_well():
    said = parse_yaml("data: 2024-01-02\nx: &a {lr: 1e-4, n: [1, -2, 0.5]}\ny: *a", "it")
    assert said["data"] == "2024-01-02"
    assert said["x"] == said["y"] == {"lr": "1e-4", "n": [1, -2, 0.5]}


STUDIES: list[tuple[str, Callable[[str], str], str]] = [
    ("timestamp", lambda text: text.replace("epochs: 1", "epochs: 2024-13-45"), "'2024-13-45'"),
    ("huge int", lambda text: text.replace("epochs: 1", f"epochs: {DIGITS}"), "Exceeds the limit"),
    ("deep", lambda text: text.replace("epochs: 1", f"epochs: {DEEP}"), "nested too deeply"),
    ("laughs", lambda text: LAUGHS, "stands for more than"),
    ("seeds 10^9", lambda text: text.replace("seeds: 1", "seeds: 1000000000"), "at most 1000"),
    ("seeds 10^30", lambda text: text.replace("seeds: 1", f"seeds: {10**30}"), "at most 1000"),
    ("seed 2^32", lambda text: text.replace("seeds: 1", f"seeds: [{2**32}]"), "4294967295"),
    ("metrics unknown", lambda text: text.replace("task: knn", "task: knn, metrics: [nosuch]"),
     "unknown metric 'nosuch'"),
    ("metrics a number", lambda text: text.replace("task: knn", "task: knn, metrics: 3"),
     "metrics is 3: expected a list of names"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "says"), [s[1:] for s in STUDIES], ids=[s[0] for s in STUDIES])
def test_a_file_of_a_study(change, says, here, run, capsys):
    file = Path("study.yaml")
    file.write_text(change(file.read_text()))
    assert says in complaint(capsys, run, "study study.yaml --out s")
    assert not Path("s").exists()


@pytest.fixture(scope="module")
def studied(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that is done."""
    folder = tmp_path_factory.mktemp("studied")
    (folder / "study.yaml").write_text(STUDY.replace("CACHE", str(run.parent / "cache")))
    assert call("study", folder / "study.yaml", "--out", folder / "s") == 0
    return folder / "s"


FOLDERS = [
    ("study.yaml", "seeds: 2024-13-45", "cannot read s/study.yaml: damaged"),
    ("study.yaml", "seeds: !!timestamp 2024-13-45", "month must be in 1..12"),
    ("study.yaml", "[]", "cannot read s/study.yaml: damaged"),
    ("summary.json", "garbage", "summary.json: damaged; delete it to have it made again (line 1"),
    ("summary.json", "{}", "summary.json: damaged; delete it to have it made again (seconds is"),
    ("summary.json", '{"seconds": "long"}', "seconds is 'long': expected float"),
    ("summary.json", '{"seconds": -1}', "seconds is -1.0: it must be at least 0"),
    ("summary.json", '{"seconds": NaN}', "seconds is nan: it must be a finite number"),
    ("summary.json", "[" * 100_000, "nested too deeply"),
    ("knn-", "{}", "(encoder is missing)"),
    ("knn-", '{"metrics": "many"}', "is missing"),
]


@pytest.mark.parametrize(
    ("name", "text", "says"), FOLDERS, ids=[f"{n} {t[:20]}" for n, t, _ in FOLDERS]
)
def test_a_file_in_a_studys_folder(name, text, says, here, run, studied, capsys):
    shutil.copytree(studied, "s")
    (file,) = (
        p for p in Path("s").rglob("*") if p.name.startswith(name) and ".jobs" not in p.parts
    )
    file.write_text(text)
    assert says in complaint(capsys, run, "study study.yaml --out s")


def test_a_result_of_another_seamask(here, run, studied, capsys):
    shutil.copytree(studied, "s")
    (file,) = Path("s").rglob("knn-*.json")
    result = json.loads(file.read_text())
    file.write_text(json.dumps(result | {"new": 1}))
    assert call("study", "study.yaml", "--out", "s") == 0  # what is new is left
    file.write_text(json.dumps(result | {"metrics": {"accuracy": "good"}}))
    said = complaint(capsys, run, "study study.yaml --out s")
    assert "metrics: accuracy is 'good': expected float" in said


# Files of a run ---------------------------------------------------------------------------------


def copied(run: Path) -> RunFolder:
    shutil.copytree(run, "r")
    return RunFolder("r")


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.pop(key)


def having(**changed: Any) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update(changed)


CHECKPOINTS = [
    (without("data"), "data is missing"),
    (without("config"), "config is missing"),
    (without("seconds"), "seconds is missing"),
    (without("masker_optimizer"), "masker_optimizer is missing"),
    (having(step=-1), "step is -1: it must be at least 0"),
    (having(step=10**9), "the run has only 4"),
    (having(step=1.5), "step is 1.5: expected int"),
    (having(step=True), "step is True: expected int"),
    (having(step="2"), "step is '2': expected int"),
    (having(seconds=float("nan")), "seconds is nan: it must be a finite number"),
    (having(seconds="long"), "seconds is 'long': expected float"),
    (having(encoder=[1]), "encoder is [1]: expected dict"),
    (having(encoder={}), "it belongs to another model"),
    (having(encoder_optimizer={}), "it belongs to another model"),
    (having(encoder_optimizer={"state": 3, "param_groups": 4}), "it belongs to another model"),
    (having(config="text"), "config is 'text': expected dict"),
    (having(config={"epochs": "many"}), "--epochs is 'many': expected int"),
    (having(data=3.5), "are not those that it was trained on"),
]


@pytest.mark.parametrize(("change", "says"), CHECKPOINTS, ids=[says for _, says in CHECKPOINTS])
def test_a_checkpoint(change, says, here, run, capsys):
    path = copied(run).latest_checkpoint()
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    said = complaint(capsys, run, "resume r")
    assert says in said
    assert str(path) in said


def test_a_checkpoint_that_is_something_else(here, run, capsys):
    path = copied(run).latest_checkpoint()
    for content in (b"", b"garbage", path.read_bytes()[:-100]):
        path.write_bytes(content)
        assert f"cannot read checkpoint {path}" in complaint(capsys, run, "resume r")
    for value in ([], {"format": 3}, torch.zeros(2)):
        torch.save(value, path)
        assert "not a checkpoint of seamask" in complaint(capsys, run, "resume r")


def test_a_damaged_line_of_the_log_costs_that_line(here, run):
    folder = copied(run)
    good = folder.metrics.read_text()
    whole = folder.read_metrics()
    bad = [b"garbage", b"\0" * 40, b"[1, 2]", b'{"epoch": 1}', b"", b"\xff\xfe", b"[" * 100_000]
    bad += [b'{"epoch": 1, "step": "2"}', b'{"epoch": 1, "step": 2, "loss": "low"}', b"9" * 5000]
    folder.metrics.write_bytes(b"\n".join([*bad, good.encode().rstrip(), *bad, b'{"cut']))
    assert folder.read_metrics() == whole
    assert call("resume", "r") == 0
    assert folder.read_metrics()[: len(whole)] == whole


MANIFESTS = [
    ("[]", "[] instead of names and values"),
    ("{}", "normalization: damaged: None instead of names and values"),
    ('{"normalization": {"mean": [0, 0, 0]}}', "std is missing"),
    (
        '{"normalization": {"mean": [0, 0, 0], "std": [1, 1]}}',
        "std is [1.0, 1.0]: expected as",
    ),
    ('{"normalization": {"mean": [0, 0], "std": [1, 1]}}', "mean is [0.0, 0.0]: expected one"),
    ('{"normalization": {"mean": [0, 0, 0], "std": [0, 1, 1]}}', "it must be above 0"),
    ('{"normalization": {"mean": ["a", 0, 0], "std": [1, 1, 1]}}', "mean is 'a': expected float"),
    (DEEP[:3000] * 40, "nested too deeply"),
    ('{"epochs_done": ' + DIGITS + "}", "Exceeds the limit (4300 digits)"),
    ("\0\0", "line 1"),
]


@pytest.mark.parametrize(("text", "says"), MANIFESTS, ids=[text[:40] for text, _ in MANIFESTS])
def test_a_manifest(text, says, here, run, capsys):
    copied(run).manifest.write_text(text)
    said = complaint(capsys, run, "masks r ok.png --out m.png")
    assert says in said
    assert "r/manifest.json" in said
    assert not Path("m.png").exists()


METADATA = [
    ({"image_size": "100000000"}, "image_size is 100000000: it must be between 8 and 8192"),
    ({"image_size": "9" * 5000}, "image_size is '9999"),
    ({"image_size": "x"}, "image_size is 'x': expected int"),
    ({"image_size": "²"}, "image_size is '²': expected int"),
    ({"image_size": "-16"}, "image_size is '-16': expected int"),
    ({"patch_size": "abc"}, "patch_size is 'abc': expected int"),
    ({"patch_size": "3"}, "--encoder.patch 3: test_resnet is not a ViT"),
    ({"backbone": "resnet18.nope"}, "unknown backbone 'resnet18.nope'"),
    ({"backbone": ""}, "unknown backbone ''"),
    ({"backbone": "resnet18"}, "damaged, or weights of another model"),
]


@pytest.mark.parametrize(("change", "says"), METADATA, ids=[says for _, says in METADATA])
def test_what_weights_say_of_themselves(change, says, here, run, capsys):
    with safe_open(run / "encoder.safetensors", "pt") as file:
        about = file.metadata()
    save_file(load_file(run / "encoder.safetensors"), "e.safetensors", metadata=about | change)
    assert says in complaint(capsys, run, "evaluate e.safetensors knn --data.cache CACHE")


PLUGINS = [
    ("import sys; sys.exit(0)", "SystemExit: 0"),
    ("raise SystemExit", "SystemExit"),
    ("1 / 0", "ZeroDivisionError"),
    ("x = (", "SyntaxError"),
    ("def f(): f()\nf()", "RecursionError"),
]


@pytest.mark.parametrize(("text", "says"), PLUGINS)
def test_a_plugin(text, says, here, run, capsys):
    Path("p.py").write_text(text)
    assert says in complaint(capsys, run, "recipes --plugin p.py")


# Where we are -----------------------------------------------------------------------------------


@contextmanager
def as_nobody() -> Iterator[None]:
    """Within, we are a user who may not enter what is closed (root may)."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(12345)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that may not be entered, in one that may."""
    folder = tmp_path_factory.mktemp("closed") / "private"
    folder.mkdir()
    (folder / "x.py").write_text("")
    for parent in (folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    folder.chmod(0)
    yield folder
    folder.chmod(0o700)


def test_what_may_not_be_seen_or_written(closed, tmp_path):
    top = [p for p in closed.parents if not os.stat(p).st_mode & 0o005]
    with as_nobody():
        for text in (closed / "run", f"{closed}/run/x.png"):
            with pytest.raises(UserError, match=r"--out .*: Permission denied"):
                local(text, "--out")
        if not top:
            with pytest.raises(UserError, match=r"cannot write --out .*: no permission in"):
                check_writable(closed.parent / "new" / "er", "--out")


@pytest.mark.parametrize(
    "line",
    ["resume P/run", "evaluate P/run knn", "… --out P/new", "… --data P/run",
     "recipes --plugin P/x.py", "masks RUN P/x.png", "study study.yaml --out P/s",
     "evaluate RUN knn --out P/s", "… --data.cache P/c", "pretrain --config P/c.yaml"],
)  # fmt: skip
def test_a_parent_that_may_not_be_entered(line, here, run, closed, capsys, monkeypatch):
    stat = os.stat

    def denied(path, *rest, **more):  # what the system says to other users than root
        if str(closed) + "/" in os.fsdecode(path):
            raise PermissionError(13, "Permission denied", os.fsdecode(path))
        return stat(path, *rest, **more)

    monkeypatch.setattr(os, "stat", denied)
    assert "Permission denied" in complaint(capsys, run, line.replace("P/", f"{closed}/"))


def test_no_home(here, run, capsys, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # as for a user without an entry
    line = BASE.replace("--data.cache CACHE ", "")
    said = complaint(capsys, run, line)
    assert said.startswith("--data.cache ~/.cache/seamask: there is no home folder ~;")


def test_a_current_folder_that_is_gone(here, run, capsys, monkeypatch):
    Path("gone").mkdir()
    monkeypatch.chdir("gone")
    Path().absolute().rmdir()
    assert complaint(capsys, run, "…").startswith("the current folder is gone")
    with pytest.raises(UserError, match="--out run: the current folder is gone"):
        local("run", "--out")


def test_variables_of_a_cluster_change_nothing(here, run, monkeypatch):
    for name, value in (("SLURM_NTASKS", "2"), ("SLURM_JOB_ID", "1"), ("SLURM_JOB_NAME", "job")):
        monkeypatch.setenv(name, value)
    assert call(*BASE.replace("CACHE", str(run.parent / "cache")).split()) == 0


def test_a_name_that_is_no_text(here, run, capsys):
    line = BASE.replace("CACHE", str(run.parent / "cache")).split()[:-1]
    assert call(*line, "o\udcff") == 0
    assert os.path.isdir(b"o\xff")
    assert call("resume", "o\udcff") == 0


# Anything ---------------------------------------------------------------------------------------

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
WORDS = (
    "epochs", "masks", "n_masks", "data", "seed", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ", ",
    "&a ", "*a", "!!int ", "!!float ", "!!timestamp ", "!!set ", "!!binary ", "<<", "?", "|", ">",
    "1", "1e5", "0x1f", "1_0", "2024-01-02", ".inf", ".nan", "~", "'", '"', "\\", "\ud800", "\0",
    "é", "%", "@", "#", "---", "...",
)  # fmt: skip
SETTINGS = (
    "epochs", "masks", "seed", "data", "optim", "objective.hidden", "budget", "device",
    "optim.encoder.lr",
)  # fmt: skip
KEYS = (
    "backbone", "image_size", "patch_size", "step", "seconds", "encoder", "task", "data",
    "protocol", "seed", "metrics", "config",
)  # fmt: skip


def one_line(make: Callable[[], object]) -> None:
    """Let something be made, or refused in one line."""
    said = "made"
    try:
        make()
    except UserError as error:
        said = str(error)
    assert len(said.splitlines()) == 1, said


@given(st.lists(st.sampled_from(WORDS), max_size=14).map("".join) | st.text(max_size=40))
@examples(max_examples=100)
def test_any_text_is_settings_or_one_line(text):
    def make():
        said = parse_yaml(text, "it")
        if isinstance(said, dict):
            check_ranges(from_dict(said, Config()))

    one_line(make)


@given(st.dictionaries(st.sampled_from(SETTINGS), plain))
@examples(max_examples=100)
def test_any_values_are_settings_or_one_line(said):
    one_line(lambda: check(from_dict(said, Config())))


@pytest.mark.parametrize("kind", [About, Result, State])
@given(said=plain | st.dictionaries(st.sampled_from(KEYS), plain))
@examples(max_examples=100)
def test_any_record_is_one_or_one_line(kind, said):
    one_line(lambda: record(kind, said, "it"))


@given(st.text(max_size=30))
@examples(max_examples=100)
def test_any_text_is_a_path_or_one_line(text):
    one_line(lambda: local(text, "--out"))
    one_line(lambda: parse_json(text, "it"))


def test_what_we_write_is_what_we_read(run):
    folder = RunFolder(run)
    config = folder.read_config()
    assert config.image_size == 16
    assert re.fullmatch("[0-9a-f]{64}", folder.read_manifest()["data"]["fingerprint"])
