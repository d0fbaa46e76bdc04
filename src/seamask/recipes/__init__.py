"""Recipes: complete settings for one published table row or one use, sources beside the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seamask.base.errors import unknown
from seamask.base.registry import with_parts
from seamask.base.settings import override
from seamask.config import Config
from seamask.recipes import adios, cifar10, folder, imagenet100s, shapes, stl10

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


def default_recipe(source: str | None) -> str:
    """Return the recipe for a data source when none is named: our own masks on that data.

    Args:
        source: the value of `--data`; None for the built-in data.
    """
    if source is None:
        return DEFAULT
    named = f"{source}-seamask"
    return named if named in RECIPES else "folder-seamask"


def recipe_config(name: str) -> Config:
    """Return the settings of a recipe.

    Raises:
        UserError: an unknown recipe.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return override(with_parts(Config(recipe=name)), RECIPES[name][1])
