"""A report says what its run's files say, and everything is inside it."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from command import call
from seamask.base.paths import names_apart, numbered
from seamask.base.settings import leaves
from seamask.commands import parse_pretrain
from seamask.report import words
from seamask.report.command import NOT_SAID, changed, command_of
from seamask.report.comparing import Group, groups_of, plots, table
from seamask.report.page import write_report
from seamask.report.plots import MOST, thinned
from seamask.report.reading import read_run
from seamask.report.watching import watch
from seamask.runs import RunFolder
from seamask.show.curves import SHARES
from seamask.training.record import EPOCHS, due, overlaps


def data_of(page):
    (found,) = re.findall(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    return json.loads(found)


def test_pretraining_leaves_a_report_of_what_was_recorded(runs):
    run = read_run(runs["learned"], 99)
    page = runs["learned"] / "report.html"
    assert page.stat().st_size < 1e6
    data = data_of(page)
    (shown,) = data["runs"]
    assert [frame["epoch"] for frame in shown["frames"]] == [1, 2]
    assert (shown["n"], shown["masks"]) == (8, 3)
    last = run.epochs[2]
    assert np.allclose(shown["frames"][1]["removed"], last["masks"].mean((2, 3)) / 255, atol=1e-4)
    for k, counts in enumerate(shown["frames"][1]["histograms"]):
        assert sum(counts) == len(last["shares"]) == 32
        assert np.isclose(shown["frames"][1]["means"][k], last["shares"][:, k].mean(), atol=1e-4)
    features = run.features["features"].astype(np.float64)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = 1 - unit @ unit.T + 9 * np.eye(len(unit))
    nearest = [row[0] for row in data["embedding"]["nearest"]]
    assert np.allclose(distances[range(32), nearest], distances.min(1), atol=1e-5)
    assert run.manifest["load"] in page.read_text().replace("&#39;", "'")


def test_the_verdict_sets_trained_beside_untrained_and_masks_beside_their_rivals(runs, tmp_path):
    run = read_run(runs["learned"], 1)
    results = run.results
    said = words.verdict(run).text
    before = results["untrained/probe/knn"]
    assert f"kNN {results['probe/knn']:.1f} % (untrained {before:.1f} %)" in said
    rivals = f"random blocks {results['mask/iou_random']:.2f}"
    rivals += f", colour clusters {results['mask/iou_colour']:.2f}"
    assert f"masks on objects: IoU {results['mask/iou']:.2f} ({rivals})" in said
    folder = shutil.copytree(runs["learned"], tmp_path / "run")
    evaluation = {
        "task": "masks", "data": "shapes", "seed": 0,
        "metrics": {"iou": 0.4, "iou_random": 0.2, "iou_colour": 0.5},
    }  # fmt: skip
    (folder / "evaluations").mkdir()
    (folder / "evaluations/masks.json").write_text(json.dumps(evaluation))
    verdict = words.verdict(read_run(folder, 1))
    assert "IoU 0.40 (random blocks 0.20, colour clusters 0.50)" in verdict.text
    assert words.verdict(told(run, knn=60.0, colour=0.5)).state == "mixed"
    assert words.verdict(told(run, knn=60.0, colour=0.3)).state == "good"
    assert words.verdict(told(run, knn=10.0, colour=0.5)).state == "bad"


def told(run, knn, colour):
    """Return a finished run without warnings that found so much."""
    found = {"probe/knn": knn, "untrained/probe/knn": 30.0, "mask/iou_colour": colour}
    found |= {"mask/iou": 0.4, "mask/iou_random": 0.2}
    return replace(run, manifest={"results": found}, evaluations=[])


def test_the_command_of_a_report_starts_the_same_run(runs):
    for folder in runs.values():
        config = RunFolder(folder).read_config()
        said = shlex.split(command_of(config, folder))
        assert said[:2] == ["seamask", "pretrain"]
        again = parse_pretrain(said[2:])
        for path, _ in leaves(type(config)):
            if path not in (*NOT_SAID, "data.root"):  # of generated images, it says nothing
                name, *rest = path.split(".")
                then, now = getattr(config, name), getattr(again, name)
                for part in rest:
                    then, now = getattr(then, part), getattr(now, part)
                assert then == now, path


def test_what_differs_are_choices_and_no_places(runs):
    config = RunFolder(runs["random"]).read_config()
    moved = replace(config, threads=7, data=replace(config.data, root="/elsewhere", resident="no"))
    assert [path for path, *_ in changed(moved)] == [path for path, *_ in changed(config)]
    assert {"epochs", "masks.masker"} < {path for path, *_ in changed(config)}
    assert not {"threads", "log.every"} & {path for path, *_ in changed(config)}
    assert "--data.root" not in command_of(moved, Path("a"))  # images that are generated
    named = replace(moved, data=replace(moved.data, source="cifar10"))
    assert "--data.root /elsewhere" in command_of(named, Path("a"))


def test_a_run_without_masks_shows_none(runs, tmp_path):
    folder = shutil.copytree(runs["random"], tmp_path / "run")
    settings = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(settings.replace("masker: random-block", "masker: none"))
    page = write_report(folder)
    assert "This run has no masks." in page.read_text()
    data = data_of(page)
    assert data["runs"][0]["frames"] == []
    titles = {plot["title"] for plot in data["plots"]}
    assert SHARES in {plot["title"] for plot in data_of(runs["random"] / "report.html")["plots"]}
    assert SHARES not in titles
    assert "loss" in titles


def test_a_mask_has_one_colour_on_all_of_the_page(runs):
    plots = data_of(runs["learned"] / "report.html")["plots"]
    curves = [curve for plot in plots for curve in plot["curves"] if not curve["dashed"]]
    masks = {(c["label"], c["colour"]) for c in curves if c["label"].startswith("mask ")}
    assert masks == {("mask 1", 0), ("mask 2", 1), ("mask 3", 2)}
    for plot in plots:
        own = [curve["colour"] for curve in plot["curves"] if not curve["dashed"]]
        assert len(set(own)) == len(own)


def test_a_run_that_is_not_there_or_damaged_is_told_of_what_there_is(runs, tmp_path, capsys):
    assert call("report", tmp_path) == 2
    assert "no config.yaml" in capsys.readouterr().err
    folder = shutil.copytree(runs["learned"], tmp_path / "run")
    (folder / "features.npz").write_bytes(b"PK damaged")
    (folder / "masks/epoch-0002.npz").write_bytes(b"")
    (folder / "manifest.json").unlink()
    assert call("report", folder, "--out", tmp_path / "a.html") == 0
    data = data_of(tmp_path / "a.html")
    assert data["embedding"] is None
    assert [frame["epoch"] for frame in data["runs"][0]["frames"]] == [1]
    assert "not finished: epoch 2 of 2" in (tmp_path / "a.html").read_text()


def test_a_watched_report_is_written_anew_until_the_run_is_finished(runs, tmp_path):
    folder = shutil.copytree(runs["learned"], tmp_path / "run")
    manifest = (folder / "manifest.json").read_text()
    log = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "manifest.json").write_text(json.dumps(json.loads(manifest) | {"results": {}}))
    (folder / "metrics.jsonl").write_text("".join(log[:2]))
    pages = []

    def go_on(line):
        pages.append((folder / "report.html").read_text())
        if len(pages) == 1:
            (folder / "metrics.jsonl").write_text("".join(log))
        else:
            (folder / "manifest.json").write_text(manifest)

    watch([folder], None, go_on, seconds=0.01)
    assert "not finished: epoch 1 of 2" in pages[0]
    assert "not finished: epoch 2 of 2" in pages[1]
    assert all('http-equiv="refresh"' in page for page in pages[:2])
    assert 'http-equiv="refresh"' not in (folder / "report.html").read_text()


def test_several_runs_stand_side_by_side(runs, tmp_path):
    write_report(*runs.values(), out=tmp_path / "both.html")
    page = (tmp_path / "both.html").read_text()
    data = data_of(tmp_path / "both.html")
    assert len(data["runs"]) == 2
    assert "masks.masker" in page
    knn = [read_run(run, 1).results["probe/knn"] for run in runs.values()]
    assert f"{knn[0]:.1f}" in page
    assert {"loss of the encoder", "images per second"} <= {p["title"] for p in data["plots"]}


def test_a_study_is_called_what_it_calls_itself_and_begins_with_its_baseline(runs, tmp_path):
    for name, run in runs.items():
        shutil.copytree(run, tmp_path / name / "seed0")
    about = {"title": "Do masks <help>?", "methods": dict.fromkeys(runs), "baseline": "random"}
    (tmp_path / "study.yaml").write_text(json.dumps(about))
    page = write_report(tmp_path).read_text()
    assert "<h1>Do masks &lt;help&gt;?</h1>" in page
    assert page.index("<th>random</th>") < page.index("<th>− random</th>")


def test_a_study_is_compared_with_its_baseline_also_where_only_its_results_are(runs, tmp_path):
    for name, run in runs.items():
        shutil.copytree(run, tmp_path / name / "seed0")
    folder = tmp_path / "simclr/seed0/evaluations/knn"
    folder.mkdir(parents=True)
    shutil.copytree(tmp_path / "simclr", tmp_path / "untrained")
    result = {"task": "knn", "data": "shapes", "seed": 0, "metrics": {"accuracy": 50.0}}
    (folder / "knn-shapes-seed0.json").write_text(json.dumps(result))
    about = {"title": "T", "methods": dict.fromkeys([*runs, "SimCLR"]), "baseline": "SimCLR"}
    (tmp_path / "study.yaml").write_text(json.dumps(about))
    page = write_report(tmp_path).read_text()
    assert "3 methods, 2 runs, and the results of 1 more" in page
    assert "its difference to SimCLR" in page


def kept(folder, **changed):
    """A result as `seamask evaluate` keeps it."""
    about = {
        "task": "knn", "data": "shapes", "seed": 0, "metrics": {"accuracy": 50.0},
        "protocol": {"neighbours": [1], "share": 0.1}, "fingerprint": "ab" * 32, "split": "test",
        "images": {"held_out": 32}, "encoder": "a run", "weights": "",
    } | changed  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"knn-{len(list(folder.iterdir()))}-seed0.json"
    path.write_text(json.dumps(about | {"file": str(path)}))
    return path


def column_of(lines, columns, name, label):
    return next(line.cells for line in lines if line.label == label)[columns.index(name)]


def test_numbers_of_another_protocol_or_other_images_are_other_columns(runs, tmp_path):
    for name, run in runs.items():
        shutil.copytree(run, tmp_path / name)
    learned, random = (tmp_path / name / "evaluations" for name in runs)
    kept(learned, metrics={"accuracy": 60.0})
    kept(learned, metrics={"accuracy": 70.0}, protocol={"neighbours": [9], "share": 0.1})
    kept(random, metrics={"accuracy": 40.0}, protocol={"neighbours": [9], "new": 1, "share": 0.1})
    kept(random, metrics={"accuracy": 20.0}, fingerprint="cd" * 32)
    groups = groups_of([tmp_path / "random", tmp_path / "learned"], 1)
    columns, lines = table(groups)
    first, second = (group.label for group in groups)
    nine = "knn on shapes: accuracy: neighbours [9]"
    one = "knn on shapes: accuracy: neighbours [1], images abababab"
    other = "knn on shapes: accuracy: neighbours [1], images cdcdcdcd"
    assert column_of(lines, columns, nine, second) == "70.0"
    assert column_of(lines, columns, nine, f"− {first}") == "+30.0"
    assert column_of(lines, columns, one, second) == "60.0"
    assert column_of(lines, columns, other, first) == "20.0"
    assert column_of(lines, columns, one, f"− {first}") == ""
    page = write_report(tmp_path / "learned").read_text()
    assert "accuracy: neighbours [1]" in page
    assert "accuracy: neighbours [9]" in page


def test_results_of_another_encoder_are_not_the_runs(runs, tmp_path):
    run = shutil.copytree(runs["learned"], tmp_path / "run")
    path = kept(run / "evaluations", encoder=f"untrained:{run}")
    other = path.with_name("knn-shapes-ab-of-0123abcd-cd-seed0.json")
    path.rename(other)
    other.write_text(json.dumps(json.loads(other.read_text()) | {"file": str(other)}))
    assert read_run(run, 1).evaluations == []


def test_a_run_that_goes_on_is_not_averaged_with_those_that_are_finished(runs, tmp_path):
    for seed in range(2):
        shutil.copytree(runs["learned"], tmp_path / f"{seed}")
    text = (tmp_path / "1/config.yaml").read_text()
    (tmp_path / "1/config.yaml").write_text(text.replace("\nseed: 0\n", "\nseed: 1\n"))
    (both,) = groups_of([tmp_path / "0", tmp_path / "1"], 1)
    assert len(both.values["kNN, %"]) == 2
    manifest = json.loads((tmp_path / "1/manifest.json").read_text())
    (tmp_path / "1/manifest.json").write_text(json.dumps(manifest | {"results": {}}))
    log = (tmp_path / "1/metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "1/metrics.jsonl").write_text("".join(log[:2]))
    (both,) = groups_of([tmp_path / "0", tmp_path / "1"], 1)
    assert (both.label, set(both.values["kNN, %"])) == (both.name, {0})
    drawn = {plot["title"]: plot for plot in plots([both])}
    assert drawn == {plot["title"]: plot for plot in plots(groups_of([tmp_path / "0"], 1))}
    (alone,) = groups_of([tmp_path / "1"], 1)
    assert alone.label == f"{alone.name} (not finished)"


def test_runs_of_one_name_are_told_apart(runs, tmp_path):
    for name, run in runs.items():
        file = shutil.copytree(run, tmp_path / name / "seed0") / "config.yaml"
        if name == "random":  # more settings than a name can say
            said = yaml.safe_load(file.read_text())
            said["masks"]["ratio"], said["optim"]["min_lr"], said["views"]["hue"] = 0.5, 0.01, 0.3
            file.write_text(yaml.safe_dump(said))
    groups = groups_of([tmp_path / name / "seed0" for name in runs], 1)
    panels = {panel["title"]: panel["curves"] for panel in plots(groups)}
    assert [curve["label"] for curve in panels["loss of the encoder"]] == ["learned", "random"]
    assert names_apart([tmp_path / "a/seed0", tmp_path / "b/seed0"]) == ["a", "b"]
    assert names_apart([tmp_path / "a", tmp_path / "a"]) == ["a (1)", "a (2)"]
    assert numbered(["a", "a", "a (1)", "b"]) == ["a (2)", "a (3)", "a (1)", "b"]


def test_differences_are_paired_by_seed():
    ours = Group("ours", {}, {"kNN": {0: 61.0, 1: 64.0, 2: 60.0}})
    theirs = Group("theirs", {}, {"kNN": {2: 50.0, 1: 52.0, 0: 51.0}})
    columns, lines = table([theirs, ours])
    assert columns == ["kNN"]
    # Differences 10, 12, 10: mean 10.67, half width 4.303 (t of 2 degrees) times 1.155 / sqrt(3).
    assert [(line.label, line.cells) for line in lines] == [
        ("theirs", ["51.0 ± 1.00 (3)"]),
        ("ours", ["61.7 ± 2.08 (3)"]),
        ("− theirs", ["+10.7 [+7.80, +13.5]"]),
    ]


def test_long_curves_are_thinned_to_means():
    points = [(float(k), float(k % 2)) for k in range(10 * MOST)]
    found = thinned(points)
    assert len(found) == MOST
    assert set(found.values()) == {0.5}
    assert thinned(points[:3]) == dict(points[:3])


def test_overlaps_say_what_of_a_mask_others_remove_too():
    masks = torch.zeros(1, 2, 2, 4)
    masks[:, 0, :, :2] = 1  # the left half
    masks[:, 1, 0, :] = 1  # the upper half
    assert torch.equal(overlaps(masks), torch.tensor([[1, 0.5], [0.5, 1]]))


@pytest.mark.parametrize("epochs", [1, 31, 500])
def test_what_is_recorded_is_bounded(epochs):
    recorded = [epoch for epoch in range(1, epochs + 1) if due(epoch, epochs)]
    assert min(epochs, EPOCHS // 2) <= len(recorded) <= EPOCHS + 1
    assert recorded[-1] == epochs
