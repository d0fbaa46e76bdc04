"""The documentation is true: it builds, its examples run, its commands are commands of ours."""

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import seamask
from command import call
from seamask.base.errors import UserError
from seamask.base.options import parse
from seamask.base.settings import get, plain
from seamask.commands import COMMANDS, parse_pretrain
from seamask.evaluate import TASKS, task_config
from seamask.masks import Budget
from seamask.recipes import recipe_config
from seamask.study.study import read_study

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def reader(tmp_path_factory, cache):
    """Where a reader is who has a run, `runs/mine`."""
    folder = tmp_path_factory.mktemp("reader")
    seamask.pretrain(
        out=folder / "runs/mine", backbone="resnet18", image_size=32, epochs=1, batch_size=16,
        device="cpu", threads=1,
        **{"data.cache": str(cache), "data.shapes_train": 16, "data.shapes_test": 16,
           "encoder.stem": "standard", "masks.width": 4, "log.masks_every": 0},
    )  # fmt: skip
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.stem)
def test_examples_run(page, reader, monkeypatch):
    monkeypatch.chdir(reader)
    scope = {}
    for block in blocks(page, "python"):
        exec(block, scope)


def test_the_example_of_a_loop_takes_steps():
    scope = {}
    exec(blocks(ROOT / "docs/use-masks.md", "python")[0], scope)
    masks = scope["masker"](scope["x_b"])
    assert masks.shape == (16, 3, 32, 32)
    assert scope["seamask"].budget_penalty(masks, 0.25).requires_grad
    assert {"loss/encoder", "loss/mask"} < set(scope["metrics"])
    assert all(value.isfinite() for value in scope["metrics"].values())


def test_the_worked_study_is_one(tmp_path):
    (block,) = blocks(ROOT / "docs/evaluate.md", "yaml")
    (tmp_path / "mine.yaml").write_text(block.replace("path/to/class-folders", "shapes"))
    study = read_study(tmp_path / "mine.yaml")
    half, ours = study.methods["ours, half"], study.methods["ours"]
    assert (half.masks.budget, ours.masks.budget) == (Budget(0.5), Budget(0.25))
    assert {c.data.source for c in study.methods.values()} == {"shapes"}
    assert {c.epochs for c in study.methods.values()} == {100}


def test_published_settings_and_numbers_are_those_of_recipes_and_studies():
    page = (ROOT / "docs/reproduce.md").read_text()
    configs = [recipe_config(f"{data}-sequential") for data in ("imagenet100s", "stl10")]
    rows = re.findall(r"^\| `(\S+)` \| (\S+) \| (\S+) \|", page, re.MULTILINE)
    assert len(rows) > 15
    for path, *written in rows:
        assert [str(plain(get(config, path))) for config in configs] == written, path
    studies = [read_study("table1", data) for data in ("imagenet100s", "stl10")]
    for study in (*studies, read_study("table2")):
        for title, published in study.published.items():
            (cells,) = re.findall(
                rf"^\| [\w-]+ \| {re.escape(title)} \|(.*)\|$", page, re.MULTILINE
            )
            found = [cell.strip() for cell in cells.split("|")]
            known = [published.get(method) for method in study.methods]
            assert found == ["" if p is None else f"{p[0]:.2f} ± {p[1]:.2f}" for p in known]


def commands():
    """Yield the words of each command that a page shows, once."""
    seen = set()
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", "").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["seamask"] and tuple(words) not in seen:
                    seen.add(tuple(words))
                    yield pytest.param(words[1:], id=f"{page.stem}: {' '.join(words)}")


@cache
def help_of(*words):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert call(*words, "--help") == 0
    return said.getvalue()


@pytest.mark.parametrize("words", [*commands()])
def test_commands_are_understood(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    name, *rest = words
    if name in ("pretrain", "bench"):
        take = [rest.index(flag) for flag in ("--config", "--plugin") if flag in rest]
        for at in reversed(take):  # files that the reader has
            del rest[at : at + 2]
        if "--masker" in rest and rest[rest.index("--masker") + 1] == "discs":
            return  # of a plugin: tests/test_examples.py
        with contextlib.suppress(SystemExit):
            parse_pretrain(rest)
    elif name == "evaluate":
        with contextlib.suppress(SystemExit):
            parse(task_config(rest[1], None, None), rest[2:], prog="", description="")
        assert rest[1] in TASKS
    else:
        assert name in COMMANDS
        said = help_of(name, *(rest[:1] if name == "data" else []))
        assert not {word for word in rest if word.startswith("--") and word not in said}


def test_a_wrong_command_would_be_seen():
    with pytest.raises(UserError, match="--budgets"):
        parse_pretrain(["--budgets", "0.2"])


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    assert shutil.which("mkdocs", path=Path(sys.executable).parent), "pip install -e '.[dev]'"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert not loaded, (page.name, loaded)  # nothing is asked of any server
