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
from seamask.runs import makes_other_run

NOT_SAID = ("recipe", "out", "overwrite", "data.cache")  # said otherwise, or of no use elsewhere


def changed(config: Config) -> list[tuple[str, Any, Any]]:
    """Return (dotted path, the recipe's value, the run's) of the choices that differ: of the
    settings with which it would be another run."""
    differing = settings.differences(_recipe(config), config)
    return [d for d in differing if d[0] != "recipe" and makes_other_run(d[0])]


def command_of(config: Config, out: Path) -> str:
    """Return the command line that starts a run with these settings."""
    words: list[str] = []
    for path, _, now in settings.differences(_recipe(config), config):
        if path in NOT_SAID or (path == "data.root" and not _below_root(config.data.source)):
            continue
        name = settings.flag(path, type(config))
        if isinstance(now, bool):
            group, dot, last = name.removeprefix("--").rpartition(".")
            words.append(name if now else f"--{group}{dot}no-{last}")
        else:
            value = settings.plain(now)
            words += [name, *map(str, value if isinstance(value, list) else [value])]
    return command("pretrain", config.recipe, *words, "--out", out)


def _recipe(config: Config) -> Config:
    """Return the settings of a run's recipe; of one that there is no more, the defaults."""
    try:
        return recipe_config(config.recipe)
    except UserError:
        return with_parts(Config())


def _below_root(source: str) -> bool:
    """Say whether a run's images lie below `data.root`: not generated ones, nor those of a path."""
    return source != "shapes" and not Path(source).is_absolute()
