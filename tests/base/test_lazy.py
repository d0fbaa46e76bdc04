import ast
from pathlib import Path

import pytest

import seamask.data


def test_a_face_has_the_names_that_it_declares_and_no_other():
    declared = [
        name.name
        for node in ast.walk(ast.parse(Path(seamask.data.__file__).read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("seamask.data.")
        for name in node.names
    ]
    assert "load" in declared
    for name in declared:
        assert getattr(seamask.data, name) is not None
    with pytest.raises(AttributeError, match=r"'seamask\.data' has no attribute 'laod'"):
        _ = seamask.data.laod
