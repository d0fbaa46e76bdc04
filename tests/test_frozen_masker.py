"""A trained masker, frozen, in another pretraining: `--masker run:PATH`."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import seamask
from seamask.base.errors import UserError
from seamask.masks import MaskerSettings, build_masker, read_trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache):
    """A run with two masks of its own."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    seamask.pretrain(**small(cache, out))
    return out


def small(cache, out, **changed):
    return {
        "out": out, "epochs": 1, "batch_size": 8, "image_size": 32, "device": "cpu", "threads": 1,
        "data.cache": str(cache), "data.shapes_train": 16, "data.shapes_test": 16, "n_masks": 2,
        "masks.width": 4, "objective.hidden": (16,), "objective.out_dim": 8, "masks.disjoint": True,
        "backbone": "test_resnet", **changed,
    }  # fmt: skip


def test_it_drives_another_objective_and_stays_as_it_was(trained, tmp_path, cache):
    out = tmp_path / "second"
    changed = {"masker": f"run:{trained}", "masks.disjoint": False, "objective.name": "vicreg"}
    seamask.pretrain(**small(cache, out, **changed))
    ours, theirs = (load_file(run / "masker.safetensors") for run in (out, trained))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = seamask.load_masker(trained)(images)
    for masker in (seamask.load_masker(out), read_trained(out), read_trained(trained)):
        torch.testing.assert_close(masker(images.clone()), expected)
        assert not masker.learned


@pytest.mark.parametrize("patch", [1, 8])
def test_made_hard_it_stays_hard_and_disjoint(trained, tmp_path, cache, patch):
    out = tmp_path / "hard"
    changed = {"masks.hard": True, "masks.hard_patch": patch, "masks.disjoint": False}
    seamask.pretrain(**small(cache, out, masker=f"run:{trained}", **changed))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        masks = seamask.load_masker(out)(images)
        assert ((masks == 0) | (masks == 1)).all()
        assert 0 < masks.mean() < 0.5
        assert masks.sum(1).max() == 1  # no pixel twice
        torch.testing.assert_close(read_trained(out)(images), masks)
    again = MaskerSettings(f"run:{out}", 2, hard=True, hard_patch=16)
    with pytest.raises(UserError, match=rf"cells of {patch} pixels: leave out --masks.hard"):
        build_masker(again, 32)


def test_it_sees_images_as_in_its_own_training(trained):
    masker = read_trained(trained / "masker.safetensors")
    said = json.loads(masker.said.metadata()["masker"])
    pixels = torch.rand(2, 3, 32, 32)

    def normal(mean, std):
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    expected = masker(normal(said["mean"], said["std"]))
    other = (0.1, 0.5, 0.9), (0.3, 0.2, 0.1)
    torch.testing.assert_close(masker.normalized_by(*other)(normal(*other)), expected)


def test_what_it_cannot_be(trained, tmp_path, cache):
    drawn = tmp_path / "drawn"
    seamask.pretrain(**small(cache, drawn, masker="random-patch", **{"masks.disjoint": False}))
    (other := tmp_path / "other.safetensors").write_bytes(b"nothing")
    save_file({"x": torch.zeros(1)}, unknown := tmp_path / "unknown.safetensors")
    for path, size, n_masks, said in (
        (trained, 64, 2, "sees images of 32 pixels, not 64: take --image-size 32"),
        (trained, 32, 4, "makes 2 masks, not 4: take --n-masks 2"),
        (drawn, 32, 2, "trained with --masker random-patch, which learns nothing"),
        (tmp_path, 32, 2, r"holds no masker\.safetensors"),
        (tmp_path / "none", 32, 2, "no such file or folder"),
        (other, 32, 2, "damaged"),
        (unknown, 32, 2, "does not say which masker"),
        (trained / "encoder.safetensors", 32, 2, "does not say which masker"),
    ):
        with pytest.raises(UserError, match=said):
            build_masker(MaskerSettings(f"run:{path}", n_masks), size)
