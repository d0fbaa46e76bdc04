"""Processes that train, started from anywhere: a script without a main guard, a notebook, stdin."""

from __future__ import annotations

import multiprocessing
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.strategies.launchers.multiprocessing import _MultiProcessingLauncher

from seamask.base.registry import registered_by

MAIN = "__main__"
UNGUARDED = 78  # exit code of a process that was about to start the whole script again


class Launcher(_MultiProcessingLauncher):  # type: ignore[misc]
    """Starts processes that import seamask, and the user's script only if it added parts."""

    is_interactive_compatible = True  # Lightning's doubt is about what a notebook defines itself

    def launch(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """Run a function in all processes; return what it returns in the first."""
        if registered_by(MAIN):
            return super().launch(function, *arguments, **more)
        with _without_main():
            return super().launch(function, *arguments, **more)


class Spawn(DDPStrategy):  # type: ignore[misc]
    """Several processes of this machine; no cluster's variables are asked."""

    def __init__(self) -> None:
        super().__init__(cluster_environment=LightningEnvironment(), start_method="spawn")

    def _configure_launcher(self) -> None:
        self._launcher = Launcher(self, "spawn")


def leave_if_unguarded() -> None:
    """End a process that is starting, where its script would start a run from the top again."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(UNGUARDED)


@contextmanager
def _without_main() -> Iterator[None]:
    """Within, processes that start do not import the script: nothing of it is needed there."""
    main = sys.modules[MAIN]
    sys.modules[MAIN] = types.ModuleType(MAIN)
    try:
        yield
    finally:
        sys.modules[MAIN] = main
