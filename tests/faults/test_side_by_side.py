"""Two processes on all that two can touch: what is there in the end is what one would have left.

pytest tests/faults/test_side_by_side.py -m slow -s --points all
"""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

import pytest
from kills import Running, differences, left_by, run
from rows import EXPORTS, TABLE, Command, another, evaluate, overwrite, study

from seamask.report.reading import read_run

NAMES = [command.name for command in (*TABLE, *EXPORTS)]
REFUSED = r"process \d+ on \S+ since .* is training this run|already holds a run"
APART = 2.0  # seconds between the two, at most
TIMES = 40


def together(root: Path, *commands: list[str], apart: float) -> list[tuple[int, str]]:
    """Run commands one shortly after the other; return of each its exit code and what it said."""
    root.with_name("said").mkdir(exist_ok=True)
    said = [root.with_name("said") / f"{k}.txt" for k in range(len(commands))]
    running = []
    for words, file in zip(commands, said, strict=True):
        running.append(Running(root, words, said=file))
        time.sleep(apart)
    codes = [one.wait()[0] for one in running]
    return [(code, file.read_text()) for code, file in zip(codes, said, strict=True)]


def wrong(ended: list[tuple[int, str]], may_say: str) -> list[str]:
    """Return what is wrong in how two commands ended: one at least does what it is to do."""
    found = [] if any(code == 0 for code, _ in ended) else [f"none is done: {ended}"]
    for code, said in ended:
        lines = [line for line in said.splitlines() if line.startswith("seamask: error: ")]
        good = code == 0 or (code == 2 and len(lines) == 1 and re.search(may_say, lines[0]))
        if not good or "Traceback" in said:
            found.append(f"exit code {code}: {said[-1500:]}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_same_command_twice(name, trials_of, points):
    trials, draws = trials_of(name), random.Random(0)
    refused = "no one is" if name in ("study", "evaluate", "masks", "data", "pack") else REFUSED
    for _ in points(TIMES):
        apart = draws.uniform(0, APART)
        words = trials.begin()
        found = wrong(together(trials.root, words, words, apart=apart), refused)
        found += differences(left_by(trials.root), trials.whole)
        trials.note(f"twice, {apart:.2f} s apart", found)
    trials.end()


def elsewhere(words: list[str]) -> list[str]:
    pairs = zip(["", *words], words, strict=False)
    return [f"{word}-2" if before == "--out" else word for before, word in pairs]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrain", "folder"])
def test_two_runs_share_a_cache(name, trials_of, points):
    trials, draws = trials_of(name), random.Random(0)
    for _ in points(TIMES):
        apart = draws.uniform(0, APART)
        words = trials.begin()
        found = wrong(together(trials.root, words, elsewhere(words), apart=apart), "no one")
        here, there = (left_by(trials.root / out) for out in ("run", "run-2"))
        for left in (here, there):
            left.pop("config.yaml")
        found += differences(there, here)
        everything = left_by(trials.root)
        ours = {k: v for k, v in everything.items() if not k.startswith("run-2")}
        found += differences(ours, trials.whole)
        trials.note(f"two runs {apart:.2f} s apart", found)
    trials.end()


def with_results(root: Path) -> list[str]:
    return [*study(root), "--results", str(root / "results.jsonl")]


@pytest.mark.slow
def test_two_studies_share_a_file_of_results(trials_of, points):
    trials = trials_of(Command("results", with_results))
    draws = random.Random(0)
    jobs = {json.loads(line).get("job") for line in lines(trials.root / "results.jsonl")}
    for _ in points(TIMES):
        apart = draws.uniform(0, APART)
        words = trials.begin()
        found = wrong(together(trials.root, words, elsewhere(words), apart=apart), "no one")
        now = {json.loads(line).get("job") for line in lines(trials.root / "results.jsonl")}
        trials.note(f"{apart:.2f} s apart", found + [f"has {now}"] * (now != jobs))
    trials.end()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def resume(root: Path) -> list[str]:
    return ["resume", str(root / "run"), "--epochs", "3"]


@pytest.mark.slow
@pytest.mark.parametrize("writer", [overwrite, resume], ids=["overwrite", "resume"])
def test_a_run_is_evaluated_while_it_is_written(writer, trials_of, points):
    # What its folder says that an evaluation found of the weights that are there is true of them.
    trials = trials_of(Command("evaluate", evaluate, prepare=(another,)))
    draws = random.Random(0)
    changing = r"no weights at|no run at|holds another run|weights of another|cannot read"
    for _ in points(TIMES):
        apart = draws.uniform(0, APART)
        words = trials.begin()
        writes = writer(trials.root)
        first, second = draws.choice([(words, writes), (writes, words)])
        found = wrong(together(trials.root, first, second, apart=apart), changing)
        kept = results(trials.root)
        if kept:
            assert run(trials.root, words)[0] == 0
            if kept != results(trials.root):
                found.append(f"keeps {kept}, not {results(trials.root)}")
        trials.note(f"{first[0]} and {second[0]}, {apart:.2f} s apart", found)
    trials.end()


def results(root: Path) -> list[dict[str, float]]:
    return [result["metrics"] for result in read_run(root / "run", 0).evaluations]


def test_two_workers_of_a_study_here_and_now(trials_of):
    trials = trials_of("study")
    words = trials.begin()
    found = wrong(together(trials.root, words, words, apart=0), "no one is refused")
    trials.note("two workers", found + differences(left_by(trials.root), trials.whole))
    trials.end()
