import numpy as np
import pytest
import torch

from command import parts_of_seamask
from seamask.base.errors import UserError
from seamask.data import SOURCES, DataConfig, Plan, Source, load_segmentation
from seamask.data import segmentation as segmentation_module
from seamask.data.sets import scenes
from seamask.data.sets.voc import read_voc


@pytest.fixture
def root(tmp_path):
    return tmp_path / "voc"


@pytest.fixture
def segment(tmp_path):
    def _segment(source, seed=0, **settings):
        config = DataConfig(source=str(source), cache=str(tmp_path / "cache"), **settings)
        return load_segmentation(config, 16, seed, progress=False)

    return _segment


def names(files):
    return [item.name for item in files.items]


def test_train_and_val(root, write_voc, segment):
    maps = write_voc(root, {"train": ["a", "b"], "val": ["c"]}, objects=False)
    (root / "classes.txt").write_text("0\tsky\n1\troad\n2\tcar\n3\tdog\n255\tvoid\n")
    data = segment(root)
    assert (data.name, data.classes) == ("voc", ("sky", "road", "car", "dog"))
    assert (names(data.train), names(data.test)) == (["a", "b"], ["c"])
    assert data.normalization.mean == (0.485, 0.456, 0.406)
    image, classes = data.train[1]
    assert (image.dtype, classes.dtype) == (torch.uint8, torch.uint8)
    assert (image.shape, classes.shape) == ((3, 20, 30), (20, 30))
    np.testing.assert_array_equal(classes, maps["b"][0])


def test_a_torch_loader_in_processes(root, write_voc, segment):
    write_voc(root, {"train": ["a", "b", "c"], "val": ["d"]})
    data = segment(root)
    loader = torch.utils.data.DataLoader(data.train, 3, num_workers=1)
    (batch,) = loader
    assert (batch[0].shape, batch[1].shape) == ((3, 3, 20, 30), (3, 20, 30))


@pytest.mark.parametrize("lists", [{}, {"train": list("abcdefgh")}, {"trainval": list("abcdefgh")}])
def test_without_a_val_list_a_share_is_held_out(root, write_voc, segment, lists):
    write_voc(root, lists, names="abcdefgh", values=(1, 4))
    data, again, other = (segment(root, s, holdout=0.25) for s in (0, 0, 1))
    assert (len(data.train), len(data.test)) == (6, 2)
    assert sorted(names(data.train) + names(data.test)) == list("abcdefgh")
    assert names(data.test) == names(again.test) != names(other.test)
    assert data.fingerprint == again.fingerprint != other.fingerprint
    assert data.classes == ("0", "1", "2", "3", "4")
    with pytest.raises(UserError, match=r"has no val.txt, and --data.holdout 0.0 of its 8 label"):
        segment(root, holdout=0.0)


def test_limit_is_a_choice_by_seed(root, write_voc, segment):
    write_voc(root, {"train": list("abcdefgh"), "val": ["z"]})
    whole = segment(root)
    a, again, b = (segment(root, s, limit=3) for s in (0, 0, 1))
    assert names(a.train) == names(again.train) == sorted(names(a.train))
    assert names(a.train) != names(b.train)
    assert (len(a.train), len(a.test)) == (3, 1)
    assert a.fingerprint == whole.fingerprint
    assert len(segment(root, limit=100).train) == 8


def test_everything_is_read_once(root, write_voc, segment, monkeypatch):
    write_voc(root, {"train": ["a"], "val": ["b"]})
    first = segment(root)
    monkeypatch.setattr(segmentation_module, "in_threads", None)  # would fail if it was called
    assert segment(root).classes == first.classes == ("0", "1", "2")
    monkeypatch.undo()
    path = root / "SegmentationClass" / "a.png"
    path.write_bytes(path.read_bytes() + b"changed")
    assert segment(root).fingerprint != first.fingerprint


