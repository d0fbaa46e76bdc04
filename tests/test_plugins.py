"""Files that add parts: loaded when named, and only then. What each may add: test_examples.py."""

import pytest

from command import parts_of_seamask
from seamask.base.errors import UserError
from seamask.base.registry import with_parts
from seamask.base.settings import get
from seamask.config import Config
from seamask.masks import PENALTIES
from seamask.plugins import load_plugin, loaded_plugins, take_plugins

PLUGIN = """
from dataclasses import dataclass

from seamask.masks import PENALTIES, Penalty

@dataclass(frozen=True)
class Centre:
    centre: float = {default}

PENALTIES.register("centre", Centre)(Penalty(lambda masks, budget: masks.mean()))
"""


def test_a_file_is_run_once_and_its_settings_join_their_group(tmp_path):
    path = tmp_path / "centre.py"
    path.write_text(PLUGIN.format(default=0.5))
    with parts_of_seamask():
        assert take_plugins(["a", "--plugin", str(path), "--epochs", "1"]) == ["a", "--epochs", "1"]
        added = PENALTIES["centre"]
        load_plugin(path)
        assert PENALTIES["centre"] is added
        assert loaded_plugins() == (path,)
        assert get(with_parts(Config()), "penalties.centre") == 0.5
    assert loaded_plugins() == ()
    assert "centre" not in PENALTIES


def test_a_setting_that_is_there_already_is_refused(tmp_path):
    path = tmp_path / "centre.py"
    path.write_text(PLUGIN.replace("centre: float", "overlap: float").format(default=0.5))
    with parts_of_seamask():
        load_plugin(path)
        with pytest.raises(UserError, match=r"Centre\.overlap: there is a setting of this name"):
            with_parts(Config())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
        ("1 +", "SyntaxError"),
        (PLUGIN.replace("= {default}", ""), "'centre': .*Centre'> is no frozen dataclass whose"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_one_line(content, says, tmp_path):
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=says) as error:
        take_plugins(["--epochs", "1", "--plugin", str(path)])
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_the_other_arguments_stay():
    assert take_plugins(["a", "--epochs", "1"]) == ["a", "--epochs", "1"]
    with pytest.raises(UserError, match="--plugin needs the name"):
        take_plugins(["--plugin"])
