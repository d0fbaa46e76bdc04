"""Folders as users have them: what is trained on, held out and left out is said, and is right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from safetensors.torch import load_file, save_file

from command import call
from seamask.runs import RunFolder

QUICK = (
    "--image-size 16 --epochs 1 --n-masks 1 --masks.width 2 --objective.hidden 8 --batch-size 4 "
    "--log.masks-every 0 --threads 1 --data.cache cache"
)
Fill = Callable[..., None]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fill() -> Fill:
    """`fill("x", **{"train/cat": 8})`: x/train/cat/0.png … 7.png, of noise."""
    draw = np.random.default_rng(0)

    def _fill(folder: str, **images: int) -> None:
        for where, count in images.items():
            for i in range(count):
                path = Path(folder, where, f"{i}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw.integers(0, 256, (20, 20, 3), np.uint8)).save(path)

    return _fill


def fill_voc(folder: str, values: tuple[int, int], kind: str = "SegmentationClass") -> None:
    """Six images in Pascal VOC's layout, a square of the second value on the first in each map."""
    fill = np.random.default_rng(0)
    for part in ("JPEGImages", kind, "ImageSets/Segmentation"):
        Path(folder, part).mkdir(parents=True)
    for i in range(6):
        image = fill.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(image).save(Path(folder, "JPEGImages", f"{i}.jpg"))
        label = np.full((32, 32), values[0], np.uint8)
        label[8:24, 8:24] = values[1]
        Image.fromarray(label).save(Path(folder, kind, f"{i}.png"))
    Path(folder, "ImageSets/Segmentation/train.txt").write_text("0\n1\n2\n3\n")
    Path(folder, "ImageSets/Segmentation/val.txt").write_text("4\n5\n")


def pretrain(data: str, out: str = "run", more: str = "") -> None:
    line = f"pretrain shapes-sequential --data {data} --out {out} {QUICK} {more}"
    assert call(*line.split()) == 0


