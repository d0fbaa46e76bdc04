import hashlib
import inspect
import io
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest
import torch
import torchvision.datasets.cifar
import torchvision.datasets.stl10

from seamask.base.errors import UserError
from seamask.base.locks import locked
from seamask.data import SOURCES, DataConfig, find_source
from seamask.data.sets import scenes
from seamask.data.settings import AnyData


def test_the_help_names_every_data_set():
    said = inspect.getsource(AnyData)
    assert [name for name in SOURCES if f"`{name}`" not in said] == []


def test_settings_do_not_wait_for_torch():
    program = "import sys, seamask.config; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert said.stdout.strip() == b"False"


def test_named_sources_are_known_without_their_files(tmp_path):
    sizes = {"imagenet100s": 126_689, "inat21-mini": 500_000, "stl10": 105_000, "voc2012": 1464}
    for name, images in sizes.items():
        source = find_source(DataConfig(source=name, root=str(tmp_path / "none")), 96)
        assert (source.name, source.images) == (name, images)


def test_shapes(open_data):
    data = open_data("shapes", shapes_train=130, shapes_test=16)
    assert (len(data.train), len(data.probe_test)) == (130, 16)
    assert data.probe_train is data.train
    assert data.classes == tuple(scenes.CLASSES)
    pixels, labels, objects = scenes.generate(0, np.arange(130), 16)
    np.testing.assert_array_equal(data.train.pixels, pixels)
    np.testing.assert_array_equal(data.train.labels, labels)
    np.testing.assert_array_equal(data.train.objects, objects)
    held_out = scenes.generate(0, scenes.TEST_START + np.arange(16), 16)[0]
    np.testing.assert_array_equal(data.probe_test.pixels, held_out)


def test_shapes_are_the_same_whatever_the_seed_and_count(open_data):
    a = open_data("shapes", shapes_train=8, shapes_test=0, seed=1)
    b = open_data("shapes", shapes_train=16, shapes_test=8, seed=2)
    assert a.probe_test is None
    assert torch.equal(a.train.pixels, b.train.pixels[:8])
    assert a.fingerprint != b.fingerprint


def test_size_setting_goes_before_the_image_size(open_data):
    data = open_data("shapes", shapes_train=2, shapes_test=2, size=24)
    assert data.train.pixels.shape == (2, 24, 24, 3)


def test_limit_is_a_choice_by_seed(open_data):
    settings = {"shapes_train": 64, "shapes_test": 8}
    whole = open_data("shapes", **settings)
    a, again, b = (open_data("shapes", limit=10, seed=s, **settings) for s in (0, 0, 1))
    assert len(a.train) == 10
    assert a.probe_train is a.train
    assert len(a.probe_test) == 8
    assert torch.equal(a.train.pixels, again.train.pixels)
    assert not torch.equal(a.train.pixels, b.train.pixels)
    rows = [int((whole.train.pixels == p).flatten(1).all(1).nonzero()) for p in a.train.pixels]
    assert rows == sorted(set(rows))
    assert torch.equal(a.train.labels, whole.train.labels[rows])
    assert torch.equal(a.train.objects, whole.train.objects[rows])
    assert len(open_data("shapes", limit=1000, **settings).train) == 64


def test_imagenet100s(tmp_path, write, open_data):
    root = tmp_path / "imagenet"
    with pytest.raises(UserError, match=r"no train and no val folder in .*train/<class>/"):
        open_data("imagenet100s", root=str(root))
    write(root, *(f"train/{c}/{i}.JPEG" for c in ("n01", "n02") for i in range(3)))
    with pytest.raises(UserError, match="no val folder"):
        open_data("imagenet100s", root=str(root))
    write(root, "val/n01/1.JPEG", "val/n02/1.JPEG")
    data = open_data("imagenet100s", root=str(root))
    assert (data.name, len(data.train), len(data.probe_test)) == ("imagenet100s", 6, 2)


def publish(monkeypatch, kind, files):
    """Write files as their authors publish them and make their checksums the expected ones."""
    sums = {}
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sums[path.name] = hashlib.md5(content).hexdigest()
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(kind, part, [[n, sums[n]] for n, _ in getattr(kind, part)])
    if hasattr(kind, "meta"):
        name = kind.meta["filename"]
        monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums[name]})


