"""Images of one channel, from the store to what is made of a run."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import seamask
from command import call
from seamask.base.channels import as_channels
from seamask.evaluate.evaluation import evaluate
from seamask.masks.superpixels import clusters, segments
from seamask.networks.check import channels_of
from seamask.runs import RunFolder
from seamask.views import ViewsConfig, apply, draw


def colours(*shape):
    return torch.randint(
        0, 256, (*shape, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


def test_colours_become_the_luma_of_pillow_and_grey_stays_itself():
    pixels = colours(64, 64)
    expected = np.asarray(Image.fromarray(pixels.numpy()).convert("L"))
    grey = as_channels(pixels, 1)
    np.testing.assert_array_equal(grey[..., 0], expected)
    every = torch.arange(256, dtype=torch.uint8)[:, None]
    assert torch.equal(as_channels(as_channels(every, 3), 1), every)
    assert as_channels(grey, 1) is grey


@pytest.mark.parametrize("every", [True, False])
def test_views_of_grey_are_those_of_three_equal_channels(every):
    grey = as_channels(colours(12, 40, 40), 1).permute(0, 3, 1, 2)
    everything = ViewsConfig(jitter=0.9, hue=0.5, grayscale=0.3, blur=0.6, solarize=0.4)
    params = draw(12, 40, 40, everything, torch.Generator().manual_seed(1))
    found = apply(grey, params, 24, every=every)
    expected = apply(grey.expand(-1, 3, -1, -1), params, 24, every=every)
    assert found.shape == (12, 1, 24, 24)
    # Torchvision's luma weighs a ten-thousandth less than all: below a level of 255, but for the
    # few pixels at one half that solarisation then turns over.
    differ = (found - expected).abs().amax(1)
    assert (differ > 2e-3).float().mean() < 1e-3


def test_superpixels_of_grey_are_those_of_three_equal_channels():
    grey = as_channels(colours(2, 24, 24), 1)
    for make in (lambda p: segments(p, 20), lambda p: clusters(p, 3, 20)):
        assert torch.equal(make(grey), make(as_channels(grey, 3)))


@pytest.mark.slow
def test_a_run_of_grey_images_and_what_is_made_of_it(tiny, tmp_path, capsys):
    run, photos = tmp_path / "run", tmp_path / "photos"
    seamask.pretrain(out=run, **tiny | {
        "data.channels": 1, "masks.fill": "noise", "encoder.backbone": "test_resnet",
        "encoder.stem": "standard", "epochs": 1, "log.masks_every": 1,
    })  # fmt: skip
    encoder = seamask.load_encoder(run)
    assert channels_of(encoder) == seamask.load_masker(run).in_channels == 1
    assert json.loads((run / "config.json").read_text())["pretrained_cfg"]["input_size"][0] == 1
    (mean,), _ = vars(RunFolder(run).read_normalization()).values()
    assert 0.3 < mean < 0.7
    with Image.open(run / "masks/epoch-0001.png") as figure:
        assert figure.mode == "RGB"
    images = torch.randn(2, 1, 32, 32)
    if timm.__version__ != "1.0.22":
        model = timm.create_model(f"local-dir:{run}", pretrained=True).eval()
        with torch.no_grad():
            torch.testing.assert_close(model(images), encoder(images))
    photos.mkdir()
    Image.fromarray(colours(32, 32).numpy()).save(photos / "1.png")
    Image.fromarray(colours(32, 32).numpy()).convert("L").save(photos / "grey.png")
    assert call("masks", run, photos, "--out", tmp_path / "m.png") == 0
    assert call("embed", run, "--data", photos, "--out", tmp_path / "f.npz") == 0
    colour, grey = np.load(tmp_path / "f.npz")["features"]
    np.testing.assert_allclose(colour, grey, rtol=1e-5, atol=1e-6)  # the encoder sees the same
    for task, changed in (("knn", {}), ("masks", {}), ("segment", {"epochs": 1})):
        found = evaluate(run, task, device="cpu", threads=1, **changed)
        assert len(found.normalization["mean"]) == 1
    assert evaluate(run / "encoder.safetensors", "knn", device="cpu", **{
        name: tiny[name] for name in ("data.cache", "data.shapes_train", "data.shapes_test")
    }).metrics  # fmt: skip
    capsys.readouterr()
    for words, said in (
        (("--masker", f"run:{run}"), "sees images of 1 channel, not 3: take --data.channels 1"),
        (("--data.channels", 2), "--data.channels"),
    ):
        asked = "--image-size", 32, "--n-masks", 3, "--out", tmp_path / "no"
        assert call("pretrain", *asked, *words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "no").exists()
