import os
import shutil
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


def test_classes_that_only_one_of_train_and_val_has(photos, write, open_data):
    write(photos, *(f"train/{c}/{i}.png" for c in "abc" for i in range(3)))
    write(photos, "val/a/1.png", "val/b/1.png", "val/z/1.png", "val/z/2.png", "val/stray.png")
    data = open_data(photos)
    assert data.classes == ("a", "b", "c")
    assert (len(data.train), data.probe_test.labels.tolist()) == (9, [0, 1])
    assert data.notes == (
        "left out of val/: 3 images of classes that train/ has not (z) or in no class folder",
    )


SPLITS = [
    ("train", "valid"), ("Train", "Test"), ("TRAIN", "VAL"), ("Training", "Testing"),
    ("training", "Validation"), ("train2017", "val2017"), ("train_images", "test_images"),
    ("train-set", "dev-set"), ("imagesTrain", "imagesVal"), ("trainset", "testset"),
    ("train", "eval"),
]  # fmt: skip


@pytest.mark.parametrize(("train", "test"), SPLITS)
def test_splits_by_other_names_are_no_classes(photos, write, open_data, train, test):
    write(photos, *(f"{train}/{c}/{i}.png" for c in ("cat", "dog") for i in range(8)))
    write(photos, *(f"{test}/{c}/{i}.png" for c in ("cat", "dog") for i in range(4)))
    data = open_data(photos)
    assert data.classes == ("cat", "dog")
    assert data.train.labels.bincount().tolist() == [8, 8]
    assert data.probe_test.labels.bincount().tolist() == [4, 4]
    assert (data.split, data.notes) == (f"{test}/", ())


@pytest.mark.parametrize(
    "names",
    [("train", "bus", "car"), ("mask", "no_mask"), ("test_tube", "flask"), ("dev1", "dev2x")],
)
def test_classes_that_sound_like_splits_are_classes(photos, write, names):
    write(photos, *(f"{name}/{i}.png" for name in names for i in range(4)))
    assert read_layout(photos, 0.1, 0).classes == tuple(sorted(names))


@pytest.mark.parametrize(("choice", "count"), [("auto", 4), ("val", 4), ("test", 6)])
def test_a_split_can_be_chosen(photos, write, open_data, choice, count):
    write(photos, *(f"train/{c}/{i}.png" for c in "ab" for i in range(5)))
    write(photos, *(f"validation/{c}/{i}.png" for c in "ab" for i in range(2)))
    write(photos, *(f"test/{c}/{i}.png" for c in "ab" for i in range(3)))
    data = open_data(photos, split=choice)
    assert (len(data.train), len(data.probe_test)) == (10, count)
    measured, other = ("test/", "validation") if choice == "test" else ("validation/", "test")
    assert data.split == measured
    (note,) = data.notes
    assert note.startswith(f"{other}/ is left out: ")
    assert "--data.split" in note


def test_a_split_that_is_not_there(photos, write, open_data):
    write(photos, *(f"train/{c}/{i}.png" for c in "ab" for i in range(5)))
    write(photos, "val/a/1.png", "val/b/1.png")
    with pytest.raises(UserError, match=r"--data.split test: .* has no test/"):
        open_data(photos, split="test")
    with pytest.raises(UserError, match=r"--data.split val: what shapes holds out is test"):
        open_data("shapes", split="val", shapes_train=4, shapes_test=4)


def test_held_out_folders_alone_are_refused(photos, write):
    write(
        photos, *(f"{part}/{c}/{i}.png" for part in ("val", "test") for c in "ab" for i in (1, 2))
    )
    with pytest.raises(UserError, match=r"holds test/ and val/ and no train/"):
        read_layout(photos, 0.1, 0)


