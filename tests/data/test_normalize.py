"""By what images are normalised: `--data.normalize`."""

import json

import numpy as np
import pytest

from seamask.base.errors import UserError
from seamask.data.normalize import IMAGENET, Normalization, Normalize
from seamask.data.packing import pack
from seamask.data.settings import DataConfig
from seamask.data.sources import load


def test_a_folder_is_normalised_by_its_own_training_images(tmp_path, write, open_data):
    write(tmp_path / "photos", *(f"{c}/{i}.png" for c in "ab" for i in range(6)))
    data = open_data(tmp_path / "photos", holdout=0.3)
    pixels = data.train.pixels.double().numpy() / 255
    assert len(data.probe_test)
    np.testing.assert_allclose(data.normalization.mean, pixels.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(data.normalization.std, pixels.std((0, 1, 2)), atol=1e-6)
    (store,) = (tmp_path / "cache").glob("photos-*")
    meta = json.loads((store / "meta.json").read_text())
    assert np.sum(meta.pop("levels")) == data.train.pixels.numel()
    (store / "meta.json").write_text(json.dumps(meta))  # a store of before
    assert open_data(tmp_path / "photos", holdout=0.3).normalization == data.normalization
    packed = pack(
        DataConfig(str(tmp_path / "photos"), size=16, holdout=0.3),
        tmp_path / "pack",
        progress=False,
    )
    assert packed.normalization == data.normalization
    for asked, found in (
        ("imagenet", IMAGENET),
        ("0.1,0.2,0.3/0.5", Normalization((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))),
    ):
        other = open_data(tmp_path / "photos", holdout=0.3, normalize=Normalize.parse(asked))
        assert other.normalization == found
        assert str(Normalize.parse(asked)) == asked


def test_a_data_set_with_a_name_keeps_its_numbers(cache):
    config = DataConfig(cache=str(cache), shapes_train=16, shapes_test=16)
    assert load(config, 32, progress=False).normalization == Normalization((0.5,) * 3, (0.18,) * 3)


@pytest.mark.parametrize("text", ["mine", "0.5", "0.5/0", "0.5,0.5/1", "1/nan", "0/1/2", "/"])
def test_what_is_no_normalisation(text):
    with pytest.raises(UserError, match=f"--data.normalize is '{text}': expected own, imagenet"):
        Normalize.parse(text)
