"""The masks in other people's loops: each example is run, with the library it is for."""

import importlib
import math
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def loop(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "loops")

    def find(name):
        sys.modules.pop(name, None)
        return importlib.import_module(name).main

    return find


def test_plain_torch(loop):
    losses = loop("plain_torch")(steps=3, batch=8)
    assert all(map(math.isfinite, losses))


def test_token_masks(loop):
    assert math.isfinite(loop("token_masks")(steps=2, batch=4))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of lightly's and Lightning's own
def test_lightly(loop, tmp_path):
    pytest.importorskip("lightly", reason="pip install lightly")
    for i in range(8):
        Image.effect_noise((40, 40), 10 + i).convert("RGB").save(tmp_path / f"{i}.png")
    losses = loop("lightly_simclr")(str(tmp_path), epochs=2, batch=4)
    assert len(losses) == 4
    assert all(map(math.isfinite, losses))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning(loop):
    pytest.importorskip("lightning", reason="pip install lightning")
    main = loop("lightning_module")
    torch.manual_seed(0)
    module = main(steps=3, batch=8)
    assert module.global_step == 6  # two players, three steps
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook(tmp_path, monkeypatch):
    notebook = nbformat.read(EXAMPLES / "masks_moving.ipynb", as_version=4)
    notebook.cells[1].source = notebook.cells[1].source.replace("EPOCHS = 3", "EPOCHS = 2")
    run = next(c for c in notebook.cells if "seamask.pretrain" in c.source)
    run.source = run.source.replace(
        "**{", '**{"data.shapes_train": 96, "data.shapes_test": 32, "batch_size": 32, '
    )
    client = NotebookClient(
        notebook, timeout=None, startup_timeout=600, resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    shown = [o for cell in notebook.cells for o in cell.get("outputs", ()) if "data" in o]
    assert sum("image/png" in o["data"] for o in shown) == 3  # two epochs' masks, the curves