def evaluate(line: str, capsys: pytest.CaptureFixture[str]) -> dict:
    capsys.readouterr()
    assert call(*f"evaluate {line} --threads 1 --data.cache cache --json".split()) == 0
    found: dict = json.loads(capsys.readouterr().out)
    return found


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that a command ends with."""
    capsys.readouterr()
    assert call(*f"{line} --threads 1 --data.cache cache".split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said.removeprefix("seamask: error: ").strip()


def test_the_first_lines_say_what_is_trained_on_and_what_is_not(fill, capsys):
    fill("x", **{"train/cat": 5, "train/dog": 6, "valid/cat": 3, "valid/dog": 3, "test/cat": 2})
    Path("x/train/cat/broken.png").write_text("no image")
    Path("x/readme.md").write_text("")
    pretrain("x")
    first = capsys.readouterr().out.partition("trained in")[0]
    for line in (
        "shapes-sequential: 11 images of x at 16 px",
        "2 classes, whose labels training does not see: cat 5, dog 6",
        "held out for scores: 6 labelled images, valid/",
        "left out: 1 file of other types (1 .md)",
        "test/ is left out: 2 images; --data.split test measures it",
        "skipped 1 image that cannot be used: train/cat/broken.png: not an image, or of an unknown",
        "an epoch leaves out 3 of 11 images, others each time: they fill no batch of 4",
    ):
        assert line in first, first
    data = RunFolder("run").read_manifest()["data"]
    assert (data["classes"], data["held_out"]) == (["cat", "dog"], {"split": "valid/", "images": 6})
    assert "2 to 4 of 255" in data["jpeg"]


def test_an_evaluation_says_and_keeps_what_it_skipped_and_measured(fill, capsys):
    fill("x", **{"train/a": 6, "train/b": 6, "val/a": 3, "val/b": 3, "test/a": 2, "test/b": 2})
    broken = ["val/b/0.png", "val/b/1.png"]
    for name in broken:
        Path("x", name).write_text("no image")
    line = "untrained:test_resnet knn --data x --image-size 32 --out out"
    found = evaluate(line, capsys)
    assert [path for path, _ in found["skipped"]] == broken
    assert found["split"] == "val/"
    assert "test/ is left out: 4 images; --data.split test measures it" in found["notes"]
    assert json.loads(Path(found["file"]).read_text()) == found
    other = evaluate(f"{line} --data.split test", capsys)
    assert (other["split"], other["skipped"]) == ("test/", [])
    assert other["file"] != found["file"]
    assert call(*f"evaluate {line} --threads 1 --data.cache cache".split()) == 0
    said = capsys.readouterr().out
    assert "knn on x (val/), " in said
    assert all(name in said for name in broken)


def test_results_of_two_folders_of_one_name_are_two_files(fill, capsys):
    for above in ("one", "two"):
        fill(f"{above}/photos", **{"a": 6, "b": 6})
    files = {
        evaluate(
            f"untrained:test_resnet knn --data {above}/photos --image-size 32 --out out", capsys
        )["file"]
        for above in ("one", "two")
    }
    assert len(files) == len(list(Path("out").glob("*.json"))) == 2


@pytest.mark.parametrize("kind", ["SegmentationClass", "SegmentationObject"])
def test_masks_of_0_and_255_are_refused_where_they_would_be_scored(fill, capsys, kind):
    fill("x", **{"a": 8})
    pretrain("x")
    fill_voc("binary", (0, 255), kind)
    said = refused("evaluate run masks --data binary", capsys)
    assert "write 1 for the first object" in said
    fill_voc("nothing", (0, 0), kind)
    said = refused("evaluate run masks --data nothing", capsys)
    assert "label images hold no object" in said
    fill_voc("good", (0, 1), kind)
    assert 0 <= evaluate("run masks --data good", capsys)["metrics"]["iou"] <= 1


def test_one_class_of_pixels_is_nothing_to_segment(capsys):
    line = "evaluate untrained:test_resnet segment --image-size 32 --crop 32 --epochs 1"
    for name, values in (("binary", (0, 255)), ("nothing", (0, 0))):
        fill_voc(name, values)
        for _ in range(2):  # what was found of the images is kept
            said = refused(f"{line} --batch-size 2 --data {name}", capsys)
            assert "hold one class only, 0, and nothing else but 255 = void; store objects" in said


def test_an_encoder_is_shown_what_it_was_trained_on(fill, capsys):
    fill("x", **{"a": 8, "b": 8})
    pretrain("x")
    folder = RunFolder("run")
    manifest = folder.read_manifest()
    plain = evaluate("run knn", capsys)
    assert plain["normalization"] == {**manifest["normalization"], "of": "encoder"}
    other = {"mean": [0.1, 0.2, 0.3], "std": [0.9, 0.8, 0.7]}
    folder.write_manifest({**manifest, "normalization": other})
    for encoder in ("run", "untrained:run"):
        assert evaluate(f"{encoder} knn --data x", capsys)["normalization"] == {
            **other, "of": "encoder",
        }  # fmt: skip
    untrained = "untrained:test_resnet knn --data x --image-size 16"
    assert evaluate(untrained, capsys)["normalization"]["of"] == "data"
    # Weights on their own say it too; those of before said nothing.
    exported = evaluate("run/encoder.safetensors knn --data x", capsys)
    assert exported["normalization"] == {**manifest["normalization"], "of": "encoder"}
    about = {"backbone": "test_resnet", "image_size": "16"}
    save_file(load_file("run/encoder.safetensors"), "old.safetensors", about)
    assert evaluate("old.safetensors knn --data x", capsys)["normalization"]["of"] == "data"


def test_images_of_a_deep_data_set_look_the_same_to_the_masker(capsys):
    Path("deep").mkdir()
    values = np.random.default_rng(0).integers(0, 4096, (8, 20, 20)).astype(np.uint16)
    for i, image in enumerate(values):
        tifffile.imwrite(f"deep/{i}.tif", image)
    pretrain("deep")
    assert "16-bit grey images: 0 is shown black and 4,095 white" in capsys.readouterr().out
    assert RunFolder("run").read_manifest()["data"]["ranges"] == {"16-bit grey": [0, 4095]}


@pytest.mark.parametrize("task", ["linear", "knn", "cluster"])
def test_a_probe_that_its_data_cannot_feed_is_one_line(fill, capsys, task):
    fill("one", **{"train/a": 4, "val/a": 2})
    line = f"evaluate untrained:test_resnet {task} --image-size 32"
    assert "no labelled images are held out" in refused(f"{line} --data one", capsys)
    if task == "linear":
        fill("two", **{"a": 2, "b": 2})
        assert "of one class: give more" in refused(f"{line} --data two", capsys)


@pytest.mark.parametrize("task", ["linear --protocol paper", "finetune"])
def test_a_probe_that_diverged_is_no_result(fill, capsys, task):
    fill("x", **{"a": 8, "b": 8})
    line = f"evaluate untrained:test_resnet {task} --data x --image-size 32 --lr 1e7 --epochs 12"
    said = refused(f"{line} --batch-size 4 --out out", capsys)
    assert re.search(r"diverged at --lr 10000000.0: take a lower one", said)
    assert not list(Path().glob("out/*"))


@pytest.mark.parametrize(
    "line",
    ["pretrain --out=", "pretrain --data=", "evaluate x knn --out=", "study table1 --out=",
     "study table1 --data.root=", "bench --figure=", "masks x y.png --out="],
)  # fmt: skip
def test_an_empty_value_is_refused(capsys, line):
    *before, option = line.split()
    for words in ([option], [option[:-1], ""]):
        assert call(*before, *words) == 2
        assert f"{option[:-1]} is empty: give it a value, or leave" in capsys.readouterr().err
