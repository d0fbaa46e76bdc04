"""The README tells the truth: its example runs, its names exist."""

import re
from pathlib import Path

import seamask

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = next(block for block in blocks if "SequentialMasker" in block)
    scope = {}
    exec(example, scope)
    assert scope["masks"].shape == (16, 3, 32, 32)
    assert scope["encoder_loss"].isfinite()


def test_it_is_short_and_names_what_exists():
    assert len(README.splitlines()) < 250
    for name in re.findall(r"seamask\.([A-Za-z_]\w*)\(", README):
        assert name in seamask.__all__, name
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (Path(__file__).parents[1] / link).exists(), link


def test_every_public_name_is_there_and_documented():
    for name in seamask.__all__:
        assert getattr(seamask, name).__doc__, name
