"""`seamask embed`: features and paths in a file."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from pyarrow import parquet

import seamask
from command import call
from seamask.data.files.decode import read_square
from seamask.data.normalize import IMAGENET
from seamask.evaluate.features import extract
from seamask.evaluate.subject import open_subject
from seamask.runs import RunFolder


@pytest.fixture
def photos(tmp_path):
    draw = np.random.default_rng(0)
    for k in range(3):
        path = tmp_path / f"photos/{'ab'[k % 2]}/{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (96, 96, 3), np.uint8)).save(path)
    (tmp_path / "photos/broken.jpg").write_text("hello")
    return tmp_path / "photos"


def test_features_of_a_folder(photos, tmp_path, capsys):
    asked = "embed", "untrained:test_resnet", "--data", photos, "--device", "cpu", "--out"
    for end in ("parquet", "npz", "csv"):
        assert call(*asked, tmp_path / f"f.{end}") == 0
        said = capsys.readouterr()
        assert said.out == f"{tmp_path}/f.{end}: features of 3 images, 96 numbers each\n"
        assert said.err == f"skipped {photos}/broken.jpg: not an image, or of an unknown format\n"
    paths = ["a/0.png", "a/2.png", "b/1.png"]
    subject = open_subject("untrained:test_resnet")
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(photos / p)) for p in paths]))
    expected = extract(subject.backbone, pixels, 96, IMAGENET).numpy()
    table = parquet.read_table(tmp_path / "f.parquet").to_pydict()
    with np.load(tmp_path / "f.npz") as file:
        arrays = dict(file)
    first, *rows = csv.reader((tmp_path / "f.csv").read_text().splitlines())
    assert first[:2] == ["path", "f0"]
    for found, features in (
        (table["path"], table["features"]),
        (arrays["paths"].tolist(), arrays["features"]),
        ([row[0] for row in rows], np.array([row[1:] for row in rows], float)),
    ):
        assert found == paths
        np.testing.assert_allclose(features, expected, atol=1e-5)


def test_a_run_that_was_trained_on_exact_jpegs_is_shown_such(cache, tmp_path):
    data, out = tmp_path / "photos", tmp_path / "run"
    data.mkdir()
    for k in range(16):
        noise = np.random.default_rng(k).integers(0, 256, (150, 200, 3), dtype=np.uint8)
        Image.fromarray(noise).save(data / f"{k}.jpg")
    seamask.pretrain(
        data=data, recipe="shapes-simclr", out=out, epochs=1, batch_size=16, image_size=32,
        device="cpu", threads=1, **{"data.cache": str(cache), "data.jpeg": "exact"},
    )  # fmt: skip
    exact = np.stack([read_square(data / f"{k}.jpg", 32, exact=True) for k in range(16)])
    fast = np.stack([read_square(data / f"{k}.jpg", 32) for k in range(16)])
    assert not np.array_equal(exact, fast)
    assert call("embed", out, "--data", data, "--device", "cpu", "--out", tmp_path / "f.npz") == 0
    found = np.load(tmp_path / "f.npz")
    order = [int(str(path).split(".")[0]) for path in found["paths"]]
    normalization = RunFolder(out).read_normalization()
    wanted = extract(seamask.load_encoder(out), torch.from_numpy(exact), 32, normalization)
    np.testing.assert_allclose(found["features"], wanted.numpy()[order], rtol=1e-4, atol=1e-5)


def test_what_cannot_be_embedded(photos, tmp_path, capsys):
    for data, out, said in (
        (photos, "f.txt", ".txt"),
        (tmp_path / "none", "f.csv", "no such image or folder"),
        (photos / "broken.jpg", "f.csv", "cannot read the image"),
    ):
        out = tmp_path / out
        asked = "embed", "untrained:test_resnet", "--data", data, "--device", "cpu", "--out", out
        assert call(*asked) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
        assert not out.exists()