class Python2Pickler(pickle._Pickler):
    """CIFAR's files were pickled by Python 2: their texts and array contents are byte strings."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, content):
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(content)

    dispatch[bytes] = save_string


def pickle2(content):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue()


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    kind = torchvision.datasets.CIFAR10
    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    batches = {
        name: {
            b"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8),
            b"labels": rng.integers(0, 10, 4).tolist(),
        }
        for name in names
    }
    contents = {name: pickle2(batch) for name, batch in batches.items()}
    contents["batches.meta"] = pickle2({b"label_names": [b"c%d" % i for i in range(10)]})
    root = tmp_path / "raw"
    publish(monkeypatch, kind, {root / kind.base_folder / n: c for n, c in contents.items()})
    return root, batches


def test_cifar10(cifar10, open_data):
    root, batches = cifar10
    data = open_data("cifar10", 32, root=str(root))
    assert (len(data.train), len(data.probe_train), len(data.probe_test)) == (20, 20, 4)
    assert data.classes == tuple(f"c{i}" for i in range(10))
    planes = batches["data_batch_2"][b"data"][1].reshape(3, 32, 32)
    np.testing.assert_array_equal(data.train.pixels[5], planes.transpose(1, 2, 0))
    assert data.train.labels[4:8].tolist() == batches["data_batch_2"][b"labels"]
    assert data.probe_test.labels.tolist() == batches["test_batch"][b"labels"]
    assert open_data("cifar10", 16, root=str(root)).train.pixels.shape == (20, 16, 16, 3)


def test_cifar100(tmp_path, monkeypatch, open_data):
    kind = torchvision.datasets.CIFAR100
    rng = np.random.default_rng(0)
    contents = {
        name: pickle2(
            {b"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8), b"fine_labels": [99] * n}
        )
        for name, n in (("train", 6), ("test", 3))
    }
    contents["meta"] = pickle2({b"fine_label_names": [b"f%d" % i for i in range(100)]})
    publish(monkeypatch, kind, {tmp_path / kind.base_folder / n: c for n, c in contents.items()})
    data = open_data("cifar100", 32, root=str(tmp_path))
    assert (len(data.train), len(data.probe_test), len(data.classes)) == (6, 3, 100)
    assert data.train.labels.tolist() == [99] * 6


def test_stl10(tmp_path, monkeypatch, open_data):
    kind = torchvision.datasets.STL10
    rng = np.random.default_rng(0)
    # published: uint8 [n, 3, 96, 96], planes column by column; labels 1 to 10
    images = {
        name: rng.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8)
        for name, n in (("train", 5), ("test", 4), ("unlabeled", 7))
    }
    contents = {f"{name}_X.bin": array.tobytes() for name, array in images.items()}
    contents["train_y.bin"] = bytes([1, 10, 3, 4, 5])
    contents["test_y.bin"] = bytes([2, 2, 9, 10])
    contents["class_names.txt"] = "\n".join(f"s{i}" for i in range(10)).encode()
    publish(monkeypatch, kind, {tmp_path / kind.base_folder / n: c for n, c in contents.items()})
    data = open_data("stl10", 96, root=str(tmp_path))
    assert (len(data.train), len(data.probe_train), len(data.probe_test)) == (12, 5, 4)
    assert data.train.labels is None
    assert data.probe_train.labels.tolist() == [0, 9, 2, 3, 4]
    assert data.probe_test.labels.tolist() == [1, 1, 8, 9]
    assert len(data.classes) == 10
    for row, image in ((1, images["train"][1]), (5, images["unlabeled"][0])):
        np.testing.assert_array_equal(data.train.pixels[row], image.transpose(2, 1, 0))
    limited = open_data("stl10", 96, root=str(tmp_path), limit=3)
    assert (len(limited.train), len(limited.probe_train)) == (3, 5)


def test_a_download_that_is_impossible_says_what_to_place_where(tmp_path, monkeypatch, open_data):
    def offline(*args, **options):
        raise urllib.error.URLError("no network")

    for module in (torchvision.datasets.cifar, torchvision.datasets.stl10):
        monkeypatch.setattr(module, "download_and_extract_archive", offline)
    for name, archive in {
        "cifar10": "cifar-10-python.tar.gz",
        "cifar100": "cifar-100-python.tar.gz",
        "stl10": "stl10_binary.tar.gz",
    }.items():
        with pytest.raises(UserError, match=f"no network.*put http.* there as {archive}, or name"):
            open_data(name, root=str(tmp_path / "none"))


@pytest.fixture
def served_cifar10(cifar10, server, monkeypatch):
    """CIFAR-10 as its archive on a server: (root without it, the archive, its address)."""
    unpacked, _ = cifar10
    folder, address = server
    kind = torchvision.datasets.CIFAR10
    archive = folder / kind.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(unpacked / kind.base_folder, kind.base_folder)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(kind, "url", f"{address}/{kind.filename}")
    return unpacked.with_name("empty"), archive, address


def test_a_download_is_checked_and_replaces_half_a_file(served_cifar10, open_data):
    root, archive, _ = served_cifar10
    root.mkdir()
    (root / archive.name).write_bytes(archive.read_bytes()[:1000])
    assert len(open_data("cifar10", root=str(root)).train) == 20
    assert (root / archive.name).read_bytes() == archive.read_bytes()


def test_what_another_process_downloads_is_waited_for(
    served_cifar10, cifar10, open_data, monkeypatch
):
    root, archive, address = served_cifar10
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", f"{address}/gone")
    root.mkdir()
    # Not `capfd`: what is written while it is read is lost, and would be waited for without end.
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    with ThreadPoolExecutor(1) as pool:
        with locked(root / f".seamask-{archive.name}.lock"):
            waiting = pool.submit(open_data, "cifar10", root=str(root))
            while "cifar10: waiting for process" not in said.getvalue():
                assert not waiting.done(), waiting.result()
                time.sleep(0.01)
            shutil.copytree(cifar10[0], root, dirs_exist_ok=True)
            shutil.copy(archive, root)
        assert len(waiting.result().train) == 20


def test_downloads_that_are_not_what_was_published(served_cifar10, open_data, monkeypatch):
    root, archive, address = served_cifar10
    kind = torchvision.datasets.CIFAR10
    settings = {"root": str(root)}
    monkeypatch.setattr(kind, "url", f"{address}/cut/{archive.name}")
    with pytest.raises(UserError, match=r"no whole copy in .*; put http://127.0.0.1:\d+/cut/cifar"):
        open_data("cifar10", **settings)
    assert (root / archive.name).stat().st_size < archive.stat().st_size
    monkeypatch.setattr(kind, "url", f"{address}/gone.tar.gz")
    with pytest.raises(UserError) as error:
        open_data("cifar10", **settings)
    assert "(the checksum of cifar-10-python.tar.gz is wrong) and no download (HTTP Error 404" in (
        str(error.value)
    )
    monkeypatch.setattr(kind, "url", f"{address}/{archive.name}")
    archive.write_bytes(b"another file")
    with pytest.raises(UserError, match=r"and no download \(File not found or corrupted"):
        open_data("cifar10", **settings)
    assert "\n" not in str(error.value)


def test_damaged_files_are_not_used(cifar10, server, monkeypatch, open_data):
    root, _ = cifar10
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"cut")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", f"{server[1]}/gone")
    with pytest.raises(UserError, match=r"no whole copy in .*corrupted\) and no download \(HTTP"):
        open_data("cifar10", root=str(root))


def test_half_an_stl10(tmp_path, server, monkeypatch, open_data):
    kind = torchvision.datasets.STL10
    monkeypatch.setattr(kind, "url", f"{server[1]}/gone")
    (tmp_path / kind.base_folder).mkdir()
    (tmp_path / kind.base_folder / "train_X.bin").write_bytes(b"cut")
    (tmp_path / kind.filename).write_bytes(b"cut")
    with pytest.raises(UserError, match=r"checksum of stl10_binary.tar.gz is wrong\) and no downl"):
        open_data("stl10", root=str(tmp_path))
