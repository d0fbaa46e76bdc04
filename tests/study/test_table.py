"""Tables and columns from results that are laid out by hand."""

import csv
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from seamask.base.errors import UserError
from seamask.data import DataConfig
from seamask.study.columns import columns
from seamask.study.figure import band, curve, write_figure
from seamask.study.table import escape, write_tables

SIMCLR, SEQUENTIAL = [50.0, 52.0, 51.0], [53.0, 54.5, 55.0]


@pytest.fixture
def full(raw, write, laid):
    """Three seeds of two methods, and the masks of one."""
    found = laid(write(raw, seeds=3))
    for seed in range(3):
        found.pretraining("SimCLR", seed)
        found.pretraining("+ Sequential", seed)
        found.result("SimCLR", seed, "kNN", SIMCLR[seed])
        found.result("+ Sequential", seed, "kNN", SEQUENTIAL[seed])
        found.result("+ Sequential", seed, "masks", 0.1 * (seed + 1))
    return found


def tables(found):
    write_tables(found.study, found.folder)
    return [path.read_text() for path in (found.folder.table, found.folder.csv, found.folder.latex)]


def rows_of(markdown):
    """Return {label: cells} of the first table; labels of lines below a row are `row/label`."""
    rows, row = {}, ""
    for line in markdown.split("\n\n")[1].splitlines()[2:]:
        label, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
        row = label.strip("*") if label.startswith("**") else row
        rows[row if label.startswith("**") else f"{row}/{label}"] = cells
    return rows


def test_markdown(full):
    markdown, _, _ = tables(full)
    rows = rows_of(markdown)
    assert rows["SimCLR"] == ["51.00 ± 1.00", "–"]
    std = np.std(SEQUENTIAL, ddof=1)
    assert rows["+ Sequential"] == [f"{np.mean(SEQUENTIAL):.2f} ± {std:.2f}", "0.200 ± 0.100"]
    low, high = stats.ttest_rel(SEQUENTIAL, SIMCLR).confidence_interval(0.95)
    difference = f"+3.17 [{low:+.2f}, {high:+.2f}]"
    assert rows["+ Sequential/difference to SimCLR"] == [difference, "–"]
    assert rows["SimCLR/published (ours − published)"] == ["50.00 ± 0.50 (+1.00)", "–"]
    assert rows["+ Sequential/published (ours − published)"] == ["60.25 (−6.08)", "–"]
    assert "SimCLR/difference to SimCLR" not in rows
    assert "over seeds 0, 1, 2" in markdown
    assert "Published: nobody 2020" in markdown
    assert "accuracy in %, knn on shapes; image_size 32; data.shapes_train 48" in markdown
    assert "| SimCLR | shapes-sequential | shapes | 48 | 2 | 96 | 1 min 01 s ± 1 s |" in markdown
    assert "Commit: 1234567" in markdown
    assert "Machine: a processor, 2 cores" in markdown
    assert "Note" not in markdown


def test_csv(full):
    lines = list(csv.DictReader(tables(full)[1].splitlines()))
    assert len(lines) == 9
    first = lines[0]
    assert [first[k] for k in ("method", "column", "seed", "metric", "value")] == [
        "SimCLR", "kNN", "0", "accuracy", "50.0",
    ]  # fmt: skip
    expected = {
        "published_mean": "50.0", "published_std": "0.5", "task": "knn", "data": "shapes",
        "images": "cd" * 32, "commit": "1234567", "machine": "a processor", "images_seen": "96",
        "pretraining_seconds": "60.0", "pretraining_recipe": "shapes-sequential",
        "pretraining_commit": "1234567", "pretraining_machine": "a processor, 2 cores",
    }  # fmt: skip
    assert expected.items() <= first.items()
    assert '"data.shapes_train": 48' in first["protocol"]
    values = [float(line["value"]) for line in lines if line["method"] == "+ Sequential"]
    assert values == [*SEQUENTIAL, *(0.1 * (seed + 1) for seed in range(3))]


