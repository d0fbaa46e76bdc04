"""Recipes: complete settings for one published table row or one use, sources beside the numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from seamask.base.errors import unknown
from seamask.base.options import documented
from seamask.base.papers import papers_in
from seamask.base.progress import amount
from seamask.base.registry import with_parts
from seamask.base.settings import get, leaves, override, plain
from seamask.config import Config
from seamask.recipes import adios, cifar10, folder, imagenet100s, shapes, stl10
from seamask.recipes.sourced import source_of, value_of

# {name: (one line about it, settings that differ from the defaults in seamask.config)}
RECIPES: dict[str, tuple[str, Mapping[str, Any]]] = {
    **shapes.RECIPES,
    **folder.RECIPES,
    **imagenet100s.RECIPES,
    **stl10.RECIPES,
    **cifar10.RECIPES,
    **adios.RECIPES,
}


DEFAULT = "shapes-seamask"
SMALL = "folder-small"
CITED = re.compile(r"\[[A-Z]\w+\](?: [^;,.:()\[\]]+)?")  # in a help: a source, and where in it


def default_recipe(source: str | None, on_gpu: Callable[[], bool] = lambda: True) -> str:
    """Return the recipe for a data source when none is named: our own masks on that data.

    Args:
        source: the value of `--data`; None for the built-in data.
        on_gpu: says whether a GPU computes; asked only of data without recipes of their own, which
            a CPU gets in small.
    """
    if source is None:
        return DEFAULT
    named = f"{source}-seamask"
    if named in RECIPES:
        return named
    return "folder-seamask" if on_gpu() else SMALL


def small_instead(config: Config) -> str:
    """Return the line that says which recipe a CPU was given, and how to have the other."""
    return (
        f"no GPU is used: recipe {SMALL} ({config.encoder.backbone}, {config.image_size} px, "
        f"{amount(config.epochs, 'epoch')}), which a CPU can finish; for the full one name it: "
        "seamask pretrain folder-seamask --data ..."
    )


def recipe_config(name: str) -> Config:
    """Return the settings of a recipe.

    Raises:
        UserError: an unknown recipe.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    given = {path: value_of(value) for path, value in RECIPES[name][1].items()}
    return override(with_parts(Config(recipe=name)), given)


def explained(name: str) -> str:
    """Return all settings of a recipe as YAML, each with its source: the recipe's or a default's.

    Raises:
        UserError: an unknown recipe.
    """
    config = recipe_config(name)
    about, given = RECIPES[name]
    help_of = documented(type(config))
    lines = [f"# {name}: {about}"]
    for path, _ in leaves(type(config)):
        if path in ("out", "overwrite"):  # of one start
            continue
        value = json.dumps(plain(get(config, path)), ensure_ascii=False)  # YAML, too
        if path in given or path == "recipe":
            source = ": ".join(filter(None, ["recipe", source_of(given.get(path))]))
        else:
            source = "; ".join(["default", *CITED.findall(help_of.get(path, ""))])
        lines.append(f"{f'{path}: {value}':<42}  # {source}")
    return "\n".join([*lines, *(f"# {paper}" for paper in papers_in(" ".join(lines)))])
