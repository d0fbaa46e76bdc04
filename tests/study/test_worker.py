"""Studies that run: shared by workers, killed, failing, and the tiny ones that are shipped."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cluster.jobs import slowly
from seamask.base.errors import UserError
from seamask.evaluate import TASKS, EvaluationConfig, Metric, Task, evaluation
from seamask.runs import RunFolder
from seamask.study.folder import StudyFolder
from seamask.study.grid import Job
from seamask.study.plan import planned
from seamask.study.results import read_results, write_results
from seamask.study.study import read_study
from seamask.study.worker import POLL, check_data, run_study, tabulate
from seamask.training import Stopped
from seamask.training.run import Run
from training.runs import wait_for

WORK = """\
import sys
from seamask.study.study import read_study
from seamask.study.worker import run_study
print("table", run_study(read_study(sys.argv[1]), sys.argv[2]))
"""


def worker(study: Path, out: Path, seconds: float = 0) -> subprocess.Popen:
    """Start a worker in a process of its own, whose steps take so many seconds longer."""
    return subprocess.Popen(
        [sys.executable, "-c", slowly(seconds) + WORK, str(study), str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def numbers(out: Path) -> str:
    """Return the table proper: nothing of how long it took."""
    return (out / "table.md").read_text().split("## Pretraining")[0]


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A study of five jobs done by one worker: its YAML and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**small, "seeds": 1}, sort_keys=False))
    assert run_study(read_study(path), folder / "out") == folder / "out/table.md"
    return path, folder / "out"


@pytest.fixture
def partly(whole, tmp_path):
    """Copy the finished study without some of its folders."""

    def partly(*missing: str) -> tuple[Path, Path]:
        path, out = whole
        copy = shutil.copytree(out, tmp_path / "out")
        for name in missing:
            shutil.rmtree(copy / name)
        return path, copy

    return partly


def test_a_study_leaves_what_it_promises(whole, capfd):
    path, out = whole
    for name in ("study.yaml", "table.md", "table.csv", "table.tex", "accuracy.png"):
        assert (out / name).stat().st_size > 0, name
    for run in ("simclr/seed0", "sequential/seed0"):
        assert (out / run / "encoder.safetensors").exists()
        assert len(list((out / run / "evaluations/knn").glob("*.json"))) == 1
    assert len(list(out.rglob("masks-shapes-*.json"))) == 1
    assert not list(out.rglob("*.tmp"))
    text = (out / "table.md").read_text()
    assert "| SimCLR | shapes-sequential | shapes | 48 | 2 | 96 |" in text
    assert "–" not in next(line for line in text.splitlines() if line.startswith("| **+ Seq"))
    before = numbers(out)
    run_study(read_study(path), out)  # nothing is missing: nothing is done
    assert capfd.readouterr().out == ""
    assert numbers(out) == before


def test_a_dry_run_says_what_is_left_and_does_nothing(whole, partly, tmp_path):
    path, out = partly("sequential")
    before = sorted(out.rglob("*"))
    rates = []

    def measure(config):
        rates.append(config.masks.masker)
        return 4.0

    def plan(study, folder):
        return planned(study, folder, lambda config: config.data.shapes_train, measure)

    said = plan(read_study(path), out).splitlines()
    assert said[0] == "5 jobs, 2 done; to do: 1 pretraining, 2 evaluations"
    # 48 images, 2 epochs, at 4 images a second.
    assert said[3].split() == ["+", "Sequential", "1", "2", "96", "4", "24", "s"]
    assert said[5].startswith("pretraining alone takes 24 s, as just measured")
    assert re.fullmatch(
        r"the evaluations take at least .+, by those that are done; "
        "1 evaluation of 2 not counted: none like it is done",
        said[6],
    )
    assert rates == ["sequential"]
    assert sorted(out.rglob("*")) == before
    said = plan(read_study(whole[0]), whole[1]).splitlines()
    assert said == ["5 jobs, 5 done; to do: 0 pretrainings, 0 evaluations", "no evaluation is left"]
    plan(read_study(path), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow  # each process imports torch, timm and scikit-learn
@pytest.mark.ddp
def test_workers_share_a_study_and_each_job_is_done_once(whole, tmp_path):
    path, done = whole
    out = tmp_path / "out"
    workers = [worker(path, out) for _ in range(2)]
    said = [process.communicate(timeout=600)[0] for process in workers]
    assert all(process.returncode == 0 for process in workers), said
    jobs = re.findall(r"^\[(\d+)/5\] ", "".join(said), re.MULTILINE)
    assert sorted(map(int, jobs)) == list(range(1, 6))
    assert numbers(out) == numbers(done)
    assert all(text.endswith(f"table {out / 'table.md'}\n") for text in said)


@pytest.mark.slow  # each process imports torch, timm and scikit-learn
@pytest.mark.ddp
def test_a_killed_worker_costs_nothing_but_time(whole, partly, capfd):
    path, out = partly("sequential")
    process = worker(path, out, seconds=1)
    run = out / "sequential/seed0"
    wait_for(lambda: list((run / "checkpoints").glob("*.pt")), process)  # after the first epoch
    process.kill()
    process.communicate()
    assert not (run / "summary.json").exists()
    run_study(read_study(path), out)
    assert numbers(out) == numbers(whole[1])
    said = capfd.readouterr().out
    assert "[1/5]" not in said  # done before
    assert "[3/5] + Sequential, seed 0: pretraining" in said


def test_a_pretraining_killed_before_its_first_checkpoint_starts_again(whole, partly):
    path, out = partly("simclr")
    (out / "simclr/seed0").mkdir(parents=True)
    (out / "simclr/seed0/.seamask-0123456789abcdef.tmp").write_text("epo")  # half of its first file
    run_study(read_study(path), out)
    assert numbers(out) == numbers(whole[1])


def test_a_signal_stops_the_study_and_it_goes_on(whole, partly, monkeypatch):
    path, out = partly("sequential")
    take_step = Run.take_step

    def step_then_signal(run, images, maps):
        step = take_step(run, images, maps)
        if run.step == run.total_steps:  # the last: nothing else is begun
            os.kill(os.getpid(), signal.SIGTERM)
        return step

    with monkeypatch.context() as patch:
        patch.setattr(Run, "take_step", step_then_signal)
        with pytest.raises(Stopped) as stopped:
            run_study(read_study(path), out)
    assert "seed 0: pretraining; what is done is kept: start the same" in stopped.value.message
    run_study(read_study(path), out)
    assert numbers(out) == numbers(whole[1])


def test_a_job_that_breaks_costs_no_other_its_turn(partly, monkeypatch, capfd):
    path, out = partly("sequential/seed0/evaluations")
    run_evaluation = evaluation.run_evaluation

    def run_or_break(encoder, task, config):
        if task == "knn":
            raise RuntimeError("out of memory")
        return run_evaluation(encoder, task, config)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "run_evaluation", run_or_break)
        with pytest.raises(UserError, match=r"1 of 5 jobs failed: \+ Sequential, seed 0: kNN"):
            run_study(read_study(path), out)
    said = capfd.readouterr()
    assert len(list(out.rglob("masks-shapes-*.json"))) == 1  # the job after it
    assert "failed: RuntimeError('out of memory')" in said.out
    assert "Traceback" in said.err


def test_a_waiting_worker_says_for_what(partly, capfd, monkeypatch):
    path, out = partly("simclr/seed0/evaluations/knn")
    study, folder, naps = read_study(path), StudyFolder(out), []
    other = folder.claim(study.jobs()[1])
    sleep = time.sleep

    def nap(seconds):
        if seconds < POLL:  # a lock that is asked for once more
            sleep(seconds)
            return
        naps.append(seconds)
        if len(naps) == 3:
            other.__exit__(None, None, None)  # the other worker dies

    monkeypatch.setattr("seamask.study.worker.time.sleep", nap)
    assert other.__enter__()
    run_study(study, out)
    said = capfd.readouterr().out
    assert said.count("waiting for other workers: SimCLR, seed 0: kNN; about") == 1
    assert len(naps) == 3
    assert len(list((out / "simclr/seed0/evaluations/knn").glob("*.json"))) == 1


def test_data_that_are_missing_stop_a_study_once_before_anything_is_done(partly, tmp_path, capfd):
    path, out = partly()
    raw = yaml.safe_load(path.read_text())
    raw["evaluations"]["mine"] = {"task": "knn", "data": str(tmp_path / "images")}
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump(raw, sort_keys=False))
    (out / "simclr/seed0/summary.json").unlink()  # so that there is something to do first
    capfd.readouterr()
    with pytest.raises(UserError, match=r"seed 0: mine: --data .*images: no such folder"):
        run_study(read_study(more), out)
    assert "[" not in capfd.readouterr().out


def test_a_job_that_fails_leaves_a_gap_and_can_be_mended(partly, tmp_path, monkeypatch, capfd):
    path, out = partly()
    mended = tmp_path / "mended"

    def measure(context):
        if not mended.exists():
            raise UserError("not yet")
        return {"one": 1.0}

    task = Task("a number", EvaluationConfig, measure, (Metric("one"),))
    monkeypatch.setitem(TASKS._parts, "number", task)
    raw = yaml.safe_load(path.read_text())
    raw["evaluations"]["mine"] = {"task": "number"}
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(UserError, match="2 of 7 jobs failed: SimCLR, seed 0: mine; ") as error:
        run_study(read_study(more), out)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().out.count("seed 0: mine failed: not yet") == 2
    table = (out / "table.md").read_text()
    assert "**Note**: 2 of 5 results are missing." in table
    with pytest.raises(UserError, match=r"holds another study \(it has the evaluation mine too\)"):
        run_study(read_study(path), out)
    mended.touch()
    capfd.readouterr()
    run_study(read_study(more), out)
    assert len(re.findall(r"^\[", capfd.readouterr().out, re.MULTILINE)) == 2
    assert "missing" not in (out / "table.md").read_text()


def test_a_result_that_cannot_be_kept_is_in_the_log(partly, tmp_path, monkeypatch, capfd):
    path, out = partly()

    replace = os.replace

    def full(*_):  # for one file
        monkeypatch.setattr(os, "replace", replace)
        raise OSError(errno.ENOSPC, "No space left on device")

    def measure(context):
        monkeypatch.setattr(os, "replace", full)
        return {"one": 1.25}

    monkeypatch.setitem(
        TASKS._parts, "number", Task("a number", EvaluationConfig, measure, (Metric("one"),))
    )
    raw = yaml.safe_load(path.read_text())
    raw["evaluations"]["mine"] = {"task": "number", "methods": ["SimCLR"]}
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(UserError, match="1 of 6 jobs failed: SimCLR, seed 0: mine"):
        run_study(read_study(more), out)
    said = capfd.readouterr().out
    assert '"one": 1.25' in said
    assert "seed 0: mine failed: the result is not kept: cannot write" in said


def test_a_file_of_results_that_cannot_be_written_is_one_line(whole, tmp_path):
    path, out = whole
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*x\.jsonl: Not a directory"):
        write_results(read_study(path), StudyFolder(out), tmp_path / "file/x.jsonl")


def test_what_needs_a_failed_pretraining_is_not_tried(raw, write, tmp_path, capfd):
    raw["methods"]["SimCLR"]["batch_size"] = 64  # more than there are images
    raw["seeds"] = 1
    del raw["methods"]["+ Sequential"], raw["evaluations"]["masks"]
    del raw["published"]["kNN"]["+ Sequential"]
    with pytest.raises(UserError, match="1 of 2 jobs failed: SimCLR, seed 0: pretraining"):
        run_study(write(raw), tmp_path / "out")
    assert "seed 0: kNN" not in capfd.readouterr().out


def test_methods_seeds_and_evaluations_can_be_added(raw, write, tmp_path):
    folder = StudyFolder(tmp_path / "out")
    folder.open(write(raw))
    folder.open(write(raw, settings={"threads": 2}))  # another place, the same study
    folder.open(write(raw, seeds=3))
    raw["evaluations"]["linear"] = {"task": "linear"}
    raw["title"] = "Another title"
    folder.open(write(raw, seeds=4))
    assert yaml.safe_load(folder.study.read_text())["seeds"] == [0, 1, 2, 3]
    for change, message in (
        ({"settings": {"epochs": 3}}, "SimCLR: epochs is 2, not 3"),
        ({"settings": {"evaluations.data.limit": 5}}, "kNN: data.limit is None, not 5"),
        ({"seeds": 2}, "it has seed 2 too"),
    ):
        with pytest.raises(UserError, match=message) as error:
            folder.open(write(raw, **{"seeds": 4, **change}))
        assert "\n" not in str(error.value)
    older = yaml.safe_load(folder.study.read_text())
    del older["methods"]["SimCLR"]["masks.compare"]  # as before there was this setting
    folder.study.write_text(yaml.safe_dump(older))
    folder.open(write(raw, seeds=4))
    without = {**raw, "methods": dict(raw["methods"])}
    raw["methods"]["third"] = "shapes-sequential"
    folder.open(write(raw, seeds=4))
    assert list(yaml.safe_load(folder.study.read_text())["methods"])[-1] == "third"
    with pytest.raises(UserError, match="it has the method third too"):
        folder.open(write(without, seeds=4))


def test_a_folder_of_something_else_is_left_alone(raw, write, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").touch()
    with pytest.raises(UserError, match="holds files that are not a study"):
        run_study(write(raw), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="cannot write"):
        run_study(write(raw), tmp_path / "out/thesis.tex")


@pytest.mark.slow
def test_a_tiny_table(tmp_path, cache):
    # Of the two the one that has all evaluations, those of the other too; half as many images.
    place = {"device": "cpu", "threads": 1, "data.cache": str(cache), "data.shapes_train": 64}
    table = run_study(read_study("table2-tiny", settings=place), tmp_path / "out")
    rows = [line.split(" | ") for line in table.read_text().splitlines() if line[:4] == "| **"]
    assert [row[0] for row in rows] == [
        "| **untrained**", "| **SimCLR**", "| **+ ADIOS**", "| **+ Sequential**",
    ]  # fmt: skip
    without_masks = [cell for row in rows[:2] for cell in row if cell == "–"]
    assert len(without_masks) == 2
    assert all("±" in cell.rstrip(" |") for row in rows for cell in row[1:] if cell != "–")
    assert (table.parent / "accuracy.png").exists()


@pytest.fixture(scope="module")
def results_of_whole(whole, tmp_path_factory):
    path, out = whole
    folder = tmp_path_factory.mktemp("results")
    run_study(read_study(path), shutil.copytree(out, folder / "copy"), folder / "small.jsonl")
    return folder / "small.jsonl"


@pytest.fixture
def carried(whole, results_of_whole, tmp_path):
    """The finished study, and the file that carries its results."""
    return read_study(whole[0]), Path(shutil.copy(results_of_whole, tmp_path))


def test_results_travel_without_weights(whole, carried, tmp_path, capfd):
    _, out = whole
    study, results = carried
    text = results.read_text()
    assert str(out) not in text
    assert str(tmp_path) not in text
    capfd.readouterr()
    elsewhere = tmp_path / "elsewhere"
    run_study(study, elsewhere, results)
    assert capfd.readouterr().out == f"5 of 5 jobs are done already, says {results}\n"
    assert (elsewhere / "table.md").read_text() == (out / "table.md").read_text()
    assert (elsewhere / "accuracy.png").exists()
    assert not list(elsewhere.rglob("*.safetensors"))
    assert results.read_text() == text  # and again the same file


def test_a_result_that_is_missing_elsewhere_has_its_run_trained_again(
    whole, carried, tmp_path, capfd
):
    _, out = whole
    study, results = carried
    kept = [n for n in results.read_text().splitlines() if '"job": "simclr.seed0.knn"' not in n]
    results.write_text("\n".join(kept) + "\n")
    capfd.readouterr()
    run_study(study, tmp_path / "elsewhere", results)
    said = capfd.readouterr().out
    assert "SimCLR, seed 0: pretraining" in said
    assert "SimCLR, seed 0: kNN" in said
    assert "+ Sequential, seed 0" not in said
    assert numbers(tmp_path / "elsewhere") == numbers(out)


def test_images_are_looked_for_before_a_run_is_trained_again(carried, tmp_path):
    study, results = carried
    kept = [n for n in results.read_text().splitlines() if '"job": "simclr.seed0.knn"' not in n]
    results.write_text("\n".join(kept) + "\n")
    gone = replace(study.methods["SimCLR"].data, source=str(tmp_path / "gone"))
    folder = StudyFolder(tmp_path / "elsewhere")
    folder.open(study)
    read_results(study, folder, results)
    methods = {name: replace(config, data=gone) for name, config in study.methods.items()}
    own = {"data.source": "shapes", "data.shapes_train": 48, "data.shapes_test": 32}
    columns = {
        title: replace(column, settings={**column.settings, **own})
        for title, column in study.evaluations.items()
    }
    # The evaluation has its images; the run that it needs has not.
    with pytest.raises(UserError, match=r"SimCLR, seed 0: pretraining: .*gone"):
        check_data(replace(study, methods=methods, evaluations=columns), folder)


def test_what_another_worker_trains_again_is_not_taken_from_the_file(carried, tmp_path):
    study, results = carried
    folder = StudyFolder(tmp_path / "elsewhere")
    folder.open(study)
    with folder.claim(Job("SimCLR", 0)):
        assert read_results(study, folder, results) == 3  # the other method's
    assert {job.row for job in folder.open_jobs(study)} == {"SimCLR"}


def test_results_of_an_encoder_from_before_leave_the_file(whole, carried, tmp_path):
    _, out = whole
    study, results = carried
    folder = StudyFolder(tmp_path / "again")
    folder.open(study)
    run = shutil.copytree(out / "simclr/seed0", folder.path / "simclr/seed0")
    shutil.rmtree(run / "evaluations")  # trained anew, not evaluated yet
    write_results(study, folder, results)
    named = re.findall(r'"job": "([^"]+)"', results.read_text())
    assert named == [
        "simclr.seed0",
        "sequential.seed0",
        "sequential.seed0.knn",
        "sequential.seed0.masks",
    ]


def test_a_run_begun_again_here_goes_on_here(whole, carried, tmp_path, capfd):
    # Killed while it trained again for one more evaluation: its half-trained encoder is not done.
    _, out = whole
    study, results = carried
    kept = [n for n in results.read_text().splitlines() if '"job": "simclr.seed0.knn"' not in n]
    results.write_text("\n".join(kept) + "\n")
    elsewhere = tmp_path / "elsewhere"
    run = elsewhere / "simclr/seed0"
    shutil.copytree(out / "simclr/seed0", run)
    for left in (run / "summary.json", run / "manifest.json"):
        left.unlink()
    shutil.rmtree(run / "evaluations")
    folder = StudyFolder(elsewhere)
    folder.jobs.mkdir()
    shutil.copy(out / "study.yaml", elsewhere)
    capfd.readouterr()
    run_study(study, elsewhere, results)
    said = capfd.readouterr().out
    assert "SimCLR, seed 0: pretraining" in said  # resumed, not taken for finished
    assert numbers(elsewhere) == numbers(out)


def test_a_dry_run_counts_from_the_last_checkpoint(partly):
    path, out = partly("sequential/seed0/evaluations")
    run = RunFolder(out / "sequential/seed0")
    (run.path / "summary.json").unlink()
    steps = RunFolder.step_of(run.latest_checkpoint())  # 48 images, 2 epochs
    half = run.latest_checkpoint()
    half.rename(half.with_name(half.name.replace(f"{steps}", f"{steps // 2}")))
    for other in run.all_checkpoints()[1:]:
        other.unlink()
    said = planned(read_study(path), out, lambda config: config.data.shapes_train, lambda _: 4.0)
    assert said.splitlines()[3].split() == ["+", "Sequential", "1", "2", "48", "4", "12", "s"]


def test_a_dry_run_believes_the_file_of_results(carried, tmp_path):
    study, results = carried
    rates = []

    def plan():
        return planned(
            study, tmp_path / "new", lambda _: 48, lambda c: rates.append(c) or 4.0, results
        )

    said = plan().splitlines()
    assert said == ["5 jobs, 5 done; to do: 0 pretrainings, 0 evaluations", "no evaluation is left"]
    assert not rates
    kept = [n for n in results.read_text().splitlines() if '"job": "simclr.seed0.knn"' not in n]
    results.write_text("\n".join(kept) + "\n")
    # Its weights are not here: it is trained again for the evaluation that is missing.
    said = plan()
    assert said.startswith("5 jobs, 3 done; to do: 1 pretraining, 1 evaluation\n")
    # The other method's kNN says how long it takes.
    assert re.search(r"\nthe evaluations take .+, by those that are done$", said)
    assert [c.masks.masker for c in rates] == ["none"]
    assert not (tmp_path / "new").exists()


def test_a_run_that_is_trained_again_leaves_what_is_known_of_the_untrained(
    raw, write, laid, tmp_path
):
    found = laid(write({**raw, "untrained": True}, seeds=1))
    study = found.study
    for row in study.methods:
        found.pretraining(row, 0)
        found.result(row, 0, "kNN", 50.0)
    found.result("untrained", 0, "kNN", 10.0)
    found.result("+ Sequential", 0, "masks", 0.2)
    results = tmp_path / "found.jsonl"
    write_results(study, found.folder, results)
    kept = [n for n in results.read_text().splitlines() if '"job": "simclr.seed0.knn"' not in n]
    results.write_text("\n".join(kept) + "\n")
    said = planned(study, tmp_path / "new", lambda _: 48, lambda _: 4.0, results)
    assert said.startswith("6 jobs, 4 done; to do: 1 pretraining, 1 evaluation\n")


def test_tables_of_what_is_done_need_no_training(whole, carried, tmp_path):
    _, out = whole
    study, results = carried
    assert tabulate(study, tmp_path / "all", results).read_text() == (out / "table.md").read_text()
    assert (tmp_path / "all/accuracy.png").exists()
    kept = [n for n in results.read_text().splitlines() if '"job": "simclr.seed0.knn"' not in n]
    results.write_text("\n".join(kept) + "\n")
    table = tabulate(study, tmp_path / "some", results).read_text()
    assert "**Note**: 1 of 3 results are missing." in table
    assert results.read_text() == "\n".join(kept) + "\n"
    assert not list(tmp_path.rglob("*.safetensors"))
    with pytest.raises(UserError, match=r"--results .*nowhere.jsonl: no such file"):
        tabulate(study, tmp_path / "none", tmp_path / "nowhere.jsonl")
    with pytest.raises(UserError, match=r"--out .*none: nothing of .* is done there; run it"):
        tabulate(study, tmp_path / "none")
    results.write_text(kept[0] + "\n")
    with pytest.raises(UserError, match="nothing of"):
        tabulate(study, tmp_path / "none", results)
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="nothing of"):
        tabulate(study, results)


def test_results_of_a_row_that_has_changed_meanwhile_are_forgotten(whole, carried, tmp_path):
    path, _ = whole
    _, results = carried
    assert '"job": "sequential.seed0"' in results.read_text()
    raw = yaml.safe_load(path.read_text())
    del raw["methods"]["+ Sequential"], raw["evaluations"]["masks"]
    raw["published"]["kNN"].pop("+ Sequential")
    fewer = tmp_path / "fewer.yaml"
    fewer.write_text(yaml.safe_dump(raw, sort_keys=False))
    run_study(read_study(fewer), tmp_path / "fewer", results)
    assert "sequential.seed0" not in results.read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[:40], "not the results of a study, or damaged"),
        (lambda text: text.replace('"batch_size": 16', '"batch_size": 8'), "holds another study"),
        (
            lambda text: text.replace('"data.source": "shapes"', '"data.source": "cifar10"'),
            "source",
        ),
        (lambda text: text.replace('"summary"', '"sumary"'), "the line of .* is damaged"),
    ],
)
def test_results_of_something_else_are_refused(carried, tmp_path, change, says):
    study, results = carried
    results.write_text(change(results.read_text()))
    with pytest.raises(UserError, match=says):
        run_study(study, tmp_path / "elsewhere", results)
