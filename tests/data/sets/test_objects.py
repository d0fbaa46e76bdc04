"""Object masks of one's own, named like the images."""

import numpy as np
import pytest
from PIL import Image

from seamask.base.errors import UserError
from seamask.data.files.decode import square_map


def colours_of(values):
    """An image that encodes its labels as colours, so that the two can be compared."""
    return np.stack([values * 80] * 3, axis=2).astype(np.uint8)


@pytest.fixture
def photos(tmp_path):
    """Two classes of wide images whose colours are their labels: (images, label images)."""
    root, maps = tmp_path / "photos", tmp_path / "maps"
    for number, path in enumerate(f"{c}/{i}" for c in "ab" for i in range(4)):
        values = np.zeros((24, 40), np.uint8)
        values[4 : 12 + number, 10:20] = 1
        values[12:20, 18:32] = 2
        for folder, array in ((root, colours_of(values)), (maps, values)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / f"{path}.png")
    return root, maps


def test_maps_lie_on_their_images(photos, open_data):
    root, maps = photos
    data = open_data(root, objects=str(maps), holdout=0.25)
    assert data.train.objects.shape == (6, 16, 16)
    assert data.train.labels.bincount().tolist() == [3, 3]
    assert data.probe_test.objects is None
    wanted = np.round(data.train.pixels[..., 0].numpy() / 80)  # away from borders
    assert (wanted == data.train.objects.numpy()).mean() > 0.9
    assert data.train.objects.unique().tolist() == [0, 1, 2]
    chosen = open_data(root, objects=str(maps), holdout=0.25, limit=3).train
    rows = [int((data.train.pixels == p).flatten(1).all(1).nonzero()) for p in chosen.pixels]
    assert (chosen.objects == data.train.objects[rows]).all()


def test_voc_layout_takes_its_own_objects(tmp_path, write_voc, open_data):
    root = tmp_path / "voc"
    maps = write_voc(root, {"train": ["a", "b"], "val": ["c"]})
    data = open_data(root, objects=str(root / "SegmentationObject"))
    for row, name in enumerate("ab"):
        wanted = square_map(Image.fromarray(maps[name][1]), 16)
        np.testing.assert_array_equal(data.train.objects[row], wanted)
    np.testing.assert_array_equal(
        data.probe_test.objects[0], square_map(Image.fromarray(maps["c"][1]), 16)
    )


def test_the_store_follows_the_maps_and_without_them_is_as_ever(photos, open_data):
    root, maps = photos
    without = open_data(root).fingerprint
    first = open_data(root, objects=str(maps)).fingerprint
    assert open_data(root, objects=str(maps)).fingerprint == first
    (maps / "a/0.png").write_bytes((maps / "a/0.png").read_bytes() + b"changed")
    assert len({without, first, open_data(root, objects=str(maps)).fingerprint}) == 3
    assert open_data(root).fingerprint == without


def test_images_without_a_label_image(photos, open_data):
    root, maps = photos
    (maps / "a/0.png").unlink()
    (maps / "b/3.png").unlink()
    with pytest.raises(UserError, match=r"a/0.png is missing, .* a/0.png \(2 of 8 are\); put it"):
        open_data(root, objects=str(maps), holdout=0)
    with pytest.raises(UserError, match=r"--data.objects .*none: no such folder; give the one"):
        open_data(root, objects=str(maps / "none"))


@pytest.mark.parametrize("inside", ["", "a", "labels"])
def test_label_images_among_the_images(photos, write, open_data, inside):
    root, _ = photos
    write(root, "labels/1.png", "labels/2.png")
    with pytest.raises(UserError, match="label images would be trained on too; move"):
        open_data(root, objects=str(root / inside), holdout=0)


def test_masks_of_0_and_255_are_not_taken_for_no_object(photos, open_data):
    root, maps = photos
    Image.fromarray(np.full((24, 40), 255, np.uint8)).save(maps / "a/0.png")
    Image.fromarray(np.zeros((24, 40), np.uint8)).save(maps / "a/1.png")  # no object: fine
    data = open_data(root, objects=str(maps), holdout=0)
    assert [path for path, _ in data.skipped] == ["a/0.png"]
    assert "holds 255 = void but no object; write 1 for the first" in data.skipped[0][1]
    assert len(data.train) == 7
    with pytest.raises(UserError, match=r"cannot read the image a/0.png: its label image"):
        open_data(root, objects=str(maps), holdout=0, on_bad_image="stop")


def test_a_label_image_of_another_size(photos, open_data):
    root, maps = photos
    Image.fromarray(np.ones((24, 41), np.uint8)).save(maps / "b/1.png")
    with pytest.raises(UserError, match=r"b/1.png has 41×24 pixels, but its image .*40×24;"):
        open_data(root, objects=str(maps), holdout=0)


@pytest.mark.parametrize("name", ["shapes", "cifar10", "inat21"])
def test_data_sets_that_are_no_folder(tmp_path, open_data, name):
    with pytest.raises(UserError, match=rf"--data.objects .*: {name} is no folder .*leave it out"):
        open_data(name, objects=str(tmp_path))
