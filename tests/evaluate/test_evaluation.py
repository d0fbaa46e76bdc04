"""`seamask evaluate`, every task on a real run: results, protocols, and what is refused."""

import errno
import json
import re
import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import seamask
from command import call
from seamask.base import settings
from seamask.base.errors import UserError
from seamask.base.files import cannot_write
from seamask.cli import main
from seamask.data.sets.scenes import generate
from seamask.evaluate import (
    TASKS,
    EvaluationConfig,
    Metric,
    Task,
    check,
    evaluate,
    task_config,
)
from seamask.evaluate.evaluation import NotKept
from seamask.evaluate.finetune import FinetuneConfig, finetune
from seamask.evaluate.linear import LinearConfig, linear_sgd
from seamask.evaluate.subject import open_subject
from seamask.study.grid import flat

QUICK = {
    "knn": {},
    "linear": {"protocol": "paper", "epochs": 2, "batch_size": 32},
    "finetune": {"epochs": 2, "batch_size": 32, "lr": 0.05},
    "segment": {"epochs": 1, "batch_size": 16, "image_size": 32, "data.limit": 16},
    "masks": {},
    "cluster": {"restarts": 1},
}


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(before, module):
    return all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def complaint(capsys, *arguments):
    """The one line that a command ends with, exit code 2."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("seamask: error: ")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_leaves_a_result_and_the_run_as_it_was(run, task, tmp_path):
    before = (run / "encoder.safetensors").read_bytes()
    result = evaluate(run, task, out=str(tmp_path), threads=1, **QUICK[task])
    assert result.task == task
    assert result.data == "shapes"
    assert all(np.isfinite(value) for value in result.metrics.values())
    (file,) = tmp_path.glob("*.json")
    assert file.name.startswith(f"{result.column}-of-")
    assert file.name.endswith("-seed0.json")
    kept = json.loads(file.read_text())
    assert kept == json.loads(result.to_json())
    assert {"metrics", "protocol", "seconds", "commit", "seed", "fingerprint"} <= set(kept)
    pictures = list(tmp_path.glob("*.png"))
    assert [str(p) for p in pictures] == [result.figure] * TASKS[task].draws
    for picture in pictures:
        Image.open(picture).verify()
    assert not list(tmp_path.glob(".*"))  # nothing half-written
    assert (run / "encoder.safetensors").read_bytes() == before


@pytest.mark.parametrize("task", ["knn", "linear", "finetune", "segment"])
def test_the_same_seed_gives_the_same_numbers(run, task, tmp_path):
    first, second = (
        evaluate(run, task, out=str(tmp_path), threads=1, **QUICK[task]) for _ in range(2)
    )
    assert first.metrics == second.metrics
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_results_of_a_run_are_kept_in_its_folder_and_others_nowhere(run, cache):
    result = evaluate(run, "cluster", restarts=1, threads=1)
    assert result.file == str(run / "evaluations" / f"{result.name}.json")
    common = {"data": "shapes", "data.cache": str(cache), "data.shapes_test": 32, "threads": 1}
    result = evaluate(
        "untrained:test_resnet", "cluster", image_size=32, **{"data.shapes_train": 64}, **common
    )
    assert result.file is None


def test_results_of_two_encoders_share_no_file(run, cache, tmp_path):
    common = {"data": "shapes", "data.cache": str(cache), "data.shapes_test": 32, "threads": 1}
    common |= {"data.shapes_train": 64, "image_size": 32, "restarts": 1, "out": str(tmp_path)}
    encoders = ("untrained:test_resnet", "untrained:test_resnet.r160_in1k", f"untrained:{run}", run)
    found = [evaluate(encoder, "cluster", **common) for encoder in encoders]
    assert len({result.column for result in found}) == 1
    assert len({result.file for result in found}) == len(list(tmp_path.glob("*.json"))) == 4
    again = evaluate(run / ".." / run.name, "cluster", **common)  # the same one
    assert again.file == found[-1].file


def test_a_result_that_cannot_be_written_is_printed(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"

    def lose(context):
        out.write_text("")  # something else takes the place of the folder meanwhile
        return {"one": 1.5}

    task = Task("a number", EvaluationConfig, lose, (Metric("one"),))
    monkeypatch.setitem(TASKS._parts, "number", task)
    assert call("evaluate", run, "number", "--out", out, "--threads", 1) == 2
    said = capsys.readouterr()
    assert re.search(r"^one +1.5$", said.out, re.MULTILINE)
    assert said.err.startswith(f"seamask: error: the result is not kept: cannot write {out}")
    out.unlink()
    with pytest.raises(NotKept) as found:
        evaluate(run, "number", out=str(out), threads=1)
    assert found.value.result.metrics == {"one": 1.5}


def test_a_picture_that_cannot_be_written_costs_no_result(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"

    def lose(path):
        raise cannot_write(path, OSError(errno.ENOSPC, "No space left on device"))

    def numbers(context):
        context.keep(lose)
        return {"one": 1.5}

    task = Task("a number", EvaluationConfig, numbers, (Metric("one"),), draws=True)
    monkeypatch.setitem(TASKS._parts, "number", task)
    assert call("evaluate", run, "number", "--out", out, "--threads", 1) == 2
    said = capsys.readouterr()
    assert re.search(r"^one +1.5$", said.out, re.MULTILINE)
    assert said.err.startswith(f"seamask: error: the result is not kept: cannot write {out}")


def test_a_run_that_is_replaced_meanwhile_keeps_no_result_of_before(run, tmp_path, monkeypatch):
    replaced = shutil.copytree(run, tmp_path / "run")

    def replace(context):
        text = (replaced / "config.yaml").read_text()
        assert "\nseed: 0\n" in text
        (replaced / "config.yaml").write_text(text.replace("\nseed: 0\n", "\nseed: 1\n"))
        return {"one": 1.5}

    task = Task("a number", EvaluationConfig, replace, (Metric("one"),))
    monkeypatch.setitem(TASKS._parts, "number", task)
    with pytest.raises(NotKept, match="now holds another run than the one that was evaluated"):
        evaluate(replaced, "number", threads=1)
    assert not list(replaced.glob("evaluations/number-*"))


def test_a_source_of_a_plugin_that_is_missing_is_named(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    lines = (copy / "config.yaml").read_text()
    assert "source: shapes" in lines
    about = f"# --plugin {json.dumps(str(tmp_path / 'mine.py'))}\n"
    (copy / "config.yaml").write_text(about + lines.replace("source: shapes", "source: mine"))
    said = complaint(capsys, "evaluate", copy, "knn", "--threads", 1)
    assert said.endswith(
        f"this run was made with --plugin {tmp_path / 'mine.py'}: give it here too"
    )


def test_what_cannot_be_written_is_found_before_anything_is_computed(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    started = []
    task = Task("", EvaluationConfig, lambda c: started.append(c) or {"one": 1.0}, (Metric("one"),))
    monkeypatch.setitem(TASKS._parts, "number", task)
    with pytest.raises(UserError, match=r"--out .*: .*file is a file, not a folder"):
        evaluate(run, "number", out=str(tmp_path / "file" / "x"), threads=1)
    assert not started


def test_a_task_finds_nothing_that_it_does_not_name(run, tmp_path, monkeypatch):
    task = Task("a number", EvaluationConfig, lambda context: {"one": 1.0}, (Metric("two"),))
    monkeypatch.setitem(TASKS._parts, "number", task)
    with pytest.raises(UserError, match=r"number found 'one': add Metric\('one'\)"):
        evaluate(run, "number", out=str(tmp_path), threads=1)
    assert not list(tmp_path.iterdir())


def test_the_protocol_tells_apart_what_must_not_be_mixed(run, tmp_path):
    def protocol(**changed):
        return evaluate(run, "knn", out=str(tmp_path), threads=1, **changed)

    plain = protocol()
    assert protocol(seed=1).column == plain.column
    assert protocol(image_size=24).column != plain.column
    assert protocol(neighbours=(3,)).column != plain.column


SCRIPTS = {  # ADIOS's, and what Sam et al. 2022, appendix E, says
    ("linear", "paper"): {"batch_size": 256, "lr": 0.1, "weight_decay": 0.0, "milestones": []},
    ("linear", "adios"): {
        "batch_size": 128, "lr": 0.1, "weight_decay": 0.0, "milestones": [0.6, 0.8], "epochs": 100,
    },
    ("finetune", "paper"): {"batch_size": 256, "lr": 0.5, "weight_decay": 0.0},
    ("finetune", "adios"): {
        "batch_size": 128, "lr": 0.5, "weight_decay": 5e-4, "warmup_epochs": 10.0, "epochs": 200,
    },
}  # fmt: skip


@pytest.mark.parametrize(("task", "protocol"), SCRIPTS)
def test_what_is_not_given_is_the_protocols(task, protocol):
    config = settings.override(task_config(task), {"protocol": protocol})
    expected = {"protocol": protocol, **SCRIPTS[task, protocol]}
    assert expected.items() <= flat(check(config)).items()
    given = {"batch_size": 64, "weight_decay": 0.0}
    given |= {"milestones": [1.0]} if task == "linear" else {}
    found = flat(check(settings.override(config, given)))
    assert (expected | given).items() <= found.items()
    assert check(check(config)) == check(config)


def test_a_result_says_what_its_protocol_was(run, tmp_path):
    def protocol(task, **changed):
        return evaluate(run, task, out=str(tmp_path), threads=1, epochs=1, **changed).protocol

    found = protocol("linear", protocol="adios", batch_size=16)
    assert found["protocol"] == "adios"
    assert (found["batch_size"], found["milestones"]) == (16, [0.6, 0.8])
    found = protocol("finetune", protocol="adios", centre_crop=True, **{"data.size": 48})
    assert (found["batch_size"], found["weight_decay"]) == (128, 5e-4)
    assert (found["centre_crop"], found["data.size"], found["image_size"]) == (True, 48, 32)
    # What does not matter to cached features is no part of their protocol.
    found = evaluate(run, "linear", out=str(tmp_path), threads=1).protocol
    assert {p for p in found if not p.startswith("data.")} == {
        "image_size", "protocol", "strengths", "share",
    }  # fmt: skip


def test_sgd_belongs_to_the_paper_protocol_and_strengths_to_the_cached_one():
    def parts(**changed):
        config = settings.override(LinearConfig(), changed)
        return {path for path, _ in settings.leaves(LinearConfig)} - set(config.unused())

    assert "lr" in parts(protocol="paper")
    assert "strengths" not in parts(protocol="paper")
    assert "lr" not in parts(protocol="cached")
    assert "strengths" in parts(protocol="cached")


@pytest.mark.parametrize(("given", "says"), [
    ({"lr": 5.0}, "--lr 5.0: --protocol cached has no such setting; leave it out, or take paper"),
    ({"centre_crop": True}, "--centre-crop True: --protocol cached has no such setting"),
    ({"protocol": "adios", "share": 0.2}, "--share 0.2: --protocol adios .* or take cached"),
])  # fmt: skip
def test_settings_of_another_protocol_are_refused(given, says):
    with pytest.raises(UserError, match=says):
        check(settings.override(task_config("linear"), given))


def test_a_fine_tuning_that_never_leaves_its_warm_up_says_so(run, tmp_path):
    found = evaluate(run, "finetune", out=str(tmp_path), threads=1, epochs=1)
    assert found.notes[-1].startswith("the warm-up of 10 epochs is not over after 1")


# What can be evaluated


def test_a_run_its_weights_file_and_timm_hold_the_same_encoder(run, tmp_path):
    x = torch.randn(2, 3, 32, 32)
    encoder = seamask.load_encoder(run)
    expected = encoder(x)
    moved = tmp_path / "weights.safetensors"
    moved.write_bytes((run / "encoder.safetensors").read_bytes())
    subject = open_subject(str(moved))
    assert subject.image_size == 32
    assert torch.equal(subject.backbone(x), expected)
    assert torch.equal(open_subject(str(run)).backbone(x), expected)
    line = json.loads((run / "manifest.json").read_text())["backbone"]
    model = timm.create_model(line, num_classes=0, checkpoint_path=str(moved)).eval()
    assert same(state(encoder), model)
    torch.testing.assert_close(model(x), expected)  # ours multiplies matrices on small maps


def test_untrained_means_the_network_that_the_run_began_with(run):
    small = open_subject("untrained:resnet18", image_size=32, seed=3)
    assert small.backbone.conv1.kernel_size == (3, 3)  # the small stem, as in pretraining
    again = open_subject("untrained:resnet18", image_size=32, seed=3)
    other = open_subject("untrained:resnet18", image_size=32, seed=4)
    assert same(state(small.backbone), again.backbone)
    assert not same(state(small.backbone), other.backbone)
    trained, untrained = open_subject(str(run)), open_subject(f"untrained:{run}", seed=9)
    assert state(trained.backbone).keys() == state(untrained.backbone).keys()
    assert not same(state(trained.backbone), untrained.backbone)


@pytest.mark.parametrize(("subject", "says"), [
    ("untrained:resnet81", "unknown backbone 'resnet81': did you mean 'resnet18'?"),
    ("resnet81", "unknown run, weights file or timm model 'resnet81': did you mean"),
    ("nowhere/encoder.safetensors", "no weights at nowhere/encoder.safetensors: no such file"),
])  # fmt: skip
def test_what_cannot_be_found(subject, says, capsys):
    message = complaint(capsys, "evaluate", subject, "knn", "--data", "shapes")
    assert message.startswith(says)


def test_weights_of_unknown_origin_and_damaged_ones_are_refused(run, tmp_path, capsys):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    message = complaint(capsys, "evaluate", path, "knn", "--data", "shapes")
    assert "does not say which backbone it holds" in message
    path.write_bytes((run / "encoder.safetensors").read_bytes()[:1000])
    message = complaint(capsys, "evaluate", path, "knn", "--data", "shapes")
    assert "not a safetensors file, or damaged" in message


# What is refused


@pytest.mark.parametrize(("arguments", "says"), [
    ("", "usage: seamask evaluate RUN TASK"),
    ("RUN", "usage: seamask evaluate RUN TASK"),
    ("RUN lineal", "unknown evaluation 'lineal': did you mean 'linear'?"),
    ("RUN knn --epochs 3", "unknown setting '--epochs'"),
    ("RUN linear --protocol papers", "unknown value for --protocol: 'papers': did you mean"),
    ("RUN linear --epochs 0", "--epochs is 0: it must be at least 1"),
    ("RUN finetune --crop 0.5 0.1", "--crop is 0.5 0.1: it must be above 0 and at most 1 and rise"),
    ("RUN segment --scale 0 1", "--scale is 0.0 1.0: it must be above 0 and at most 100 and rise"),
    ("RUN linear --milestones 60 80", "--milestones is 60.0 80.0: it must be above 0"),
    ("RUN finetune --batch-size 1", "--batch-size is 1: it must be at least 2"),
    ("RUN finetune --protocol cached", "unknown value for --protocol: 'cached'"),
    ("RUN finetune --centre-crop", "--data.size is 0: --centre-crop needs images stored larger"),
    ("RUN finetune --centre-crop --data.size 32", "--data.size is 32: --centre-crop needs images"),
    ("RUN knn --share 1", "--share is 1.0: it must be above 0 and below 1"),
    ("RUN knn --neighbours 0", "--neighbours is 0: it must be at least 1"),
    ("RUN knn --data no/such/folder", "--data no/such/folder: no such folder"),
    ("untrained:test_resnet masks --data shapes", "untrained:test_resnet has no mask network"),
    ("RUN masks --image-size 40", "--image-size 40: the mask network sees 32 pixels"),
])  # fmt: skip
def test_mistakes_are_one_line(run, arguments, says, capsys):
    words = [str(run) if word == "RUN" else word for word in arguments.split()]
    assert complaint(capsys, "evaluate", *words).startswith(says)


def folder_of_scenes(root, classes, per_class=4):
    pixels, labels, _ = generate(0, np.arange(8 * per_class), 32)
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        if label < classes or classes == 0:
            folder = root / f"class{label}" if classes else root
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i}.png")


@pytest.mark.parametrize(("task", "classes", "says"), [
    ("knn", 0, "no labelled images are held out"),
    ("linear", 0, "no labelled images are held out"),
    ("finetune", 0, "no labelled images are held out"),
    ("segment", 0, "has no classes for its pixels"),
    ("masks", 0, "has no object masks"),
])  # fmt: skip
def test_data_that_does_not_fit_the_task(run, task, classes, says, tmp_path, cache, capsys):
    folder_of_scenes(tmp_path / "images", classes)
    arguments = ["--data", tmp_path / "images", "--data.cache", cache, "--threads", 1]
    assert says in complaint(capsys, "evaluate", run, task, *arguments)


def test_another_size_than_a_fixed_one_is_refused(cache, capsys):
    arguments = ["--data", "shapes", "--data.cache", cache, "--image-size", 30, "--threads", 1]
    message = complaint(capsys, "evaluate", "untrained:test_vit", "knn", *arguments)
    assert "test_vit cannot take" in message


def test_the_command_prints_a_table_or_one_json_object(run, tmp_path, capsys):
    arguments = ["evaluate", run, "knn", "--threads", 1, "--out", tmp_path]
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "knn on shapes" in said
    assert re.search(r"^accuracy, % +[\d.]+ +[\d.]+$", said, re.MULTILINE)  # and chance
    assert re.search(r"^\d+ held-out images of 8 classes, \d+ to learn from", said, re.MULTILINE)
    with pytest.raises(SystemExit):
        main([str(a) for a in [*arguments, "--json"]])
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["metrics"]["accuracy"] >= 0


@pytest.mark.parametrize("task", TASKS)
def test_help_lists_the_settings_of_a_task(task, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "any/run", task, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for path, _ in settings.leaves(TASKS[task].config):
        assert settings.flag(path, TASKS[task].config) in said


def test_defaults_are_possible():
    for task in TASKS:
        check(task_config(task))


# The trained classifiers


@pytest.fixture(scope="module")
def scenes(cache):
    from seamask.data import DataConfig, load

    return load(DataConfig(cache=str(cache), shapes_train=256, shapes_test=128), 32)


@pytest.fixture
def backbone():
    return open_subject("untrained:test_resnet", image_size=32).backbone


CPU = torch.device("cpu")


def test_linear_leaves_the_backbone_bit_identical_even_when_it_was_training(scenes, backbone):
    before = state(backbone)
    backbone.train()
    linear_sgd(
        backbone, scenes, 32, check(LinearConfig(protocol="paper", epochs=2, batch_size=64)), CPU
    )
    assert same(before, backbone)
    assert all(p.grad is None for p in backbone.parameters())


def test_finetuning_trains_a_copy(scenes, backbone):
    before = state(backbone)
    finetune(backbone, scenes, 32, check(FinetuneConfig(epochs=1, batch_size=64, lr=0.01)), CPU)
    assert same(before, backbone)


@pytest.mark.slow
def test_finetuning_learns_and_a_hopeless_rate_is_named(scenes, backbone):
    from dataclasses import replace

    seen = replace(scenes, probe_test=scenes.probe_train)
    config = FinetuneConfig(epochs=12, batch_size=32, lr=0.02, crop=(0.9, 1.0), warmup_epochs=1)
    config = check(config)
    assert finetune(backbone, seen, 32, config, CPU) > 30  # chance is 12.5
    with pytest.raises(UserError, match=r"diverged at --lr 1e\+30: take a lower one"):
        finetune(backbone, scenes, 32, replace(config, lr=1e30, epochs=1), CPU)


@pytest.mark.slow
def test_the_cached_linear_probe_is_near_the_papers(scenes, run):
    backbone = seamask.load_encoder(run)
    asked = check(LinearConfig(protocol="paper", epochs=60, batch_size=64))
    sgd = linear_sgd(backbone, scenes, 32, asked, CPU)
    cached = evaluate(
        run, "linear", threads=1, **{"data.shapes_train": 256, "data.shapes_test": 128}
    ).metrics["accuracy"]
    assert min(sgd, cached) > 14
    assert abs(sgd - cached) < 10  # 128 images: a standard error of 4 points each


def class_folders(root, seed=0, each=12):
    """Images of 32 px of noise in three class folders, with no val/ among them."""
    rng = np.random.default_rng(seed)
    for name in "abc":
        (root / name).mkdir(parents=True)
        for k in range(each):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{k}.png")
    return root


def train_on(data, out, cache, **changed):
    """Train for one epoch on a folder, or a store of it."""
    settings = {
        "data": data, "data.cache": str(cache), "image_size": 32, "batch_size": 16, "epochs": 1,
        "masks.width": 4, "objective.hidden": (16,), "objective.out_dim": 8, "device": "cpu",
        "threads": 1, **changed,
    }  # fmt: skip
    seamask.pretrain(recipe="shapes-simclr", out=out, **settings)


def test_a_run_is_measured_on_the_images_that_it_held_out(cache, tmp_path):
    data, out = class_folders(tmp_path / "photos"), tmp_path / "run"
    train_on(data, out, cache, seed=1, **{"data.holdout": 0.25})
    said = json.loads((out / "manifest.json").read_text())["data"]["fingerprint"]
    found = evaluate(out, "knn")
    assert (found.fingerprint, found.seed, found.images["held_out"]) == (said, 1, 9)
    assert evaluate(f"untrained:{out}", "knn").fingerprint == said
    data.rename(tmp_path / "moved")
    moved = {"data": str(tmp_path / "moved")}
    assert evaluate(out, "knn", **moved).fingerprint == said
    for other in ({"seed": 0}, {"data.holdout": 0.5}):
        with pytest.raises(UserError, match=r"were trained on; .* held out those of --seed 1"):
            evaluate(out, "knn", **moved, **other)
    fewer = evaluate(out, "knn", **moved, **{"data.holdout": 0.1})  # of those it held out
    assert fewer.images["held_out"] == 3
    file = shutil.copy(out / "encoder.safetensors", tmp_path)  # says so by itself
    kept = {"data.cache": str(cache), "device": "cpu", "out": str(tmp_path / "of-file")}
    alone = evaluate(file, "knn", **moved, **kept)
    assert (alone.fingerprint, alone.seed) == (said, 1)
    assert alone.metrics == evaluate(out, "knn", **moved).metrics
    for other in ({"seed": 0}, {"data.holdout": 0.5}):
        with pytest.raises(UserError, match=r"were trained on; .* held out those of --seed 1"):
            evaluate(file, "knn", **moved, **kept, **other)
    others = class_folders(tmp_path / "others", seed=1)
    assert evaluate(out, "knn", data=str(others), seed=0).seed == 0  # never trained on
    assert evaluate(file, "knn", data=str(others), **kept, seed=0).seed == 0


def test_a_run_on_a_packed_store_is_measured_on_what_was_held_out_there(cache, tmp_path):
    data, packed, out = class_folders(tmp_path / "photos"), tmp_path / "packed", tmp_path / "run"
    pack = "data", "pack", "--data", data, "--size", 32, "--out", packed, "--data.holdout", 0.25
    assert call(*pack, "--data.cache", cache) == 0
    train_on(packed, out, cache, seed=1)
    kept = {"data.cache": str(cache), "device": "cpu", "out": str(tmp_path / "of-file")}
    for encoder in (out, out / "encoder.safetensors"):
        assert evaluate(encoder, "knn", data=str(packed), **kept).images["held_out"] == 9
        for other in ({"seed": 1}, {"data.holdout": 0.5}):
            with pytest.raises(UserError, match=r"of --seed 0 --data.holdout 0.25: give both"):
                evaluate(encoder, "knn", data=str(data), **kept, **other)
        assert evaluate(encoder, "knn", data=str(data), **kept).images["held_out"] == 9


@pytest.mark.parametrize("changed", [{"data.jpeg": "exact"}, {"data.max_megapixels": 50.0}])
def test_exported_weights_are_guarded_however_images_were_read(cache, tmp_path, changed):
    data, out = class_folders(tmp_path / "photos"), tmp_path / "run"
    train_on(data, out, cache, seed=1, **changed)
    kept = {"data": str(data), "data.cache": str(cache), "out": str(tmp_path)}
    for encoder in (out, out / "encoder.safetensors"):
        with pytest.raises(UserError, match=r"held out those of --seed 1 --data.holdout 0.1"):
            evaluate(encoder, "knn", **kept, seed=0)


def test_a_run_that_held_out_nothing_says_so_when_it_is_measured(cache, tmp_path):
    data, out = class_folders(tmp_path / "photos"), tmp_path / "run"
    train_on(data, out, cache, **{"data.holdout": 0.0})
    found = evaluate(out, "knn", **{"data.holdout": 0.25})
    assert "it was trained on these images" in found.notes[-1]
    others = class_folders(tmp_path / "others", seed=1)
    assert not evaluate(out, "knn", data=str(others), **{"data.holdout": 0.25}).notes


def test_a_limit_holds_where_only_a_part_is_labelled(run, cache, tmp_path):
    data = class_folders(tmp_path / "photos")
    shutil.copy(data / "a/0.png", data / "stray.png")
    found = evaluate(
        run, "knn", data=str(data), out=str(tmp_path), **{"data.limit": 8, "data.cache": str(cache)}
    )
    assert found.images["learn"] == 8