def test_an_evaluation_may_show_several_metrics(raw, write, laid):
    raw["evaluations"]["masks"]["metrics"] = ["iou", "empty", "rank"]
    raw["published"]["masks"] = {"+ Sequential": 0.5}
    found = laid(write(raw))
    for seed, empty in enumerate((0.25, 0.75)):
        metrics = {"iou": 0.2, "empty": empty, "ari": 0.0}
        found.result("+ Sequential", seed, "masks", 0.2, metrics=metrics)
    markdown, text, _ = tables(found)
    rows = rows_of(markdown)
    assert "|  | kNN | masks | masks: empty | masks: rank |" in markdown
    assert rows["+ Sequential"] == ["–", "0.200 ± 0.000", "0.500 ± 0.354", "–"]
    # What is published is of the main metric.
    published = rows["+ Sequential/published (ours − published)"]
    assert published == ["60.25", "0.500 (−0.300)", "–", "–"]
    assert "masks has no metric rank: it has iou, empty, ari" in markdown
    assert "kept apart" not in markdown
    shown = [(n["column"], n["value"]) for n in csv.DictReader(text.splitlines())]
    assert ("masks: empty", "0.75") in shown
    assert not [column for column, _ in shown if column == "masks: rank"]
    # Results of two protocols are told apart, also where the main metric is not shown.
    raw["evaluations"]["masks"]["metrics"] = ["empty"]
    found.study = write(raw)
    found.result("+ Sequential", 0, "masks", 0.2, protocol={"threshold": 0.4}, metrics=metrics)
    assert "kept apart: masks: empty, masks (2): empty" in tables(found)[0]


def test_latex(full):
    latex = tables(full)[2]
    body = [line for line in latex.splitlines() if not line.startswith("%")]
    assert body[:3] == [r"\begin{tabular}{lcc}", r"\toprule", r" & kNN & masks \\"]
    assert body[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert r"SimCLR & 51.00 $\pm$ 1.00 & -- \\" in body
    assert all(line.count("&") == 2 for line in body if line.endswith(r"\\"))
    assert all(line.isascii() for line in body)
    assert escape("50 % of a_b & {c} ± −1 \\ ~ ^") == (
        r"50 \% of a\_b \& \{c\} $\pm$ $-$1 \textbackslash{} \textasciitilde{} \textasciicircum{}"
    )


def test_gaps_and_fewer_seeds_show(raw, write, laid):
    found = laid(write(raw, seeds=3))
    found.result("SimCLR", 0, "kNN", 50.0)
    found.result("SimCLR", 2, "kNN", 52.0)
    found.result("+ Sequential", 2, "kNN", 51.0)
    markdown, _, _ = tables(found)
    rows = rows_of(markdown)
    assert rows["SimCLR"] == [f"51.00 ± {math.sqrt(2):.2f} (n = 2)", "–"]
    assert rows["+ Sequential"] == ["51.00 (n = 1)", "–"]
    assert rows["+ Sequential/difference to SimCLR"] == ["−1.00 (n = 1)", "–"]
    assert "**Note**: 6 of 9 results are missing." in markdown
    assert "- **masks**: no result yet" in markdown


def test_an_empty_study_has_a_table(raw, write, laid):
    markdown, text, latex = tables(laid(write(raw)))
    assert rows_of(markdown)["SimCLR"] == ["–", "–"]
    assert text == ""
    assert r"SimCLR & -- & -- \\" in latex


def test_one_seed_has_neither_spread_nor_interval(raw, write, laid):
    found = laid(write(raw, seeds=1))
    found.result("SimCLR", 0, "kNN", 50.0)
    found.result("+ Sequential", 0, "kNN", 49.5)
    markdown, _, _ = tables(found)
    rows = rows_of(markdown)
    assert rows["+ Sequential"][0] == "49.50"
    assert rows["+ Sequential/difference to SimCLR"][0] == "−0.50"
    assert "interval" not in markdown


# What may stand in one column -------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"protocol": {"share": 0.2}},
        {"protocol": {"image_size": 64}},
        {"fingerprint": "ef" * 32},
        {"data": "cifar10"},
        {"metrics": {"another": 1.0}},
    ],
)
def test_results_of_different_meaning_are_never_in_one_column(raw, write, laid, changed):
    found = laid(write(raw))
    found.result("SimCLR", 0, "kNN", 50.0)
    found.result("SimCLR", 1, "kNN", 51.0)
    found.result("+ Sequential", 0, "kNN", 60.0)
    found.result("+ Sequential", 1, "kNN", 61.0, **changed)
    most, other, masks = columns(found.study, found.folder)
    assert (most.title, other.title, masks.title) == ("kNN", "kNN (2)", "masks")
    assert {row: set(by_seed) for row, by_seed in most.results.items()} == {
        "SimCLR": {0, 1}, "+ Sequential": {0},
    }  # fmt: skip
    assert {row: set(by_seed) for row, by_seed in other.results.items()} == {"+ Sequential": {1}}
    assert most.protocol() != other.protocol()
    markdown, text, _ = tables(found)
    assert (
        "Results of kNN differ in protocol or images and are kept apart: kNN, kNN (2)" in markdown
    )
    assert rows_of(markdown)["+ Sequential"][:2] == [
        "60.00 (n = 1)", "1.000 (n = 1)" if "metrics" in changed else "61.00 (n = 1)",
    ]  # fmt: skip
    assert {line["column"] for line in csv.DictReader(text.splitlines())} == {"kNN", "kNN (2)"}


