"""Weights that an encoder starts from: `--encoder.init`."""

import json

import pytest
import timm
import torch
from runs import config_of
from safetensors.torch import load_file, save_file

from seamask.base import settings
from seamask.base.errors import UserError
from seamask.objectives import build_objective
from seamask.terminal import print_summary
from seamask.training import start_run
from seamask.training.players import build_networks
from seamask.training.start import read_start


@pytest.fixture
def config(tiny, tmp_path):
    return config_of(tiny, tmp_path / "run", backbone="test_resnet", epochs=1)


def encoder_of(config):
    objective = build_objective(config.objective)
    return build_networks(config, objective, read_start(config))


def test_a_run_and_its_file_give_their_weights_to_both_encoders_of_byol(config, tmp_path, capsys):
    start_run(config)
    weights = load_file(tmp_path / "run/encoder.safetensors")
    byol = settings.override(config, {"objective.name": "byol", "out": str(tmp_path / "second")})
    for place in (tmp_path / "run", tmp_path / "run/encoder.safetensors"):
        networks = encoder_of(settings.override(byol, {"encoder.init": str(place)}))
        held = networks.encoder.state_dict()
        for name, weight in weights.items():
            copies = [k for k in held if k.endswith(f"backbone.{name}")]
            assert len(copies) == 2
            assert all(torch.equal(held[k], weight) for k in copies)
    capsys.readouterr()
    start_run(settings.override(byol, {"encoder.init": str(tmp_path / "run")}))
    assert (
        f"encoder starts from {tmp_path}/run/encoder.safetensors (sha256" in capsys.readouterr().out
    )
    said = json.loads((tmp_path / "second/manifest.json").read_text())["init"]
    assert (said["loaded"], said["random"], said["unused"]) == (len(weights), [], [])


def test_a_run_is_set_beside_what_it_started_from(config, tmp_path, capsys):
    first = start_run(config).results
    again = {"encoder.init": str(tmp_path / "run"), "optim.encoder.lr": 0.0, "seed": 1}
    second = settings.override(config, {**again, "out": str(tmp_path / "second")})
    summary = start_run(second)
    found = summary.results
    # Of the weights that it read, on this run's own images; not of random ones.
    assert {n for n in found if n.startswith("start/")} == {
        n.replace("untrained/", "start/") for n in first if n.startswith("untrained/")
    }
    assert not any(n.startswith("untrained/") for n in found)
    assert found["start/probe/knn"] == pytest.approx(first["probe/knn"])
    capsys.readouterr()
    print_summary(summary)
    assert "at its start" in capsys.readouterr().out
    assert "at its start" in (tmp_path / "second/report.html").read_text()


def test_what_does_not_fit_stays_random_and_is_named(config, tmp_path):
    plain = encoder_of(config).encoder.backbone.state_dict()
    first = next(iter(plain))
    other = {name: torch.full_like(weight, 2).contiguous() for name, weight in plain.items()}
    other[first] = torch.zeros(1, 2, 3)
    other["fc.weight"] = torch.zeros(10, 10)
    save_file(other, tmp_path / "other.safetensors")
    networks = encoder_of(
        settings.override(config, {"encoder.init": f"{tmp_path}/other.safetensors"})
    )
    held = networks.encoder.backbone.state_dict()
    assert torch.equal(held.pop(first), plain[first])
    assert all((weight == 2).all() for weight in held.values())
    assert networks.started.random == (first,)
    assert set(networks.started.unused) == {first, "fc.weight"}
    assert f"random as before: {first}; not used: " in str(networks.started)


@pytest.mark.parametrize("channels", [3, 1])
def test_timms_weights_are_fitted_to_our_size_patches_and_channels(
    config, tmp_path, monkeypatch, channels
):
    theirs = timm.create_model("test_vit")  # of 160 pixels, patches of 16
    theirs_weights = {name: torch.randn_like(w) for name, w in theirs.state_dict().items()}
    save_file(theirs_weights, tmp_path / "theirs.safetensors")
    (tag,) = timm.list_pretrained("test_vit.*")
    known = timm.models._registry._model_pretrained_cfgs[tag]
    monkeypatch.setattr(known, "file", str(tmp_path / "theirs.safetensors"))
    vit = settings.override(config, {
        "encoder.backbone": "test_vit", "encoder.patch": 8, "encoder.init": "imagenet",
        "data.channels": channels,
    })  # fmt: skip
    networks = encoder_of(vit)
    ours, started = networks.encoder.backbone.state_dict(), networks.started
    assert started.source == f"timm's {tag}"
    assert not started.random
    assert started.loaded == len(ours)
    alike = [name for name in ours if ours[name].shape == theirs_weights[name].shape]
    assert all(torch.equal(ours[name], theirs_weights[name]) for name in alike)
    assert {*ours} - {*alike} == {"pos_embed", "patch_embed.proj.weight"}
    assert ours["patch_embed.proj.weight"].shape[1:] == (channels, 8, 8)
    if channels == 1:  # as for three equal channels
        colours = encoder_of(settings.override(vit, {"data.channels": 3}))
        images = torch.randn(2, 1, 32, 32)
        found = networks.encoder.backbone.eval()(images)
        expected = colours.encoder.backbone.eval()(images.expand(-1, 3, -1, -1))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_weights_that_cannot_be_downloaded_are_one_line(config, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match="timm found no pretrained weights of test_re") as error:
        start_run(settings.override(config, {"encoder.init": "imagenet"}))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_what_nothing_can_start_from(config, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    for init, said in (
        (tmp_path / "none", "no such file"),
        (tmp_path / "bad.safetensors", "damaged"),
        (tmp_path / "x.safetensors", "none of its 1 tensors fits the backbone"),
        (tmp_path, "no run at"),
    ):
        with pytest.raises(UserError, match=said):
            start_run(settings.override(config, {"encoder.init": str(init)}))
        assert not (tmp_path / "run").exists()
