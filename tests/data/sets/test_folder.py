import os
from collections import Counter

import pytest
import torch
from PIL import Image

from seamask.base.errors import UserError
from seamask.data.files.decode import square
from seamask.data.sets import folder as folder_module
from seamask.data.sets.folder import read_layout


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    return root


def test_flat_folder_has_no_labels(photos, write, open_data):
    write(photos, *(f"{i}.png" for i in range(5)))
    data = open_data(photos)
    assert len(data.train) == 5
    assert data.train.pixels.shape == (5, 16, 16, 3)
    assert data.train.pixels.dtype == torch.uint8
    assert (data.train.labels, data.probe_train, data.probe_test) == (None, None, None)
    assert data.classes == ()
    assert data.name == "photos"
    with Image.open(photos / "3.png") as image:
        assert (data.train.pixels[3].numpy() == square(image, 16)).all()


@pytest.mark.parametrize(
    "paths",
    [
        ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "top.png"],  # mixed
        ["a/1.png", "a/2.png", "a/deeper/3.png"],  # one folder
        ["2021/1.png", "2022/1.png", "2023/1.png", "2023/2.png"],  # a class of one image
        ["train/1.png", "train/2.png", "test/3.png", "test/4.png"],  # flat on both sides
    ],
)
def test_layouts_without_labels(photos, write, paths):
    write(photos, *paths)
    layout = read_layout(photos, 0.1, 0)
    assert layout.train.paths == sorted(p for p in paths if not p.startswith("test/"))
    assert layout.train.labels is None
    assert layout.held_out is None


def test_class_folders_are_labels_at_any_depth(photos, write, open_data):
    write(photos, *(f"{c}/{sub}{i}.png" for c in "cab" for sub in ("", "x/y/") for i in range(10)))
    data = open_data(photos, holdout=0.2)
    assert data.classes == ("a", "b", "c")
    assert data.probe_train is data.train
    assert data.train.labels.bincount().tolist() == [16] * 3
    assert data.probe_test.labels.bincount().tolist() == [4] * 3


def test_what_is_held_out_depends_on_the_seed_and_is_never_trained_on(photos, write, cache):
    write(photos, *(f"{c}/{i}.png" for c in "ab" for i in range(20)))
    first, again, other = (read_layout(photos, 0.25, seed) for seed in (0, 0, 1))
    assert first.held_out.paths == again.held_out.paths != other.held_out.paths
    assert not set(first.train.paths) & set(first.held_out.paths)
    assert len(first.train.paths) + len(first.held_out.paths) == 40
    marks = [layout.fingerprint(cache) for layout in (first, again, other)]
    assert marks[0] == marks[1] != marks[2]


@pytest.mark.parametrize(("share", "count"), [(0, None), (0.001, 1), (0.5, 2), (1, 3)])
def test_holdout_leaves_at_least_one_on_each_side(photos, write, share, count):
    write(photos, *(f"{c}/{i}.png" for c in "ab" for i in range(4)))
    layout = read_layout(photos, share, 0)
    if count is None:
        assert layout.held_out is None
    else:
        assert Counter(layout.held_out.labels.tolist()) == {0: count, 1: count}


@pytest.mark.parametrize("name", ["val", "validation", "test"])
def test_train_and_val_folders(photos, write, open_data, name):
    write(photos, *(f"train/{c}/{i}.png" for c in "ab" for i in range(3)))
    write(photos, f"{name}/a/1.png", f"{name}/b/deep/1.png", "extra/c/1.png", "readme.png")
    data = open_data(photos)
    assert (len(data.train), len(data.probe_test)) == (6, 2)
    assert data.probe_test.labels.tolist() == [0, 1]
    assert data.classes == ("a", "b")


def test_val_goes_before_test_and_a_flat_test_folder_is_left_out(photos, write):
    write(photos, *(f"train/{c}/{i}.png" for c in "ab" for i in range(10)))
    write(photos, "test/1.png", "test/2.png")
    layout = read_layout(photos, 0.1, 0)
    assert len(layout.held_out.paths) == 2  # of train/
    write(photos, "val/a/1.png", "val/b/1.png")
    assert read_layout(photos, 0.1, 0).held_out.paths == ["val/a/1.png", "val/b/1.png"]


def test_different_classes_in_train_and_val(photos, write):
    write(photos, *(f"train/{c}/{i}.png" for c in "ab" for i in range(3)))
    write(photos, "val/a/1.png", "val/z/1.png")
    with pytest.raises(UserError, match=r"only in train/: b; only in val/: z"):
        read_layout(photos, 0.1, 0)


def test_hidden_files_other_types_and_case(photos, write):
    write(photos, "a.png", "B.JPG", "c.Png", ".hidden.png", ".cache/d.png")
    (photos / "notes.txt").write_text("no image")
    os.mkfifo(photos / "pipe.png")
    assert read_layout(photos, 0.1, 0).train.paths == ["B.JPG", "a.png", "c.Png"]


def test_links_are_followed_and_loops_end(photos, write, tmp_path):
    write(tmp_path / "elsewhere", "1.png", "2.png")
    write(photos, "a/1.png", "a/2.png")
    (photos / "b").symlink_to(tmp_path / "elsewhere")
    (photos / "a" / "up").symlink_to(photos)
    (photos / "self.png").symlink_to("self.png")
    paths = read_layout(photos, 0.1, 0).train.paths
    assert set(paths) == {"a/1.png", "a/2.png", "b/1.png", "b/2.png", "self.png"}


def test_names_of_any_bytes(photos, write, open_data):
    write(photos, "plain.png")
    data = (photos / "plain.png").read_bytes()
    for name in (b"\xff\xfe.png", "é ü\n.png".encode(), b"-o 'x' $y.png"):
        with open(os.path.join(os.fsencode(photos), name), "wb") as file:
            file.write(data)
    with open(os.path.join(os.fsencode(photos), b"bad\xff\n.png"), "wb") as file:
        file.write(b"")
    data = open_data(photos)
    assert len(data.train) == 4
    assert data.skipped == (("bad\\xff\\n.png", "the file is empty"),)


def test_data_that_is_not_there(tmp_path, photos, write, open_data):
    (tmp_path / "file.jpg").write_text("x")
    for source, words in {
        "cifr10": "did you mean 'cifar10'",
        tmp_path / "nowhere": "no such folder; give a folder of images or one of cifar10",
        tmp_path / "file.jpg": "this is a file; give the folder",
        photos: "the folder is empty",
    }.items():
        with pytest.raises(UserError, match=words):
            open_data(source)
    (photos / "a.txt").write_text("x")
    (photos / "b.TXT").write_text("x")
    (photos / "Makefile").write_text("x")
    with pytest.raises(UserError, match=r"3 files but no images \(2 \.txt, 1 no extension\)"):
        open_data(photos)


def test_unreadable_folder(photos, write, monkeypatch):
    write(photos, "a.png")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder_module.os, "scandir", refuse)
    with pytest.raises(UserError, match=r"photos: Permission denied; change"):
        read_layout(photos, 0.1, 0)
