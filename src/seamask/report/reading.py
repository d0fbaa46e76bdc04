"""What a report reads of a run's folder, as far as it is there: a run may still be going on."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seamask.base.documents import read_json
from seamask.base.errors import UserError
from seamask.config import Config
from seamask.runs import RunFolder

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Told:
    """What the files of one run say.

    Attributes:
        folder: of the run.
        config: its settings.
        lines: of the log.
        manifest: empty before the first checkpoint.
        images: uint8 `[n, S, S, 3]`, whose masks are recorded; None before the first epoch.
        epochs: {epoch: arrays by name}, as `seamask.training.record` writes them.
        features: arrays by name, as `seamask.training.record` writes them; empty: none yet.
        evaluations: what `seamask evaluate` found of the weights that are there, the latest last.
    """

    folder: RunFolder
    config: Config
    lines: list[dict[str, Any]]
    manifest: Mapping[str, Any]
    images: Array | None
    epochs: Mapping[int, Mapping[str, Array]]
    features: Mapping[str, Array]
    evaluations: list[dict[str, Any]]

    @property
    def results(self) -> Mapping[str, float]:
        """What a finished run found; of one that goes on, what its log says last."""
        last = {name: value for line in self.lines[-5:] for name, value in line.items()}
        return dict(self.manifest.get("results") or {}) or last

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end and has said what it found."""
        return bool(self.manifest.get("results"))

    @property
    def epoch(self) -> int:
        """The last epoch that the log knows of."""
        return self.lines[-1]["epoch"] if self.lines else 0

    @property
    def steps_per_epoch(self) -> float:
        """Steps of an epoch; before the first is over, those that were taken."""
        ends: dict[int, int] = {}
        for line in self.lines:
            ends[line["epoch"]] = line["step"]
        whole = {epoch: step for epoch, step in ends.items() if epoch + 1 in ends} or ends
        return max((step / epoch for epoch, step in whole.items()), default=1.0)

    @property
    def masked(self) -> bool:
        """Whether it has masks."""
        return self.config.masks.masker != "none"

    @property
    def learned(self) -> bool:
        """Whether its masks are."""
        return any("lr/mask" in line for line in self.lines)


def read_run(path: Path | str, most: int) -> Told:
    """Read a run's folder.

    Args:
        path: of the folder.
        most: epochs that are read, spread evenly, the last one among them; 0: no pictures at all.

    Raises:
        UserError: no run there, or settings of plugins that are not loaded.
    """
    folder = RunFolder.of_run(path)
    recorded = folder.all_recorded()
    config, lines = folder.read_config(), folder.read_metrics()
    if config.masks.masker == "none":  # logged and recorded is one that removes nothing
        recorded = []
        lines = [{n: v for n, v in line.items() if not n.startswith("mask/")} for line in lines]
    chosen = np.linspace(0, len(recorded) - 1, min(most, len(recorded))).round().astype(int)
    epochs = {folder.epoch_of(recorded[k]): _arrays(recorded[k]) for k in chosen.tolist()}
    return Told(
        folder=folder,
        config=config,
        lines=lines,
        manifest=folder.read_manifest() if folder.manifest.exists() else {},
        images=_arrays(folder.shown).get("images") if most else None,
        epochs={epoch: arrays for epoch, arrays in epochs.items() if "masks" in arrays},
        features=_arrays(folder.features) if most else {},
        evaluations=_of_its_weights(folder),
    )


def _arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of a file by name; none of a file that is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def _of_its_weights(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the results of the weights that are there, and those that do not say of which.

    Results of other encoders that were put here (`--out`) are left out.
    """
    found = [result for result in read_evaluations(folder.evaluations) if not _of_others(result)]
    if not any(result.get("weights") for result in found):
        return found  # most runs have none: their weights are not read
    known = ("", folder.weights())
    return [result for result in found if result.get("weights", "") in known]


def _of_others(result: Mapping[str, Any]) -> bool:
    """Say whether a result in a run's folder is of another encoder: its file says so."""
    return bool(re.search(r"-of-[0-9a-f]{8}-", Path(str(result.get("file") or "")).name))


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """Return the results below a folder, the oldest first, without those that are damaged."""
    found = []
    files = [path for path in folder.rglob("*.json") if not path.name.startswith(".")]
    for path in sorted(files, key=lambda path: (path.stat().st_mtime, path.name)):
        try:
            result = read_json(path)
        except UserError:
            continue
        if isinstance(result, dict) and {"task", "metrics", "data", "seed"} <= result.keys():
            metrics = result["metrics"]
            numbers = isinstance(metrics, dict) and [*metrics.values()]
            if numbers and all(isinstance(value, int | float) for value in numbers):
                found.append(result)
    return found
