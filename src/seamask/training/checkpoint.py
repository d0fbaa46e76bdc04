"""Checkpoints: all that a run needs to go on as if it had never stopped. Loading runs no code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from seamask.base.errors import UserError
from seamask.base.files import atomic

KIND = "seamask checkpoint"
FORMAT = f"{KIND} 2"  # 1: penalties were weighted in other units


def save(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write `step-<step>.pt` whole or not at all, then delete all but the `keep` latest.

    Args:
        folder: where checkpoints lie; created if missing.
        step: steps taken so far.
        state: plain values, dicts, lists and tensors.
        keep: at least 1.

    Raises:
        UserError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    path = folder / f"step-{step:09d}.pt"
    with atomic(path) as temporary:
        try:
            torch.save({"format": FORMAT, **state}, temporary)
        except RuntimeError as error:  # torch reports a full disk so
            raise OSError(None, f"{str(error).splitlines()[0]} (disk full?)") from error
    for old in sorted(folder.glob("step-*.pt"))[:-keep]:
        old.unlink()
    return path


def latest(folder: Path) -> Path | None:
    """Return the newest checkpoint, or None."""
    return max(folder.glob("step-*.pt"), default=None)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; only tensors and plain values are accepted.

    Raises:
        UserError: the file is damaged, or is not one of ours.
    """
    remedy = "delete it to go on from the checkpoint before it, if there is one"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"cannot read checkpoint {path}: damaged, or not a checkpoint of seamask; {remedy}"
        ) from error
    state = state if isinstance(state, dict) else {}
    kind = state.get("format")
    if isinstance(kind, str) and kind.startswith(KIND) and kind != FORMAT:
        raise UserError(
            f"cannot go on from checkpoint {path}: it is of an earlier seamask, whose penalties "
            "were weighted in other units; start the run again"
        )
    if kind != FORMAT:
        raise UserError(f"cannot read checkpoint {path}: not a checkpoint of seamask; {remedy}")
    return state
