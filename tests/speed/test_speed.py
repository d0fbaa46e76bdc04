"""Counts against formulas written out, times in turns, and `seamask bench` from end to end."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from command import call, parts_of_seamask
from seamask.base.ranges import named
from seamask.base.registry import with_parts
from seamask.base.settings import override
from seamask.cli import main
from seamask.networks.settings import SMALL_ENCODER
from seamask.plugins import load_plugin
from seamask.recipes import recipe_config
from seamask.speed import bench as bench_module
from seamask.speed.bench import Bench, spread, training_images
from seamask.speed.count import Cost, count, count_ranges, counted
from seamask.speed.timing import in_ranges, in_turns, median, ratio
from seamask.training.workload import Workload

TINY = {"image_size": 16, "batch_size": 8, "masks.width": 8, "masks.downscale": 1}


def tiny(**changed):
    return override(recipe_config("shapes-sequential"), {**TINY, **changed})


def test_operations_and_bytes_of_a_convolution():
    layer = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    x = torch.randn(2, 3, 7, 7)
    cost = count(lambda: layer(x))
    assert cost.operations == 2 * 2 * 5 * 7 * 7 * 3 * 9
    assert cost.bytes == 4 * (2 * 3 * 49 + 5 * 3 * 9 + 2 * 5 * 49)


@pytest.mark.parametrize("changed", [
    {}, {"updates": "simultaneous", "masks.stack": True, "masks.single": True},
    {"masker": "random-block", "masks.compare": ("each", "both")},
], ids=str)  # fmt: skip
def test_no_operation_of_a_step_is_outside_its_ranges(changed):
    costs = counted(tiny(**changed))
    step = costs.pop("step").operations
    assert sum(cost.operations for cost in costs.values()) == pytest.approx(step, rel=1e-6)


def test_a_step_has_as_many_encoder_passes_as_the_method():
    # N + 1 forward and full backward for the encoder; N + 1 forward and N backward to the images.
    config = tiny(n_masks=3)
    work = Workload(config, torch.device("cpu"))
    x = work.pair[0].images

    def forward():
        with torch.no_grad():
            work.encoder(x)

    def both():
        work.encoder(x).sum().backward()

    def to_the_image():
        for parameter in work.encoder.parameters():
            parameter.requires_grad_(False)
        work.encoder(x.detach().requires_grad_()).sum().backward()

    full, once = count(both).operations, count(forward).operations
    asked = 4 * full + once + 3 * count(to_the_image).operations
    work = Workload(config, torch.device("cpu"))
    passes = count_ranges(work.step)["encoder passes"].operations
    assert 1 < passes / asked < 1.002  # the backward passes of the losses are among them


def test_times_are_taken_in_turns():
    seen = []
    things = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    times = in_turns(things, torch.device("cpu"), rounds=3, warm_up=0)
    assert "".join(seen) == "abbaab"
    assert all(len(t) == 3 for t in times.values())
    assert ratio({"a": [2.0, 6.0, 8.0], "b": [1.0, 2.0, 2.0]}, "a", "b") == 3.0
    assert median({"a": [1.0, 9.0, 2.0]}) == {"a": 2.0}


def test_time_in_ranges_of_one_name_is_added_up():
    def thing():
        with named("all"):
            for seconds in (0.02, 0.03):
                with named("part"):
                    time.sleep(seconds)
            time.sleep(0.05)

    times = in_ranges(thing, torch.device("cpu"), rounds=3)
    assert {name: len(rounds) for name, rounds in times.items()} == {"all": 3, "part": 3}
    for whole, part in zip(times["all"], times["part"], strict=True):
        assert 0.05 <= part <= whole - 0.05


def test_memory_is_what_a_task_adds():
    # In a process of its own, as it is used: this one keeps memory that tests before have freed.
    size = 2**28
    code = f"resident_peak(lambda: torch.ones({size}, dtype=torch.uint8))"
    program = f"import torch; from seamask.speed.memory import resident_peak; print({code})"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert 0.9 * size < int(said.stdout) < 1.5 * size


def test_images_of_an_epoch(tmp_path):
    assert training_images(recipe_config("stl10-sequential")) == 105_000
    assert training_images(tiny(**{"data.shapes_train": 70})) == 70
    assert training_images(tiny(**{"data": "cifar10", "data.limit": 7})) == 7
    assert training_images(tiny(**{"data": str(tmp_path / "nothing")})) is None
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    assert training_images(tiny(**{"data": str(tmp_path)})) == 1


@pytest.mark.slow
def test_bench(tmp_path, capsys):
    figure = tmp_path / "bench.png"
    arguments = ["--seconds", "20", "--figure", str(figure), "--image-size", "16"]
    with pytest.raises(SystemExit) as stop:
        main(["bench", "shapes-sequential", *arguments, "--batch-size", "8", "--threads", "1"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for words in ("images/s", "encoder passes", "the whole run"):
        assert words in said
    for flag, name in (("--stack", "stacked views"), ("--batch-size 16", "batch")):
        assert flag in said or name in said.partition("not tried")[2]
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_bench_keeps_to_its_time_and_writes_nothing_unasked(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begin = time.process_time()  # of a busy machine others have the rest
    assert call("bench", "shapes-seamask", "--seconds", "8", "--threads", "1") == 0
    assert time.process_time() - begin < 16
    assert list(tmp_path.iterdir()) == []
    assert "--backbone" not in capsys.readouterr().out  # it is the smallest already


def test_a_spread_is_that_of_nine_times_in_ten():
    assert spread([1.0] * 99 + [50.0]) == 0
    assert spread([1.0, 2.0] * 50) == pytest.approx(1 / 1.5)


@pytest.mark.parametrize(("lie", "cores", "says"), [
    (0.02, (2, 2), ""), (0.3, (2, 2), "spread by 30%"), (0.02, (1, 4), "3 of 4 cores are taken"),
])  # fmt: skip
def test_a_busy_machine_is_said_to_be_busy(lie, cores, says):
    cost = {"step": Cost(1.0, 1.0)}
    times = {"step": [1.0], "encoder passes": [0.5]}
    cpu = torch.device("cpu")
    told = Bench(tiny(), 8, cpu, 1, 1e9, 1.0, times, cost, 0, [], 10, lie, cores).text()
    assert ("busy" in told) == bool(says)
    assert says in told


def test_masks_that_move_in_every_few_steps_are_timed_over_all_of_these():
    work = Workload(tiny(**{"masks.every": 3}), torch.device("cpu"))
    moves = []
    take = work.stepper.take
    work.stepper.take = lambda images, maps, move, place: (
        moves.append(move) or take(images, maps, move, place)
    )
    work.cycle()
    work.cycle()
    assert moves == [True, False, False] * 2
    assert bench_module._steps([3.0, 6.0], work.config) == [1.0, 2.0]


@pytest.mark.parametrize(("changed", "lever", "works"), [
    ({"masks.drop": 0.5, "encoder.backbone": "test_vit"}, {"masks.stack": True}, False),
    ({"masks.drop": 0.5, "encoder.backbone": "test_vit"}, {**SMALL_ENCODER}, False),
    ({"encoder.patch": 8, "encoder.backbone": "test_vit"}, {**SMALL_ENCODER}, False),
    ({"masker": "simultaneous", "masks.n_masks": 3}, {"masks.n_masks": 1}, False),
    ({"masker": "simultaneous", "masks.n_masks": 3}, {"masks.n_masks": 2}, True),
    ({}, {"masks.stack": True}, True),
])  # fmt: skip
def test_only_what_pretrain_takes_is_tried(changed, lever, works):
    config = tiny(**changed)
    assert bench_module._applies(config, lever, torch.device("cpu"), learned=True) == works


def test_a_masker_of_ones_own_is_tried_too():
    with parts_of_seamask():
        load_plugin(Path(__file__).parents[2] / "examples/plugins/masker.py")
        config = override(with_parts(tiny()), {"masker": "discs", "masks.radius": 0.2})
        lever = {"masks.stack": True}
        assert bench_module._applies(config, lever, torch.device("cpu"), learned=False)


def test_what_was_left_out_is_said():
    cost, times = {"step": Cost(1.0, 1.0)}, {"step": [1.0], "encoder passes": [0.5]}
    whole = ("--accumulate 8",)
    told = Bench(
        tiny(), 8, torch.device("cpu"), 1, 1e9, 1.0, times, cost, 0, [], 10, whole=whole
    ).text()
    assert "of one process and whole batches, without --accumulate 8" in told


def test_bench_refuses_in_one_line(capsys):
    for arguments in (["--seconds", "0"], ["--seconds", "x"], ["--n-masks", "0"], ["nothing"]):
        with pytest.raises(SystemExit) as stop:
            main(["bench", *arguments])
        assert stop.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1