def test_mistakes_show_before_anything_is_trained(root, write_voc, write_map, segment):
    write_voc(root, {"train": ["a", "b"], "val": ["c"]})
    maps = root / "SegmentationClass"
    (root / "classes.txt").write_text("background\nroad\n")
    with pytest.raises(
        UserError, match=r"Class/a.png holds the value 2, but there are 2 classes, "
    ):
        segment(root)
    (root / "classes.txt").unlink()
    write_map(maps / "c.png", np.full((20, 30), 3))  # not in any training map
    with pytest.raises(
        UserError, match=r"Class/c.png holds the value 3, but there are 3 classes, "
    ):
        segment(root)
    write_map(maps / "c.png", np.zeros((21, 30)))
    with pytest.raises(UserError, match=r"Class/c.png has 30×21 pixels.*Images/c.jpg has 30×20"):
        segment(root)
    maps.joinpath("c.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"cannot read the image .*c.jpg: its label image .*c.png"):
        segment(root)
    (maps / "c.png").unlink()
    for name in "cb":  # of val, then of train
        (maps / f"{name}.png").unlink(missing_ok=True)
        with pytest.raises(UserError, match=rf"Class/{name}.png is missing; put it there or take"):
            segment(root)
        write_map(maps / f"{name}.png", np.zeros((20, 30)))
    (root / "JPEGImages" / "b.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot read the image .*b.jpg: the file is empty; repl"):
        segment(root)


def test_maps_that_are_void_all_over(root, write_voc, write_map, segment):
    write_voc(root, {"train": ["a"], "val": ["b"]}, values=(255, 255))
    write_map(root / "SegmentationClass" / "a.png", np.full((20, 30), 255))
    with pytest.raises(UserError, match=r"hold nothing but 255 = void"):
        segment(root)


def test_no_label_maps(tmp_path, root, write, write_voc, segment):
    write(tmp_path / "photos", "a/1.png", "b/1.png")
    write_voc(root, {"train": ["a"]})
    for path in (root / "SegmentationClass").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"SegmentationClass/a.png is missing"):
        segment(root)
    (root / "ImageSets" / "Segmentation" / "train.txt").unlink()
    with pytest.raises(UserError, match="SegmentationClass holds no PNG of an image in JPEGImages"):
        segment(root)
    for source in (tmp_path / "photos", "cifar10"):
        with pytest.raises(UserError, match=rf"--data {source} has no classes for its pixels: "):
            segment(source)
    with pytest.raises(UserError, match="no such folder or file; did you mean 'voc2012'"):
        segment("voc201")


def test_a_source_of_a_plugin_has_class_maps(root, write_voc, segment):
    write_voc(root, {"train": ["a"], "val": ["b"]})
    with parts_of_seamask():

        @SOURCES.register("mine")
        def mine(config, size, seed):
            return Source("mine", str, Plan, class_maps=lambda: read_voc(root))

        data = segment("mine")
    assert (data.name, names(data.train), names(data.test)) == ("mine", ["a"], ["b"])


def test_shapes(segment, open_data):
    data = segment("shapes", shapes_train=40, shapes_test=8, limit=24)
    images = open_data("shapes", shapes_train=40, shapes_test=8, limit=24).train
    assert data.classes == ("background", *scenes.CLASSES)
    assert (len(data.train), len(data.test)) == (24, 8)
    assert (*data.normalization,) == (scenes.MEAN, scenes.STD)
    for row in range(24):
        image, classes = data.train[row]
        assert (image.dtype, classes.dtype) == (torch.uint8, torch.uint8)
        assert torch.equal(image, images.pixels[row].permute(2, 0, 1))
        objects = images.objects[row]
        assert (classes[objects == 0] == 0).all()
        assert (classes[objects == 1] == images.labels[row] + 1).all()
        assert (classes[objects > 1] == 255).all()
    assert any((data.train[row][1] == 255).any() for row in range(24))
    with pytest.raises(UserError, match="shapes holds nothing out to test on"):
        segment("shapes", shapes_train=4, shapes_test=0)
