"""Stores of one channel: `--data.channels 1`."""

import pytest
import torch

from seamask.base.channels import as_channels
from seamask.base.errors import UserError
from seamask.data.normalize import Normalization, Normalize
from seamask.data.packing import pack
from seamask.data.settings import DataConfig


def test_a_pack_has_the_channels_that_it_was_made_with(tmp_path, write, open_data):
    write(tmp_path / "photos", *(f"{i}.png" for i in range(6)))
    whole = open_data(tmp_path / "photos")
    config = DataConfig(str(tmp_path / "photos"), size=16, channels=1)
    packed = pack(config, tmp_path / "grey", progress=False)
    assert torch.equal(packed.train.pixels, as_channels(whole.train.pixels, 1))
    assert (tmp_path / "grey/train.pixels").stat().st_size == packed.train.pixels.numel()
    pixels = packed.train.pixels.double() / 255
    assert packed.normalization.mean == pytest.approx((pixels.mean().item(),), abs=1e-6)
    assert packed.normalization.std == pytest.approx((pixels.std(correction=0).item(),), abs=1e-6)
    assert packed.fingerprint != whole.fingerprint
    with pytest.raises(UserError, match=r"--data.channels 3: .* was packed with 1; take"):
        open_data(tmp_path / "grey")
    given = open_data(tmp_path / "grey", channels=1, normalize=Normalize.parse("0.2/0.3"))
    assert given.normalization == Normalization((0.2,), (0.3,))
    with pytest.raises(UserError, match=r"is of red, green, blue, and --data.channels is 1"):
        open_data(tmp_path / "grey", channels=1, normalize=Normalize.parse("1,2,3/1,1,1"))
