"""`seamask runs`: what is there, how far, and how to go on."""

import json
import shutil

from command import call
from seamask.report.listing import listed
from seamask.report.reading import read_run
from seamask.runs import RunFolder
from terminals import fits


def test_runs_are_listed_with_what_differs_and_how_to_go_on(runs, tmp_path, capsys):
    for name, run in runs.items():
        shutil.copytree(run, tmp_path / "all" / name)
    stopped = tmp_path / "all/learned"
    manifest = json.loads((stopped / "manifest.json").read_text())
    (stopped / "manifest.json").write_text(json.dumps(manifest | {"results": {}}))
    log = (stopped / "metrics.jsonl").read_text().splitlines(keepends=True)
    (stopped / "metrics.jsonl").write_text("".join(log[:2]))
    (tmp_path / "all/broken").mkdir()
    (tmp_path / "all/broken/config.yaml").write_text("epochs: many\n")
    assert call("runs", tmp_path / "all") == 0
    said = capsys.readouterr().out
    fits(lambda: call("runs", tmp_path / "all"), said, 60)
    lines = said.splitlines()
    assert lines[0].split() == ["run", "state", "kNN", "linear", "IoU"]
    told = {line.split()[0]: k for k, line in enumerate(lines) if line.startswith(str(tmp_path))}
    broken, learned, random = (
        told[str(tmp_path / "all" / n)] for n in ("broken", "learned", "random")
    )
    assert "cannot be read" in lines[broken]
    assert "epochs" in lines[broken + 1]
    assert "epoch 1 of 2" in lines[learned]
    assert f"    go on with: seamask resume {stopped}" in lines[learned:random]
    knn = read_run(runs["random"], 0).results["probe/knn"]
    assert lines[random].split()[1:3] == ["finished", f"{knn:.1f}"]
    assert "masks.masker random-block" in " ".join(lines[random:])


def test_a_run_that_trains_is_said_to(runs):
    with RunFolder(runs["random"]).claimed():
        assert "training, epoch 2 of 2" in listed(runs["random"])
    assert "finished" in listed(runs["random"])


def test_a_folder_without_runs_is_said_to_be(tmp_path, capsys):
    assert call("runs", tmp_path) == 2
    assert f"no run in {tmp_path}" in capsys.readouterr().err
    assert call("runs", tmp_path / "none") == 2
    assert "no folder at" in capsys.readouterr().err
