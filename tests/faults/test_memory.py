"""Out of memory is one line with what was asked for; a process that failed says its own error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seamask.base.devices import memory_total
from seamask.base.errors import UserError
from seamask.base.memory import memory_asked, memory_errors
from seamask.base.settings import override
from seamask.objectives import build_objective
from seamask.recipes import recipe_config
from seamask.training import start_run
from seamask.training.memory import _held, check_memory, follow, least_bytes
from seamask.training.players import build_networks
from seamask.training.preflight import preflight
from seamask.training.spawn import UNGUARDED, silent_end
from training.runs import after_each_step, config_of

CALL = """
import sys, seamask
settings = {"data.shapes_train": 32, "data.shapes_test": 16, "masks.width": 2}
settings["data.cache"] = "cache"
found = seamask.pretrain(
    recipe="shapes-sequential", out="out", image_size=16, epochs=1, n_masks=2, batch_size=8,
    threads=1, devices=2, device="cpu", **{"objective.hidden": (32,), **settings},
)
print("trained", found.folder)
"""
PART = """
from seamask.masks import MASKERS
@MASKERS.register("mine")
def build(settings, image_size): raise SystemExit
"""


def real(make):
    with pytest.raises((RuntimeError, MemoryError)) as found:
        make()
    return found.value


def test_what_says_that_there_is_no_memory():
    assert memory_asked(real(lambda: torch.empty(2**50))) == f"{2**22:,}.00 GiB"
    assert memory_asked(real(lambda: np.empty(2**55, np.uint8))) == "32.0 PiB"
    assert memory_asked(real(lambda: torch.empty(2**62, 2))) == ""
    gpu = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79 GiB"
    assert memory_asked(torch.OutOfMemoryError(gpu)) == "2.50 GiB"
    assert memory_asked(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")) == ""
    assert memory_asked(RuntimeError("can't start new thread")) == ""
    assert memory_asked(MemoryError()) == ""
    for other in (RuntimeError("shapes differ"), ValueError("out of memory"), KeyError("x")):
        assert memory_asked(other) is None


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), memory_errors():
        raise RuntimeError("shapes differ")
    with pytest.raises(UserError, match="mine"), memory_errors():
        raise UserError("mine")


def test_in_a_step(tiny, tmp_path, monkeypatch):
    after_each_step(monkeypatch, lambda *_: torch.empty(2**50))
    with pytest.raises(UserError) as found:
        start_run(config_of(tiny, tmp_path / "run"))
    assert str(found.value) == (
        "out of memory (4,194,304.00 GiB more were asked for): take a smaller --batch-size, "
        "a larger --accumulate, or --precision bf16"
    )


def test_the_least_is_no_more_than_what_is_taken(tiny):
    config = override(recipe_config("shapes-seamask"), tiny)
    with torch.device("meta"):
        networks = build_networks(config, build_objective(config.objective))
    weights, images = least_bytes(config, networks)
    count = sum(p.numel() for n in (networks.encoder, networks.masker) for p in n.parameters())
    assert 3 * 4 * count <= weights <= 3 * 4 * count + 2**20  # running statistics
    assert images == 16 * 32 * 32 * 4 * (6 + config.masks.n_masks)
    check_memory(config, networks)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"image_size": 2048, "batch_size": 2**22},
            r"take a smaller --batch-size 4194304, .* or --accumulate \d+ or more",
        ),
        ({"objective.hidden": (10**6, 10**6)}, "networks and optimisers take"),
        ({"masks.width": 4096, "image_size": 4096}, "--masks.width 4096"),
    ],
)
def test_more_than_there_is_is_refused_before_anything_is_built(tiny, changed, says):
    with pytest.raises(UserError, match=says):
        preflight(override(recipe_config("shapes-seamask"), {**tiny, **changed}))


@pytest.mark.parametrize("changed", [{}, {"masks.masker": "none"}, {"objective.name": "byol"}])
def test_two_small_steps_tell_what_a_large_one_takes(tiny, changed):
    config = override(recipe_config("shapes-seamask"), {**tiny, **changed})
    taken, large = follow(config), _held(override(config, {"batch_size": 24}))
    assert len(large) == len(taken.bytes) > 100
    assert taken.of(24) == pytest.approx(large.max(), rel=0.01)
    assert taken.of(24) > taken.of(2)
    with torch.device("meta"):
        networks = build_networks(config, build_objective(config.objective))
    assert taken.of(16) > sum(least_bytes(config, networks))


def test_small_steps_are_not_compiled(tiny):
    plain = override(recipe_config("shapes-seamask"), tiny)
    assert follow(override(plain, {"compile": True})).of(16) == follow(plain).of(16)


def test_a_batch_that_would_not_fit_is_refused_by_what_small_steps_take(tiny):
    there = memory_total(torch.device("cpu"))
    each = 32**2 * 4 * (2 * 3 + recipe_config("shapes-seamask").masks.n_masks)
    batch = 2 ** int(np.log2(there / each / 2))  # its images alone would fit
    config = override(recipe_config("shapes-seamask"), {**tiny, "batch_size": batch})
    assert preflight(config) == ""
    with pytest.raises(UserError, match=r"about .* GiB, and .* or --accumulate \d+ or more"):
        preflight(config, closely=True)
    assert preflight(override(config, {"batch_size": 16}), closely=True) == ""


@pytest.mark.parametrize(
    ("exit_code", "says"),
    [
        (1, "a training process ended with exit code 1; what it said is above"),
        (UNGUARDED, 'put what starts the run below `if __name__ == "__main__":`'),
        (-9, "was killed by SIGKILL (out of memory? then take a smaller --batch-size"),
    ],
)
def test_a_process_that_ended_without_a_word(exit_code, says):
    assert says in str(silent_end(exit_code))


def python(code: str, folder: Path, stdin: bool = False) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(code)
    words = [sys.executable, "-" if stdin else "script.py"]
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, input=code if stdin else None
    )


@pytest.mark.slow
@pytest.mark.ddp
def test_two_processes_from_a_script_without_a_main_guard(tmp_path):
    done = python(CALL, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained out") == 1


@pytest.mark.slow
@pytest.mark.ddp
def test_two_processes_as_in_a_notebook(tmp_path):
    done = python("import sys; sys.ps1 = '>>> '\n" + CALL, tmp_path, stdin=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained out") == 1


@pytest.mark.slow
@pytest.mark.ddp
def test_two_processes_of_a_script_that_has_parts_and_no_guard(tmp_path):
    done = python(PART + CALL, tmp_path)
    assert done.stderr.splitlines()[-1].startswith(
        "seamask.base.errors.UserError: devices > 1 starts Python anew"
    )
    assert done.stderr.count("Traceback") <= 2  # of the error, and of what it came from


@pytest.mark.slow
@pytest.mark.ddp
def test_out_of_memory_in_one_of_two_processes(tmp_path):
    plugin = tmp_path / "hungry.py"
    plugin.write_text(
        "import torch\n"
        "from seamask.masks import PENALTIES\n"
        "from seamask.masks.penalties import Penalty\n"
        "PENALTIES.register('hungry')(Penalty(lambda masks, budget: torch.empty(2**50).sum()))\n"
    )
    words = (
        "pretrain shapes-sequential --image-size 16 --epochs 1 --n-masks 2 --data.shapes-train 32 "
        "--data.shapes-test 16 --batch-size 8 --threads 1 --masks.width 2 --objective.hidden 32 "
        "--data.cache cache --out out --devices 2 --device cpu --penalties.more hungry=1"
    )
    done = subprocess.run(
        [sys.executable, "-m", "seamask", *words.split(), "--plugin", "hungry.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("seamask: error: out of memory (4,194,304.00 GiB more were asked for)")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("kilobytes", [1_500_000, 3_500_000])
def test_under_a_limit_of_memory(kilobytes, tmp_path):
    words = (
        "pretrain shapes-sequential --image-size 64 --epochs 1 --n-masks 4 --data.shapes-train 512 "
        "--data.shapes-test 0 --batch-size 512 --threads 1 --masks.width 32 --out out "
        "--data.cache cache --backbone resnet50"
    )
    line = f"ulimit -v {kilobytes}; exec {sys.executable} -m seamask {words}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "--batch-size" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
