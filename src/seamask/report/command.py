"""The command that starts a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seamask.base import settings
from seamask.base.errors import UserError
from seamask.base.registry import with_parts
from seamask.config import Config
from seamask.plugins import command
from seamask.recipes import recipe_config

ONE_START = ("recipe", "out", "overwrite", "data.cache")  # which make it no other run


def changed(config: Config) -> list[tuple[str, Any, Any]]:
    """Return (dotted path, the recipe's value, the run's) of the settings that differ.

    Of a recipe that there is no more, those that differ from the defaults.
    """
    try:
        recipe = recipe_config(config.recipe)
    except UserError:
        recipe = with_parts(Config())
    differing = settings.differences(recipe, config)
    return [(path, was, now) for path, was, now in differing if path not in ONE_START]


def command_of(config: Config, out: Path) -> str:
    """Return the command line that starts a run with these settings."""
    words: list[str] = []
    for path, _, now in changed(config):
        name = settings.flag(path, type(config))
        if isinstance(now, bool):
            group, dot, last = name.removeprefix("--").rpartition(".")
            words.append(name if now else f"--{group}{dot}no-{last}")
        else:
            value = settings.plain(now)
            words += [name, *map(str, value if isinstance(value, list) else [value])]
    return command("pretrain", config.recipe, *words, "--out", out)
