"""The commands that faults strike, each at its smallest, and how each goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from kills import Command, differences, left_by, run
from PIL import Image

SMALLEST = [
    "--image-size", "16", "--epochs", "2", "--n-masks", "2", "--data.shapes-train", "16",
    "--data.shapes-test", "16", "--batch-size", "8", "--masks.width", "2", "--objective.hidden",
    "16", "--objective.out-dim", "8", "--log.every", "2", "--log.probe-every", "1",
    "--log.masks-every", "0", "--device", "cpu", "--threads", "1",
]  # fmt: skip


def cache(root: Path) -> list[str]:
    return ["--data.cache", str(root / "cache")]


def pretrain(root: Path) -> list[str]:
    return ["pretrain", "shapes-sequential", *SMALLEST, *cache(root), "--out", str(root / "run")]


def another(root: Path) -> list[str]:
    return [*pretrain(root), "--seed", "1"]


def resume_or(begin: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    """Go on with a run that was begun, or begin it."""

    def words(root: Path) -> list[str]:
        begun = (root / "run/config.yaml").exists()
        return ["resume", str(root / "run")] if begun else begin(root)

    return words


def overwrite(root: Path) -> list[str]:
    return [*pretrain(root), "--overwrite"]


def overwrite_or_resume(root: Path) -> list[str]:
    config = root / "run/config.yaml"
    ours = config.exists() and "\nseed: 0\n" in config.read_text()
    return ["resume", str(root / "run")] if ours else overwrite(root)


def evaluate(root: Path) -> list[str]:
    return ["evaluate", str(root / "run"), "masks", "--threads", "1", "--device", "cpu"]


STUDY = """
methods:
  A: {recipe: shapes-sequential, masker: none}
evaluations:
  kNN: {task: knn}
seeds: 1
settings: {data.shapes_train: 16, data.shapes_test: 16, image_size: 16, epochs: 1, n_masks: 2,
  batch_size: 8, masks.width: 2, objective.hidden: [16], objective.out_dim: 8, device: cpu,
  threads: 1}
"""


def study(root: Path) -> list[str]:
    (root / "a.yaml").write_text(STUDY)
    return ["study", str(root / "a.yaml"), *cache(root), "--out", str(root / "study")]


def images(*paths: Path) -> None:
    """Write images of noise, where there are none yet."""
    noise = np.random.default_rng(0)
    for path in paths:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 255, (20, 20, 3), np.uint8)).save(path)


def folder(root: Path) -> list[str]:
    """Everything else that writes: images found in a folder, clusters of them, TensorBoard."""
    images(*(root / f"photos/{'ab'[k % 2]}/{k}.png" for k in range(24)))
    more = ["--data", str(root / "photos"), "--budget", "exact:superpixel", "--log.tensorboard"]
    return [*pretrain(root), *more, "--masks.superpixels", "9", "--epochs", "1"]


def masks(root: Path) -> list[str]:
    images(*(root / f"photos/{k}.png" for k in range(3)))
    written = ["--data", str(root / "photos"), "--out", str(root / "masks"), "--overlay"]
    return ["masks", str(root / "run"), *written, "--device", "cpu"]


def report(root: Path) -> list[str]:
    return ["report", str(root / "run")]


def export(root: Path) -> list[str]:
    return ["export", str(root / "run"), "--to", "onnx"]


def make(root: Path) -> list[str]:
    from seamask.data.sets.imagenet100s import wnids

    imagenet = root / "imagenet"
    images(*(imagenet / f"{part}/{wnid}/0.png" for part in ("train", "val") for wnid in wnids()))
    made = ["--out", str(root / "made"), "--size", "8"]
    return ["data", "imagenet100s", "--imagenet", str(imagenet), *made]


def pack(root: Path) -> list[str]:
    images(*(root / f"photos/{'ab'[k % 2]}/{k}.png" for k in range(24)))
    packed = ["--data", str(root / "photos"), "--size", "8", "--out", str(root / "packed")]
    return ["data", "pack", *packed, *cache(root)]


TABLE = [
    Command("pretrain", pretrain, again=resume_or(pretrain)),  # with the building of a store
    Command("overwrite", overwrite, prepare=(another,), again=overwrite_or_resume),
    Command("resume", lambda root: ["resume", str(root / "run"), "--epochs", "3"], (pretrain,)),
    Command("evaluate", evaluate, prepare=(pretrain,)),
    Command("study", study),
    Command("folder", folder, again=resume_or(folder)),
]
EXPORTS = [  # files that are whole or not at all, each on its own
    Command("masks", masks, prepare=(pretrain,)),
    Command("report", report, prepare=(pretrain,)),
    Command("export", export, prepare=(pretrain,)),
    Command("data", make),
    Command("pack", pack),
]


def begun(root: Path, command: Command, prepared: Path | None = None) -> None:
    """Make the folder that a command works in, always the same one, what it is before."""
    root.mkdir(exist_ok=True)
    for path in root.iterdir():  # the folder itself stays: it may be a disk
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if prepared is not None:
        shutil.copytree(prepared, root, dirs_exist_ok=True)
        return
    for words in command.prepare:
        assert run(root, words(root))[0] == 0


class Alone:
    """A command that nothing strikes: what it begins with, how it ends.

    Args:
        folder: new, for all of it.
        command: that is tried.

    Attributes:
        root: where the command works.
        prepared: a copy of what is there before.
        operations: how many changes it makes.
        whole: what it leaves.
    """

    def __init__(self, folder: Path, command: Command) -> None:
        self.command, self.root, self.said = command, folder / "work", folder / "said.txt"
        begun(self.root, command)
        self.prepared = Path(shutil.copytree(self.root, folder / "prepared"))
        code, self.operations = run(self.root, command.words(self.root), said=self.said)
        assert code == 0, self.said.read_text()
        self.whole = left_by(self.root)


class Trials:
    """Trials of one command, each in the same folder and on the same files.

    Args:
        alone: the command when it is left alone.

    Attributes:
        failures: what trials found wrong.
    """

    def __init__(self, alone: Alone) -> None:
        self.command, self.root, self.said = alone.command, alone.root, alone.said
        self.prepared, self.operations, self.whole = alone.prepared, alone.operations, alone.whole
        self.tried, self.failures = 0, list[str]()

    def begin(self) -> list[str]:
        """Put the folder as it was before the command; return the command's words."""
        begun(self.root, self.command, self.prepared)
        return self.command.words(self.root)

    def go_on(self, trial: str) -> None:
        """Let the command that was struck go on, and compare what is there with what should be."""
        words = (self.command.again or self.command.words)(self.root)
        code, _ = run(self.root, words, said=self.said)
        found = differences(left_by(self.root), self.whole) if code == 0 else [f"exit code {code}"]
        if found:
            found += self.said.read_text().strip().splitlines()[-1:]
        self.note(trial, found)

    def note(self, trial: str, found: list[str]) -> None:
        """Count a trial that is over, with what it found wrong."""
        self.tried += 1
        if found:
            self.fail(trial, f"{found[:5]}")

    def fail(self, trial: str, what: str) -> None:
        """Note what a trial found wrong."""
        self.failures.append(f"{self.command.name}, {trial}: {what}")
        print(self.failures[-1], flush=True)

    def end(self) -> None:
        """Say how many there were; fail where any did."""
        print(f"{self.command.name}: {self.tried} trials, {len(self.failures)} failures")
        assert not self.failures, "\n".join(self.failures)