def test_a_setting_that_is_new_since_was_at_its_default(raw, write, laid):
    found = laid(write(raw))
    found.result("SimCLR", 0, "kNN", 50.0)
    for row, seed, changed in (("SimCLR", 1, 179.0), ("+ Sequential", 0, 5.0)):
        found.result(row, seed, "kNN", 60.0, protocol={"data.max_megapixels": changed})
    path = next(found.folder.evaluations("SimCLR", 0, found.study.evaluations["kNN"]).iterdir())
    before = json.loads(path.read_text())
    assert before["protocol"].pop("data.max_megapixels") == DataConfig().max_megapixels == 179.0
    path.write_text(json.dumps(before))
    most, other, _ = columns(found.study, found.folder)
    assert most.values("SimCLR") == {0: 50.0, 1: 60.0}
    assert other.values("+ Sequential") == {0: 60.0}


def test_two_results_of_one_job_are_kept_apart(raw, write, laid):
    found = laid(write(raw))
    found.result("SimCLR", 0, "kNN", 50.0)
    found.result("SimCLR", 0, "kNN", 70.0, protocol={"share": 0.3})
    assert [c.title for c in columns(found.study, found.folder)] == ["kNN", "kNN (2)", "masks"]


def test_a_folder_of_which_each_seed_holds_out_other_images_is_one_column(raw, write, laid):
    found = laid(write(raw))
    for seed in range(2):
        for row, value in (("SimCLR", 50.0), ("+ Sequential", 60.0)):
            found.result(row, seed, "kNN", value, data="mine", fingerprint=f"{seed}e" * 32)
    knn, _ = columns(found.study, found.folder)
    assert knn.held_out_by_seed
    assert knn.values("SimCLR") == {0: 50.0, 1: 50.0}
    assert "images 0e0e0e0e 1e1e1e1e, other ones held out for each seed" in knn.protocol()


def test_a_folder_that_changed_between_methods_is_not(raw, write, laid):
    found = laid(write(raw))
    for seed in range(2):
        found.result("SimCLR", seed, "kNN", 50.0, data="mine", fingerprint=f"{seed}e" * 32)
    found.result("+ Sequential", 0, "kNN", 60.0, data="mine", fingerprint="ff" * 32)
    titles = [column.title for column in columns(found.study, found.folder)]
    assert titles == ["kNN", "kNN (2)", "kNN (3)", "masks"]


def test_a_pattern_of_metrics_is_a_column_for_each(raw, write, laid):
    raw["evaluations"]["masks"]["metrics"] = ["iou", "coverage_*"]
    found = laid(write(raw))
    metrics = {"iou": 0.3, "coverage_1": 0.2, "coverage_2": 0.25, "rank": 4.0}
    found.result("+ Sequential", 0, "masks", 0.3, metrics=metrics)
    shown = columns(found.study, found.folder)
    assert [c.title for c in shown] == ["kNN", "masks", "masks: coverage_1", "masks: coverage_2"]
    assert shown[-1].values("+ Sequential") == {0: 0.25}
    assert "has no metric" not in tables(found)[0]


