import hashlib
import shutil
import tarfile

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
import torchvision.datasets
import torchvision.datasets.voc

from seamask.base.errors import UserError
from seamask.data import DataConfig, load_segmentation
from seamask.data.sets.voc2012 import CLASSES

TRAIN, VAL = ["2007_000032", "2007_000039"], ["2007_000033", "2008_000123"]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def voc(root, write_voc):
    lists = {"train": TRAIN, "val": VAL, "trainval": TRAIN + VAL}
    return write_voc(root / "VOCdevkit" / "VOC2012", lists, names=["2010_1"], values=(15, 20))


@pytest.fixture
def published(voc, root, server, monkeypatch):
    """VOC 2012 as its archive on a server; nothing is left in the root."""
    folder, address = server
    year = torchvision.datasets.voc.DATASET_YEAR_DICT["2012"]
    archive = folder / year["filename"]
    with tarfile.open(archive, "w") as tar:
        tar.add(root / "VOCdevkit", "VOCdevkit")
    shutil.rmtree(root / "VOCdevkit")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(year, "md5", md5)
    monkeypatch.setitem(year, "url", f"{address}/{archive.name}")
    return archive


@pytest.fixture
def unreachable(server, monkeypatch):
    year = torchvision.datasets.voc.DATASET_YEAR_DICT["2012"]
    monkeypatch.setitem(year, "url", f"{server[1]}/gone.tar")


@pytest.fixture
def write_sbd(write):
    """Write SBD as published: struct GTcls with Boundaries, Segmentation, CategoriesPresent."""

    def _write(folder, lists, size=(30, 20)):
        (folder / "cls").mkdir(parents=True)
        for name in dict.fromkeys(name for part in lists.values() for name in part):
            write(folder, f"img/{name}.jpg", size=size)
            classes = np.zeros(size[::-1], np.uint8)
            classes[5:15, 5:20] = 12
            boundaries = np.empty((20, 1), object)
            for k in range(20):
                boundaries[k, 0] = scipy.sparse.csc_matrix(classes == k + 1)
            content = {"Boundaries": boundaries, "Segmentation": classes, "CategoriesPresent": 12}
            scipy.io.savemat(folder / "cls" / f"{name}.mat", {"GTcls": content})
        for part, names in lists.items():
            (folder / f"{part}.txt").write_text("\n".join(names))

    return _write


@pytest.fixture
def segment(root, tmp_path):
    def _segment(**settings):
        settings |= {"root": str(root), "cache": str(tmp_path / "cache")}
        return load_segmentation(DataConfig(source="voc2012", **settings), 16, progress=False)

    return _segment


def test_unpacked(voc, root, unreachable, open_data, segment):
    data = open_data("voc2012", root=str(root))
    assert (data.name, len(data.train), len(data.probe_test)) == ("voc2012", 2, 2)
    assert data.probe_test.objects.unique().tolist() == [0, 1, 2, 255]
    segmentation = segment()
    assert (segmentation.name, segmentation.classes) == ("voc2012", CLASSES)
    assert len(CLASSES) == 21
    assert (len(segmentation.train), len(segmentation.test)) == (2, 2)
    image, classes = segmentation.test[1]
    assert (image.shape, image.dtype, classes.dtype) == ((3, 20, 30), torch.uint8, torch.uint8)
    np.testing.assert_array_equal(classes, voc[VAL[1]][0])
    assert classes.unique().tolist() == [0, 15, 20, 255]


def test_downloaded(published, root, open_data):
    assert len(open_data("voc2012", root=str(root)).train) == 2
    assert (root / published.name).is_file()


def test_half_unpacked_is_unpacked_again(published, root, unreachable, open_data):
    shutil.copy(published, root)
    with tarfile.open(published) as tar:
        tar.extractall(root, filter="data")
    for path in (root / "VOCdevkit" / "VOC2012" / "SegmentationObject").iterdir():
        path.unlink()
    assert len(open_data("voc2012", root=str(root)).probe_test) == 2


