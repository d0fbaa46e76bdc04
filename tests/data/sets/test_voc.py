import numpy as np
import pytest
from PIL import Image

from seamask.base.errors import UserError
from seamask.data.files.decode import square, square_map
from seamask.data.sets.voc import is_voc, read_voc


@pytest.fixture
def root(tmp_path):
    return tmp_path / "voc"


def cut(values, size=16):
    return square_map(Image.fromarray(values), size)


def test_train_and_val(root, write_voc, open_data):
    maps = write_voc(root, {"train": ["a", "b", "c"], "val": ["d", "e"]}, names=["unlisted"])
    data = open_data(root)
    assert data.name == "voc"
    assert (len(data.train), data.train.labels, data.train.objects) == (3, None, None)
    assert (data.probe_train, data.classes, data.skipped) == (None, (), ())
    assert (len(data.probe_test), data.probe_test.labels) == (2, None)
    for row, name in enumerate("de"):
        np.testing.assert_array_equal(data.probe_test.objects[row], cut(maps[name][1]))
        with Image.open(root / "JPEGImages" / f"{name}.jpg") as image:
            np.testing.assert_array_equal(data.probe_test.pixels[row], square(image, 16))
    assert data.probe_test.objects.unique().tolist() == [0, 1, 2, 255]
    own = data.train.pixels.double().div(255).mean((0, 1, 2)).tolist()
    assert data.normalization.mean == pytest.approx(own, abs=1e-5)


def test_only_trainval(root, write_voc, open_data):
    write_voc(root, {"trainval": ["b", "a"]}, names=["unlisted"])
    data = open_data(root)
    assert (len(data.train), len(data.probe_test)) == (2, 2)
    assert (data.train.pixels == data.probe_test.pixels).all()
    assert len(open_data(root, limit=1).train) == 1
    assert len(open_data(root, limit=1).probe_test) == 2


def test_trainval_beside_val(root, write_voc):
    write_voc(root, {"trainval": ["a", "b", "c"], "val": ["b"]})
    layout = read_voc(root)
    assert [item.name for item in layout.train] == ["a", "c"]
    assert [item.name for item in layout.scored] == ["b"]


def test_images_that_differ_in_their_suffix_only_are_refused(root, write, write_voc):
    write_voc(root, {"train": ["a"]})
    write(root, "JPEGImages/a.png")
    with pytest.raises(UserError, match=r"holds a\.jpg and a\.png: .*; rename one"):
        read_voc(root)


def test_whole_images_have_the_range_of_the_data_set(root, write_voc, open_data):
    write_voc(root, {"train": ["a"], "val": ["b"]})
    for name, top in ("a", 4095), ("b", 819):
        (root / f"JPEGImages/{name}.jpg").unlink()
        pixels = np.full((20, 30), top, np.uint16)
        Image.fromarray(pixels).save(root / f"JPEGImages/{name}.png")
    data = open_data(root)
    assert int(data.probe_test.pixels.max()) == 51
    assert int(data.whole.read(0).pixels.max()) == 51


def test_no_lists(root, write, write_voc, open_data):
    write_voc(root, {}, names=["a", "b"])
    write(root, "JPEGImages/c.png", "JPEGImages/.d.png", "elsewhere.png")
    data = open_data(root)
    assert (len(data.train), len(data.probe_test)) == (3, 2)


def test_images_without_any_map(root, write, open_data):
    write(root, "JPEGImages/a.png", "JPEGImages/b.png")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    data = open_data(root)
    assert (len(data.train), data.probe_test) == (2, None)


@pytest.mark.parametrize(
    ("names", "shift"),
    [
        (None, 0),
        ("background\nroad\ncar\n", 0),
        ("sky\nroad\ncar\n", 1),
        ("0\tsky\n1\troad\n2\tbig car\n255\tvoid (ignored)\n", 1),
        ("2 car\n0 Background\n1 road\n", 0),
    ],
)
def test_objects_from_classes(root, write_voc, open_data, names, shift):
    maps = write_voc(root, {"train": ["a"], "val": ["b"]}, objects=False)
    if names:
        (root / "classes.txt").write_text(names)
    values = maps["b"][0]
    wanted = np.where(values == 255, 255, values + shift)
    np.testing.assert_array_equal(open_data(root).probe_test.objects[0], cut(wanted))


def test_the_names_of_classes(root, write_voc):
    write_voc(root, {"train": ["a"]})
    assert read_voc(root).classes == ()
    for text, classes in {
        "sky\nbig car\n\n": ("sky", "big car"),
        "1: car\r\n0: sky\r\n255: void": ("sky", "car"),
        "7up\nsky": ("7up", "sky"),
    }.items():
        (root / "classes.txt").write_text(text)
        assert read_voc(root).classes == classes
    (root / "classes.txt").write_text("1 car\n2 road\n")
    with pytest.raises(UserError, match=r"classes.txt names no value 0; name every one"):
        read_voc(root)
    (root / "classes.txt").write_text("\n")
    with pytest.raises(UserError, match=r"classes.txt is empty"):
        read_voc(root)


