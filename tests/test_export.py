"""Exported weights, loaded by the libraries they are for."""

import json
import subprocess
import sys

import pytest
import timm
import torch
import torchvision

import seamask
from command import call
from seamask.base.errors import UserError


def features_of(model, images):
    with torch.no_grad():
        return model.eval()(images)


@pytest.fixture(scope="module", params=["resnet18", "resnet18_small_stem", "vit_tiny_patch16_224"])
def run(request, tmp_path_factory, cache):
    """A short run of a backbone at 32 px, its folder and its timm name."""
    out = tmp_path_factory.mktemp("runs") / request.param
    stem = "small" if request.param.endswith("small_stem") else "standard"
    seamask.pretrain(
        out=out,
        epochs=1,
        batch_size=8,
        image_size=32,
        backbone=request.param,
        device="cpu", threads=1,
        **{
            "data.cache": str(cache), "data.shapes_train": 16, "data.shapes_test": 16,
            "encoder.stem": stem, "masks.width": 4, "masks.downscale": 1,
        },
    )  # fmt: skip
    return out, request.param


def test_timm_loads_the_encoder_as_the_manifest_says(run, monkeypatch):
    out, name = run
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["backbone"] == name
    monkeypatch.chdir(out)
    scope = {}
    *imports, create = manifest["load"].split("; ")
    exec("; ".join([*imports, f"model = {create}"]), scope)
    images = torch.randn(4, 3, 32, 32)
    ours = seamask.load_encoder(out)
    torch.testing.assert_close(features_of(scope["model"], images), features_of(ours, images))
    untrained = timm.create_model(name, num_classes=0, **ours_arguments(name))
    assert not torch.allclose(features_of(untrained, images), features_of(ours, images))


@pytest.mark.skipif(
    timm.__version__ == "1.0.22", reason="fails on a folder of two safetensors files"
)
def test_a_runs_folder_is_what_timm_loads(run):
    out, _ = run
    ours = seamask.load_encoder(out)
    images = torch.randn(4, 3, 32, 32)
    model = timm.create_model(f"local-dir:{out}", pretrained=True)
    torch.testing.assert_close(features_of(model, images), features_of(ours, images))
    found = timm.data.resolve_model_data_config(model)
    said = json.loads((out / "manifest.json").read_text())["normalization"]
    assert [*found["input_size"]] == [3, 32, 32]
    assert ([*found["mean"]], [*found["std"]]) == (said["mean"], said["std"])
    assert (found["crop_pct"], found["interpolation"]) == (1.0, "bicubic")
    tuned = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=5)
    assert features_of(tuned, images).shape == (4, 5)


def test_transformers_loads_a_runs_folder(run):
    transformers = pytest.importorskip("transformers")
    out, _ = run
    model = transformers.AutoModel.from_pretrained(out)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        found = model.eval()(pixel_values=images).pooler_output
    torch.testing.assert_close(found, features_of(seamask.load_encoder(out), images))


def test_the_manifests_line_imports_all_that_it_needs(run):
    out, name = run
    if name != "resnet18":
        pytest.skip("the imports are the same")
    line = json.loads((out / "manifest.json").read_text())["load"]
    subprocess.run([sys.executable, "-c", line], cwd=out, check=True)  # nothing is imported yet


def ours_arguments(name):
    return {"img_size": 32, "patch_size": 4} if name.startswith("vit") else {}


def test_timm_loads_the_usual_stem_by_name_and_path_alone(run):
    out, name = run
    if name != "resnet18":
        pytest.skip("only models that timm knows under this name at any size")
    path = str(out / "encoder.safetensors")
    model = timm.create_model("resnet18", num_classes=0, checkpoint_path=path)
    images = torch.randn(4, 3, 32, 32)
    ours = seamask.load_encoder(out)
    torch.testing.assert_close(features_of(model, images), features_of(ours, images))


def test_torchvision_loads_the_usual_stem(run):
    out, name = run
    if name != "resnet18":
        pytest.skip("torchvision has only the usual stem")
    from safetensors.torch import load_file

    model = torchvision.models.resnet18()
    model.fc = torch.nn.Identity()
    model.load_state_dict(load_file(out / "encoder.safetensors"))
    images = torch.randn(4, 3, 32, 32)
    ours = seamask.load_encoder(out)
    torch.testing.assert_close(features_of(model, images), features_of(ours, images))


def test_load_masker(run):
    out, _ = run
    masks = features_of(seamask.load_masker(out), torch.randn(2, 3, 32, 32))
    assert masks.shape[0::2] == (2, 32)
    assert 0 <= masks.min() <= masks.max() <= 1


def test_damaged_and_missing_weights(run, tmp_path):
    import shutil

    out, _ = run
    copy = shutil.copytree(out, tmp_path / "copy")
    (copy / "encoder.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"encoder\.safetensors: damaged"):
        seamask.load_encoder(copy)
    (copy / "masker.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        seamask.load_masker(copy)
    with pytest.raises(UserError, match="no run at"):
        seamask.load_encoder(tmp_path / "none")


@pytest.mark.slow
def test_onnx_gives_the_same_numbers_for_any_batch(tiny, tmp_path, monkeypatch, capsys):
    vit = {"encoder.backbone": "test_vit", "encoder.patch": 8, "epochs": 1, "masks.hard": True}
    seamask.pretrain(out=tmp_path / "run", **tiny | vit)
    asked = "export", tmp_path / "run", "--to", "onnx", "--out", tmp_path / "onnx"
    capsys.readouterr()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnxruntime", None)
        assert call(*asked) == 2
    said = capsys.readouterr().err
    assert said == "seamask: error: --to onnx needs onnxruntime: pip install 'seamask[onnx]'\n"
    assert not (tmp_path / "onnx").exists()
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert call(*asked) == 0
    said = capsys.readouterr().out.splitlines()
    ours = {
        "encoder": seamask.load_encoder(tmp_path / "run"),
        "masker": seamask.load_masker(tmp_path / "run"),
    }
    files = [str(tmp_path / f"onnx/{part}.onnx") for part in ours]
    assert [line.partition(":")[0] for line in said] == files
    normalization = json.loads((tmp_path / "run/manifest.json").read_text())["normalization"]
    for file, network in zip(files, ours.values(), strict=True):
        session = runtime.InferenceSession(file)
        told = session.get_modelmeta().custom_metadata_map
        assert {key: json.loads(told[key]) for key in ("mean", "std")} == normalization
        images = torch.randn(5, 3, 32, 32)
        (found,) = session.run(None, {"images": images.numpy()})
        expected = features_of(network, images)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)