@pytest.mark.parametrize(
    ("images", "maps"),
    [
        ("images", "masks"), ("imgs", "labels"), ("JPEGImages", "Annotations"), ("Image", "GT"),
        ("train/images", "train/masks"), ("train_images", "train_masks"), ("train", "train_labels"),
    ],
)  # fmt: skip
def test_folders_of_label_images_are_left_out(photos, write, open_data, images, maps):
    write(photos, *(f"{folder}/{i}.png" for folder in (images, maps) for i in range(8)))
    data = open_data(photos)
    assert (len(data.train), data.classes) == (8, ())
    assert data.notes == (f"left out: 8 label images, {maps}/",)


def test_label_images_beside_their_images_are_left_out(photos, write, open_data):
    write(
        photos, *(f"{c}/{c} ({i}){end}.png" for c in "ab" for i in (1, 2) for end in ("", "_mask"))
    )
    data = open_data(photos, holdout=0)
    assert (len(data.train), data.classes) == (4, ("a", "b"))
    assert data.notes == (
        "left out: 4 label images, files named after an image and “mask” or the like",
    )


def test_one_stray_image_keeps_the_labels_of_the_others(photos, write, open_data):
    write(photos, *(f"{c}/{i}.png" for c in "ab" for i in range(8)), "Preview.jpg")
    data = open_data(photos, holdout=0.25)
    assert (len(data.train), data.train.labels) == (13, None)
    assert data.probe_train.labels.bincount().tolist() == [6, 6]
    assert data.probe_test.labels.bincount().tolist() == [2, 2]
    assert data.notes == ("1 image in no class folder (Preview.jpg): trained on, without a label",)


def test_a_class_of_one_image_is_trained_on(photos, write, open_data):
    write(photos, *(f"{c}/{i}.png" for c in "ab" for i in range(8)), "c/1.png")
    data = open_data(photos)
    assert data.classes == ("a", "b", "c")
    assert data.train.labels.bincount().tolist() == [7, 7, 1]
    assert data.probe_test.labels.bincount().tolist() == [1, 1]
    assert data.notes == ("1 class of one image (c): it is trained on, none is held out",)


@pytest.mark.parametrize("above", ["train", "photos", "data/raw", "my set/train"])
def test_a_folder_that_holds_one_folder_is_looked_into(photos, write, open_data, above):
    write(photos, *(f"{above}/{c}/{i}.png" for c in "ab" for i in range(8)))
    data = open_data(photos)
    assert data.classes == ("a", "b")
    assert data.train.labels.bincount().tolist() == [7, 7]
    assert data.split == "10 % of each class"


def test_splits_within_one_folder(photos, write, open_data):
    write(photos, *(f"set/train/{c}/{i}.png" for c in "ab" for i in range(8)))
    write(photos, *(f"set/val/{c}/{i}.png" for c in "ab" for i in range(3)))
    write(photos, "set/extra/1.png", "cover.png")
    data = open_data(photos)
    assert (len(data.train), len(data.probe_test), data.split) == (16, 6, "val/")
    assert data.notes == ("left out: 2 images beside the folders of splits (cover.png, extra)",)


def test_files_of_other_types_are_counted(photos, write, open_data):
    write(photos, "1.png", "2.png")
    for name in ("a.heic", "b.HEIC", "notes.txt"):
        (photos / name).write_text("x")
    assert open_data(photos).notes == ("left out: 3 files of other types (2 .heic, 1 .txt)",)


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
    paths = read_layout(photos, 0, 0).train.paths
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
        tmp_path / "cifar11": "did you mean 'cifar10'",  # as a command makes it
        tmp_path
        / "nowhere": "no such folder or file; give a folder or an archive of images, or one of cif",
        tmp_path / "file.jpg": "this is a file of no kind that holds images; give a folder",
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


@pytest.mark.parametrize("other", ["extra", "unlabelled", "old"])
def test_train_with_classes_in_it_is_no_class(photos, write, other):
    write(photos, *(f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(8)))
    write(photos, *(f"{other}/{i}.png" for i in range(4)))
    layout = read_layout(photos, 0.25, 0)
    assert layout.classes == ("cat", "dog")
    assert (len(layout.train.paths), len(layout.held_out.paths)) == (12, 4)
    assert layout.notes == (f"left out: 4 images beside the folders of splits ({other})",)


