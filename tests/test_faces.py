"""The faces of packages: what `__init__.pyi` names can be had, and nothing is loaded before."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import seamask

ROOT = Path(seamask.__file__).parent
FACES = sorted(ROOT.rglob("__init__.pyi"))


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.parent.name)
def test_a_face_has_the_names_that_it_declares_and_no_other(face):
    package = importlib.import_module(".".join(("seamask", *face.parent.relative_to(ROOT).parts)))
    imports = [n for n in ast.parse(face.read_text()).body if isinstance(n, ast.ImportFrom)]
    declared = {name.name for node in imports for name in node.names}
    assert declared == set(package.__all__)
    for name in declared:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="laod"):
        _ = package.laod


HEAVY = ("timm", "torchvision", "sklearn", "skimage", "scipy", "matplotlib")


@pytest.mark.parametrize("name", [
    "budget_penalty", "SequentialMasker", "RandomBlockMasker", "nt_xent", "Budget",
    "two_player_step", "plain_step", "TwoPlayers",
])  # fmt: skip
def test_the_heart_needs_torch_and_nothing_else_of_weight(name):
    code = f"import sys, seamask; seamask.{name}; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
