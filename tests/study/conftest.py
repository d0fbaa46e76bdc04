"""A small study, and results laid out by hand as `seamask pretrain` and `evaluate` leave them."""

import copy
from pathlib import Path

import pytest
import yaml

from seamask.evaluate import TASKS, Result
from seamask.evaluate.task import NOT_PROTOCOL
from seamask.study.folder import StudyFolder
from seamask.study.grid import Job, Study, flat
from seamask.study.study import read_study

RAW = {
    "title": "A small study",
    "source": "nobody 2020",
    "methods": {
        "SimCLR": {"recipe": "shapes-sequential", "masker": "none"},
        "+ Sequential": "shapes-sequential",
    },
    "baseline": "SimCLR",
    "settings": {
        "data.shapes_train": 48, "data.shapes_test": 32, "image_size": 32, "batch_size": 16,
        "epochs": 2, "masks.width": 4, "objective.hidden": [16], "objective.out_dim": 8,
        "log.every": 6, "log.masks_every": 0, "log.probe_every": 1, "device": "cpu", "threads": 1,
    },
    "evaluations": {
        "kNN": {"task": "knn"},
        "masks": {"task": "masks", "methods": ["+ Sequential"]},
    },
    "seeds": 2,
    "published": {"kNN": {"SimCLR": [50, 0.5], "+ Sequential": 60.25}},
}  # fmt: skip


@pytest.fixture(scope="session")
def small(cache: Path) -> dict:
    """What the YAML of a small study says."""
    return {**RAW, "settings": {**RAW["settings"], "data.cache": str(cache)}}


@pytest.fixture
def raw(small: dict) -> dict:
    """The same, free to be changed."""
    return copy.deepcopy(small)


@pytest.fixture
def write(tmp_path: Path):
    """Write a study's YAML and read it."""

    def write(raw: dict, **given) -> Study:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True))
        return read_study(path, **given)

    return write


class Laid:
    """A study's folder whose results are written by hand."""

    def __init__(self, study: Study, path: Path) -> None:
        self.study, self.folder = study, StudyFolder(path)
        self.folder.open(study)

    def pretraining(self, row: str, seed: int, **changed) -> None:
        job = Job(row, seed)
        run = self.folder.run(row, seed)
        run.path.mkdir(parents=True)
        manifest = {
            "recipe": self.study.methods[row].recipe, "epochs_done": 2.0, "images_seen": 96,
            "data": {"name": "shapes", "fingerprint": "ab" * 32, "images": 48},
            "seconds": 60.0 + seed, "commit": "1234567", "machine": "a processor, 2 cores",
            "results": {},
        }  # fmt: skip
        run.write_manifest({**manifest, **changed})
        self.folder.finish(job, {"seconds": 60.0 + seed})

    def result(self, row: str, seed: int, title: str, value: float, protocol=None, **changed):
        evaluation = self.study.evaluations[title]
        config = evaluation.config(self.study.method(row), seed)
        plain = {p: v for p, v in flat(config).items() if p not in NOT_PROTOCOL}
        metric = TASKS[evaluation.task].metrics[0].name
        found = {
            "encoder": "a run", "task": evaluation.task, "data": "shapes",
            "protocol": plain | {"image_size": 32} | (protocol or {}), "seed": seed,
            "metrics": {metric: value, "another": 1.0}, "seconds": 3.0, "fingerprint": "cd" * 32,
            "commit": "1234567", "machine": "a processor",
        }  # fmt: skip
        result = Result(**{**found, **changed})
        folder = self.folder.evaluations(row, seed, evaluation)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{result.column}-seed{seed}.json").write_text(result.to_json() + "\n")


@pytest.fixture
def laid(tmp_path: Path):
    """Lay out a study's folder by hand."""
    return lambda study: Laid(study, tmp_path / "out")