def test_a_split_beside_its_classes_is_refused(photos, write):
    write(photos, *(f"{p}{c}/{i}.png" for p in ("", "val/") for c in ("cat", "dog") for i in "12"))
    with pytest.raises(UserError, match=r"holds val/ and, beside it, .* \(cat, dog\): move those"):
        read_layout(photos, 0.25, 0)
    shutil.rmtree(photos / "val/dog")
    with pytest.raises(UserError, match=r"holds val/ and, beside it, .* \(cat\): move those"):
        read_layout(photos, 0.25, 0)


@pytest.mark.parametrize(("train", "test"), [("images", "val"), ("all", "test"), ("mine", "eval")])
def test_one_folder_beside_a_split_that_has_its_classes_is_train(photos, write, train, test):
    write(
        photos, *(f"{p}/{c}/{i}.png" for p in (train, test) for c in ("cat", "dog") for i in "12")
    )
    layout = read_layout(photos, 0.25, 0)
    assert (layout.classes, layout.split, layout.notes) == (("cat", "dog"), f"{test}/", ())
    assert {path.split("/")[0] for path in layout.train.paths} == {train}


def test_images_beside_a_flat_split_are_trained_on_alone(photos, write):
    write(photos, *(f"{p}/{i}.png" for p in ("images", "val") for i in range(4)))
    layout = read_layout(photos, 0.25, 0)
    assert (layout.classes, len(layout.train.paths), layout.held_out) == ((), 4, None)
    assert layout.notes == ("val/ is left out: 4 images in no class folder of images/",)


@pytest.mark.parametrize(
    "names", [("bus", "car", "train"), ("invalid", "valid"), ("a", "b", "test")]
)
@pytest.mark.parametrize("below", ["", "{0}1/", "{0}2/x/"])
def test_a_class_that_is_called_as_a_split_is_one_and_said(photos, write, names, below):
    paths = (f"{n}/{below.format(n)}{i}.png" for n in names for i in range(4))
    more = (f"{n}/{n}0/{i}.png" for n in names for i in range(4) if below)
    write(photos, *paths, *more)
    if below and "train" in names:  # these may be its classes, or not
        with pytest.raises(
            UserError, match=r"\(bus, car\): name the one to train on, .*/train, or"
        ):
            read_layout(photos, 0.25, 0)
        return
    layout = read_layout(photos, 0.25, 0)
    assert layout.classes == names
    assert "is taken for a class, as what is beside it" in layout.notes[0]


def test_a_folder_around_held_out_classes_is_none_of_them(photos, write):
    write(photos, *(f"{p}/{c}/{i}.png" for p in ("train", "val/plant") for c in ("leaf", "plant")
                    for i in "12"))  # fmt: skip
    assert read_layout(photos, 0.25, 0).held_out.labels.tolist() == [0, 0, 1, 1]


def test_what_measures_a_split_that_is_left_out_is_said_where_it_does(photos, write):
    write(photos, *(f"{p}/{c}/{i}.png" for p in ("train", "dev", "eval", "test") for c in "ab"
                    for i in "12"))  # fmt: skip
    notes = read_layout(photos, 0.25, 0).notes
    assert [note.rsplit("; ")[1] for note in notes] == [
        "rename it to measure it", "--data.split test measures it",
    ]  # fmt: skip


def test_held_out_images_of_one_class_are_held_out(photos, write):
    write(photos, *(f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(8)))
    write(photos, *(f"val/images/cat/{i}.png" for i in range(3)))
    layout = read_layout(photos, 0.25, 0)
    assert (layout.split, layout.held_out.labels.tolist()) == ("val/", [0, 0, 0])
    assert (len(layout.train.paths), layout.notes) == (16, ())


def test_what_a_mac_and_a_nas_put_beside_images_is_no_image(photos, write):
    write(photos, "a/1.png", "a/@eaDir/1.png", "__MACOSX/a/1.png")
    assert read_layout(photos, 0.1, 0).train.paths == ["a/1.png"]