def test_neither_there_nor_to_be_had(root, unreachable, open_data):
    archive = "VOCtrainval_11-May-2012.tar"
    with pytest.raises(UserError) as error:
        open_data("voc2012", root=str(root))
    message = str(error.value)
    assert message.startswith(f"--data voc2012: no whole copy in {root} (Dataset not found or corr")
    assert "and no download (HTTP Error 404" in message
    assert f"/gone.tar there as {archive}, or name another folder" in message
    assert "\n" not in message
    (root / archive).write_bytes(b"half")
    with pytest.raises(UserError, match=rf"\(the checksum of {archive} is wrong\) and no download"):
        open_data("voc2012", root=str(root))


@pytest.mark.parametrize(
    "lost",
    [
        "ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt",
        "JPEGImages/2007_000032.jpg", "SegmentationClass/2007_000039.png",
        "SegmentationObject/2007_000033.png",
    ],
)  # fmt: skip
def test_half_unpacked_without_the_archive(voc, root, unreachable, open_data, lost):
    (root / "VOCdevkit" / "VOC2012" / lost).unlink()
    with pytest.raises(UserError, match=rf"no whole copy in .*{lost}.*and no download \(HTTP"):
        open_data("voc2012", root=str(root))


@pytest.mark.parametrize("place", ["sbd", "benchmark_RELEASE/dataset"])
def test_sbd_adds_training_images(voc, root, segment, write_sbd, place, open_data):
    write_sbd(
        root / place,
        {"train_noval": ["2008_1", "2008_2", TRAIN[0]], "train": ["2008_1"], "val": [VAL[0]]},
    )
    data = segment()
    assert (len(data.train), len(data.test)) == (4, 2)
    np.testing.assert_array_equal(data.train[0][1], voc[TRAIN[0]][0])  # VOC's own goes before
    image, classes = data.train[3]
    assert image.shape[1:] == classes.shape == (20, 30)
    assert classes[10, 10] == 12
    oracle = torchvision.datasets.SBDataset(root / place, "train_noval", "segmentation")
    np.testing.assert_array_equal(classes, oracle[1][1])
    np.testing.assert_array_equal(image.permute(1, 2, 0), oracle[1][0])
    assert len(open_data("voc2012", root=str(root)).train) == 2  # pretraining: VOC's own


def test_sbd_never_brings_an_image_of_val(voc, root, segment, write_sbd):
    write_sbd(root / "sbd", {"train": ["2008_1", VAL[0]], "val": ["2008_2", VAL[1], TRAIN[1]]})
    names = [item.name for item in segment().train.items]
    assert names == [*TRAIN, "2008_1", "2008_2"]
    without = segment().fingerprint
    write_sbd(root / "other", {"train_noval": VAL})
    shutil.copy(root / "other" / "train_noval.txt", root / "sbd")
    data = segment()
    assert [item.name for item in data.train.items] == TRAIN
    assert data.fingerprint != without


def test_sbd_that_is_not_whole(voc, root, segment, write_sbd):
    write_sbd(root / "sbd", {"train": ["2008_1"], "val": ["2008_2"]})
    (root / "sbd" / "cls" / "2008_2.mat").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"cannot read the image .*2008_2.mat: "):
        segment()
    scipy.io.savemat(root / "sbd" / "cls" / "2008_2.mat", {"other": 1})
    with pytest.raises(UserError, match=r"2008_2.mat: not one of SBD's files: it has no GTcls"):
        segment()
    (root / "sbd" / "cls" / "2008_2.mat").unlink()
    with pytest.raises(UserError, match=r"sbd is not a whole copy of SBD: cls/2008_2.mat is miss"):
        segment()
    (root / "sbd" / "val.txt").unlink()
    with pytest.raises(UserError, match=r"train_noval.txt, or train.txt and val.txt, is missing"):
        segment()