def test_an_image_keeps_its_own_objects_where_others_have_none(root, write_voc, open_data):
    maps = write_voc(root, {"train": ["a"], "val": ["b", "c"]}, values=(5, 5))
    (root / "SegmentationObject" / "c.png").unlink()
    objects = open_data(root).probe_test.objects
    np.testing.assert_array_equal(objects[0], cut(maps["b"][1]))
    np.testing.assert_array_equal(objects[1], cut(maps["c"][0]))


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16"])
def test_kinds_of_png(root, write_voc, open_data, mode):
    write_voc(root, {"train": ["a"], "val": ["b"]})
    values = np.zeros((20, 30), np.uint8)
    values[5:15, 5:20] = 1
    image = Image.fromarray(values.astype(np.uint16) if mode == "I;16" else values)
    if mode == "P":
        image.putpalette([0] * 3 + [200] * 3)  # two colours: one bit a pixel
    if mode == "1":
        image = Image.fromarray(values.astype(bool))
    assert image.mode == mode
    image.save(root / "SegmentationObject" / "b.png")
    np.testing.assert_array_equal(open_data(root).probe_test.objects[0], cut(values))


def test_maps_that_cannot_be_read_are_skipped_or_stop(root, write_voc, open_data):
    write_voc(root, {"train": ["a"], "val": ["b", "c", "d", "e", "f"]})
    maps = root / "SegmentationObject"
    maps.joinpath("b.png").write_bytes(maps.joinpath("b.png").read_bytes()[:60])
    maps.joinpath("c.png").write_bytes(b"")
    Image.new("RGB", (30, 20)).save(maps / "d.png")
    Image.fromarray(np.full((20, 30), 256, np.uint16)).save(maps / "e.png")
    data = open_data(root)
    assert len(data.probe_test) == 1
    skipped = dict(data.skipped)
    assert list(skipped) == [f"JPEGImages/{name}.jpg" for name in "bcde"]
    assert all(f"its label image {maps}" in reason for reason in skipped.values())
    assert "colours are RGB; a palette or grey PNG is needed" in skipped["JPEGImages/d.jpg"]
    assert "holds the value 256" in skipped["JPEGImages/e.jpg"]
    with pytest.raises(UserError, match=r"cannot read the image JPEGImages/b.jpg: its label image"):
        open_data(root, on_bad_image="stop")


def test_a_map_of_another_size(root, write_voc, write_map, open_data):
    write_voc(root, {"train": ["a"], "val": ["b"]})
    write_map(root / "SegmentationObject" / "b.png", np.zeros((20, 31)))
    with pytest.raises(UserError, match=r"Object/b.png has 31×20 pixels.*Images/b.jpg has 30×20;"):
        open_data(root)


def test_a_value_outside_the_classes(root, write_voc, open_data):
    write_voc(root, {"train": ["a"], "val": ["b"]}, values=(1, 7), objects=False)
    (root / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(UserError, match=r"Class/b.png holds the value 7, but there are 2 classes"):
        open_data(root)


def test_lists_that_name_what_is_not_there(root, write_voc):
    lists = {"train": ["a", "b"], "val": ["c", "d"]}
    write_voc(root, lists)
    (root / "SegmentationObject" / "c.png").unlink()
    read_voc(root)  # its classes are still there
    (root / "SegmentationClass" / "c.png").unlink()
    with pytest.raises(UserError, match=r"SegmentationClass/c.png is missing; put it there or"):
        read_voc(root)
    (root / "JPEGImages" / "c.jpg").unlink()
    with pytest.raises(UserError, match=r"val.txt names c, but JPEGImages/c.jpg is missing \(1 of"):
        read_voc(root)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("\n")
    with pytest.raises(UserError, match=r"val.txt is empty; write one name a line, or remove it"):
        read_voc(root)
    write_voc(root, {"train": ["a"], "val": ["a"]})
    with pytest.raises(UserError, match=r"val.txt leaves no image to train on"):
        read_voc(root)


def test_no_images(root, write_voc):
    write_voc(root, {"train": ["a"]})
    (root / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(UserError, match="JPEGImages holds no images"):
        read_voc(root)


def test_what_counts_as_voc(tmp_path, write):
    write(tmp_path, "JPEGImages/a.png", "JPEGImages/b.png")
    assert not is_voc(tmp_path)
    (tmp_path / "SegmentationObject").mkdir()
    assert is_voc(tmp_path)


@pytest.mark.parametrize(
    "kind", ["JPEGImages/a.jpg", "JPEGImages/b.jpg", "SegmentationClass/b.png"]
)
def test_the_fingerprint_follows_every_file(root, write_voc, open_data, kind):
    write_voc(root, {"train": ["a"], "val": ["b"]}, objects=False)
    first = open_data(root).fingerprint
    (root / kind).write_bytes((root / kind).read_bytes() + b"changed")
    second = open_data(root).fingerprint
    (root / "classes.txt").write_text("sky\nroad\ncar")
    assert len({first, second, open_data(root).fingerprint}) == 3
