"""A kill before every file operation of a command, which then goes on to what it would have left.

pytest tests/faults/test_kills.py -m slow -s
"""

import shutil
from pathlib import Path

import pytest
from kills import Command, differences, left_by, run

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


def resume_or(begin):
    """Go on with a run that was begun, with the other one before it, or begin it."""

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


TABLE = [
    Command("pretrain", pretrain, again=resume_or(pretrain)),  # with the building of a store
    Command("overwrite", overwrite, prepare=(another,), again=overwrite_or_resume),
    Command("resume", lambda root: ["resume", str(root / "run"), "--epochs", "3"], (pretrain,)),
    Command("evaluate", evaluate, prepare=(pretrain,)),
    Command("study", study),
]


def begun(folder: Path, command: Command, prepared: Path | None = None) -> Path:
    """Return the folder that a command works in, always the same one, as it is before."""
    root = folder / "work"
    shutil.rmtree(root, ignore_errors=True)
    if prepared is not None:
        return Path(shutil.copytree(prepared, root))
    root.mkdir()
    for words in command.prepare:
        assert run(root, words(root))[0] == 0
    return root


def campaign(folder: Path, command: Command, every: int) -> tuple[int, list[str]]:
    """Kill a command before every n-th operation; return how many there are, and what failed."""
    prepared = Path(shutil.copytree(begun(folder, command), folder / "prepared"))
    root, said = folder / "work", folder / "said.txt"
    code, operations = run(root, command.words(root), said=said)
    assert code == 0, said.read_text()
    whole, failures = left_by(root), []
    for k in range(1, operations + 1, every):
        root = begun(folder, command, prepared)
        assert run(root, command.words(root), kill_before=k)[0] == -9
        code, _ = run(root, (command.again or command.words)(root), said=said)
        found = differences(left_by(root), whole) if code == 0 else [f"exit code {code}"]
        if found:
            last = said.read_text().strip().splitlines()[-1:]
            failures.append(f"{command.name}, killed before operation {k}: {found[:5]} {last}")
    return operations, failures


@pytest.mark.slow
@pytest.mark.parametrize("command", TABLE, ids=lambda command: command.name)
def test_a_kill_before_every_operation_costs_nothing(command, tmp_path):
    operations, failures = campaign(tmp_path, command, every=1)
    print(f"{command.name}: {operations} kills, {len(failures)} failures")
    assert not failures, "\n".join(failures)


def test_kills_here_and_there_cost_nothing(tmp_path):
    operations, failures = campaign(tmp_path, TABLE[0], every=17)
    assert operations > 50
    assert not failures, "\n".join(failures)