def test_images_that_were_added_between_seeds_are_not_held_out_by_seed(raw, write, laid):
    for changed in ({"split": "val/"}, {"split": "10 % of each class"}):
        found = laid(write(raw))
        for seed in range(2):
            mark = {"data": "mine", "fingerprint": f"{seed}e" * 32}
            counts = {"images": {"held_out": 20 + 140 * seed, "learn": 180}}
            found.result("SimCLR", seed, "kNN", 50.0, **mark, **counts, **changed)
        assert [c.title for c in columns(found.study, found.folder)] == ["kNN", "kNN (2)", "masks"]
        shutil.rmtree(found.folder.path)


def test_what_settings_do_not_say_of_pretrainings_is_noted(raw, write, laid):
    raw["settings"]["precision"] = "auto"
    found = laid(write(raw))
    found.pretraining("SimCLR", 0, precision="fp32")
    found.pretraining("SimCLR", 1, precision="fp32", epochs_done=3.0)
    assert "different" not in tables(found)[0]
    assert "SimCLR, seed 1, has been trained for 3 epochs, not 2" in tables(found)[0]
    other = {"name": "shapes", "fingerprint": "ef" * 32, "images": 48}
    found.pretraining("+ Sequential", 0, precision="bf16", data=other)
    markdown = tables(found)[0]
    assert (
        "different precisions, fp32: SimCLR (seed 0), SimCLR (seed 1); bf16: + Sequential (seed 0)"
        in markdown
    )
    assert "pretrained on different images with the same seed and settings" in markdown


def test_pretraining_on_changed_images_is_said(raw, write, laid):
    found = laid(write(raw))
    for seed in range(2):
        data = {"name": "shapes", "fingerprint": f"{seed}e" * 32, "images": 48}
        found.pretraining("SimCLR", seed, data=data)
    assert "SimCLR was pretrained on images that changed between its seeds" in tables(found)[0]


def test_damaged_results_are_named(raw, write, laid):
    found = laid(write(raw))
    found.result("SimCLR", 0, "kNN", 50.0)
    (path,) = found.folder.path.rglob("knn-*.json")
    path.write_text('{"task": ')
    with pytest.raises(UserError, match=r"knn-.*\.json: damaged; delete it"):
        write_tables(found.study, found.folder)


# Accuracy while training ------------------------------------------------------------------------

LOG = [
    {"epoch": 1, "step": 4, "images_per_second": 8.0},
    {"epoch": 1, "step": 6, "images_per_second": 16.0},
    {"epoch": 1, "step": 6, "probe/knn": 20.0},
    {"epoch": 2, "step": 12, "images_per_second": 12.0},
]


def test_curves_count_the_seconds_of_training():
    # 4 steps of 16 images at 8/s: 8 s; 2 at 16/s: 2 s; 6 at 12/s: 8 s
    results = {"untrained/probe/knn": 10.0, "probe/knn": 30.0}
    found = curve(LOG, results, "probe/knn", batch_size=16)
    assert found.epochs == [0, 1, 2]
    assert found.seconds == [0, 10, 18]
    assert found.accuracy == [10, 20, 30]
    assert curve(LOG, {}, "probe/linear", 16).accuracy == []


def test_bands_are_of_the_epochs_that_all_seeds_have():
    one = curve(LOG, {"untrained/probe/knn": 10.0, "probe/knn": 30.0}, "probe/knn", 16)
    two = replace(one, epochs=[0, 2], seconds=[0, 20], accuracy=[12, 40])
    found = band([one, two])
    assert found.epochs.tolist() == [0, 2]
    assert found.seconds.tolist() == [0, 19]
    assert found.mean.tolist() == [11, 35]
    assert found.std == pytest.approx([np.std([10, 12], ddof=1), np.std([30, 40], ddof=1)])
    assert np.isnan(band([one]).std).all()


def test_the_figure_shows_what_was_probed(full):
    write_figure(full.study, full.folder)
    assert not full.folder.figure.exists()  # no probes, no figure
    for row in full.study.methods:
        for seed in range(3):
            run = full.folder.run(row, seed)
            run.write_manifest(
                run.read_manifest() | {"results": {"untrained/probe/knn": 1.0 + seed}}
            )
            for line in LOG:
                run.append_metrics(line)
    write_figure(full.study, full.folder)
    pixels = np.asarray(Image.open(full.folder.figure).convert("RGB"))
    colours = {tuple(c) for c in np.unique(pixels.reshape(-1, 3), axis=0)}
    assert {(31, 119, 180), (255, 127, 14)} <= colours  # a line for each method
