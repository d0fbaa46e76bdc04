"""ECSSD, DUTS-TE and DUT-OMRON in the layouts of their archives; all images are small noise."""

import numpy as np
import pytest
import torch
from PIL import Image

from seamask.base.errors import UserError
from seamask.data.files.decode import square, square_map
from seamask.data.sets.saliency import SETS

# What unpacking the published archives leaves below the folder of all data sets.
TREES = {
    "ecssd": ("ECSSD/images", "ECSSD/ground_truth_mask", ["0001", "0002", "0003"]),
    "duts-te": (
        "DUTS-TE/DUTS-TE-Image",
        "DUTS-TE/DUTS-TE-Mask",
        ["ILSVRC2012_test_00000003", "sun_aaadtqitptfgmpde"],
    ),
    "dut-omron": (
        "DUT-OMRON/DUT-OMRON-image",
        "DUT-OMRON/pixelwiseGT-new-PNG",
        ["im005", "sun_aaaenaoynzhoyheo"],
    ),
}


@pytest.fixture
def tree(tmp_path, write):
    """Write a data set; return the maps by name, as they are in the files."""

    def _tree(name, below=""):
        images, maps, stems = TREES[name]
        found = {}
        for stem in stems:
            write(tmp_path / below / images, f"{stem}.jpg", size=(30, 20))
            grey = np.zeros((20, 30), np.uint8)
            grey[5:15, 6:20] = 255
            grey[5, 6:20], grey[14, 6:20] = 129, 128  # edges are soft: above 128 is the object
            path = tmp_path / below / maps / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(grey).convert("RGB" if stem == stems[0] else "L").save(path)
            found[stem] = (grey > 128).astype(np.uint8)
        return found

    return _tree


@pytest.mark.parametrize("name", TREES)
def test_published_trees(tree, tmp_path, open_data, name):
    maps = tree(name)
    data = open_data(name, root=str(tmp_path))
    images, _, stems = TREES[name]
    assert (data.name, len(data.train), len(data.probe_test)) == (name, len(stems), len(stems))
    assert (data.train.labels, data.train.objects, data.skipped) == (None, None, ())
    assert data.notes == (f"{len(stems)} images, of {SETS[name].count:,} that are published",)
    for row, stem in enumerate(stems):
        with Image.open(tmp_path / images / f"{stem}.jpg") as image:
            np.testing.assert_array_equal(data.probe_test.pixels[row], square(image, 16))
            whole = data.whole.read(row)
            np.testing.assert_array_equal(whole.pixels, np.asarray(image))
        cut = square_map(Image.fromarray(maps[stem]), 16)
        assert torch.equal(data.probe_test.objects[row], torch.from_numpy(cut.copy()))
        np.testing.assert_array_equal(whole.objects, maps[stem])
        assert whole.boxes.tolist() == [[6, 5, 20, 14]]


def test_other_places_of_the_same_folders(tree, tmp_path, open_data):
    tree("duts-te", below="DUTS")
    assert len(open_data("duts-te", root=str(tmp_path)).whole) == 2
    tree("ecssd")
    first = open_data("ecssd", root=str(tmp_path))
    beside = open_data("ecssd", root=str(tmp_path / "ECSSD"))  # the root is the data set itself
    assert first.fingerprint == beside.fingerprint


def test_what_is_missing_is_named(tree, tmp_path, open_data):
    with pytest.raises(
        UserError,
        match=r"--data ecssd: .*D holds no images and ground_truth_mask; unpack http.*images.zip"
        r" and http.*ground_truth_mask.zip there, or name another folder with --data.root",
    ):
        open_data("ecssd", root=str(tmp_path))
    tree("ecssd")
    (tmp_path / "ECSSD/ground_truth_mask/0002.png").unlink()
    with pytest.raises(UserError, match=r"ground_truth_mask has no 0002.png \(1 of 3 are missing"):
        open_data("ecssd", root=str(tmp_path))
    (tmp_path / "ECSSD/images/0002.jpg").unlink()
    (tmp_path / "ECSSD/images/0001.jpg").unlink()
    with pytest.raises(UserError, match=r"images has no 0001.jpg \(1 of 2 are missing"):
        open_data("ecssd", root=str(tmp_path))
