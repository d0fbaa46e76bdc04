"""Reading studies: what they say, and one line for each thing that can be wrong."""

import copy

import pytest
import yaml

from seamask.base.errors import UserError
from seamask.recipes import recipe_config
from seamask.study.folder import first_change
from seamask.study.plan import _of_evaluations
from seamask.study.shipped import shipped
from seamask.study.study import read_study

# ../shared/method.md §6, as printed in the paper: (mean, std) by method.
TABLE_1 = {
    "imagenet100s": {
        "linear": [(55.10, 0.15), (55.91, 0.12), (58.95, 0.10)],
        "fine-tune": [None, (64.83, 0.22), (65.43, 0.34)],
    },
    "stl10": {
        "linear": [(85.10, 0.12), (86.03, 0.03), (86.4, 0.04)],
        "fine-tune": [None, (86.82, 0.11), (89.41, 0.26)],
    },
}
TABLE_2 = [
    [(62.32, 0.21), (91.34, 0.90), (37.91, 0.16), (65.04, 0.48), (79.78, 0.06), (92.78, 0.04),
     (36.63, 0.42)],
    [(62.93, 0.42), (93.93, 0.27), (38.75, 0.08), (73.26, 1.32), (81.07, 0.02), (93.74, 0.03),
     (38.14, 0.47)],
    [(63.97, 0.05), (93.59, 0.33), (38.83, 0.09), (72.44, 0.46), (80.79, 0.02), (93.31, 0.03),
     (39.86, 0.14)],
]  # fmt: skip
METHODS = ["SimCLR", "+ ADIOS", "+ Sequential"]


@pytest.mark.parametrize("name", ["table1", "table1-tiny", "table2", "table2-tiny"])
def test_shipped_studies_are_whole(name):
    study = read_study(name)
    assert shipped()[name] == study.title
    assert list(study.methods) == METHODS
    assert study.baseline == "SimCLR"
    maskers = [config.masks.masker for config in study.methods.values()]
    assert maskers == ["none", "simultaneous", "sequential"]
    alike = ["epochs", "batch_size", "image_size", "data", "views", "encoder", "optim"]
    for setting in alike:  # nothing but the masks differs
        assert len({getattr(config, setting) for config in study.methods.values()}) == 1


@pytest.mark.parametrize("data", ["stl10", "imagenet100s"])
def test_table_1(data):
    study = read_study("table1", data=data)
    assert data in study.title
    assert study.seeds == (0, 1, 2)
    assert list(study.evaluations) == [f"{data} linear", f"{data} fine-tune"]
    for title, numbers in TABLE_1[data].items():
        found = study.published[f"{data} {title}"]
        assert [found.get(method) for method in METHODS] == numbers
    assert study.methods["+ ADIOS"].recipe == f"{data}-adios"
    linear, finetune = (e.config(study.methods["SimCLR"]) for e in study.evaluations.values())
    assert linear.data.source == finetune.data.source == data
    assert (linear.protocol, linear.lr, linear.batch_size) == ("paper", 0.1, 256)
    assert linear.milestones == ()
    assert (finetune.lr, finetune.weight_decay, finetune.batch_size) == (0.5, 0.0, 256)
    assert "by which protocol is not known" in study.source


def test_table_1_by_the_scripts_of_adios():
    study = read_study("table1", settings={"evaluations.protocol": "adios"})
    linear, finetune = (e.config(study.methods["SimCLR"]) for e in study.evaluations.values())
    assert (linear.protocol, linear.batch_size, linear.milestones) == ("adios", 128, (0.6, 0.8))
    assert (finetune.protocol, finetune.batch_size, finetune.weight_decay) == ("adios", 128, 5e-4)
    assert study.resolved()["evaluations"]["stl10 linear"]["milestones"] == [0.6, 0.8]


def test_a_study_of_before_a_setting_was_there_is_the_same_one(raw, write):
    raw["evaluations"] |= {"linear": {"task": "linear"}, "fine-tune": {"task": "finetune"}}
    now = write(raw).resolved()
    old = copy.deepcopy(now)
    # Features computed once have no learning rate that falls.
    old["evaluations"]["linear"] |= {"milestones": [0.6, 0.8]}
    del old["evaluations"]["linear"]["centre_crop"]
    for new in ("protocol", "centre_crop"):
        del old["evaluations"]["fine-tune"][new]
    assert first_change(old, now) is None
    old["evaluations"]["fine-tune"]["weight_decay"] = 0.1
    assert first_change(old, now) == "fine-tune: weight_decay is 0.1, not 0.0"
    del old["evaluations"]["fine-tune"]
    raw["evaluations"]["linear"]["protocol"] = "paper"
    assert first_change(old, write(raw).resolved()).startswith("linear: ")


def test_table_2():
    study = read_study("table2")
    columns = list(study.evaluations)
    for row, numbers in zip(METHODS, TABLE_2, strict=True):
        assert [study.published[title][row] for title in columns] == numbers
    configs = [e.config(study.methods["SimCLR"]) for e in study.evaluations.values()]
    sources = ["cifar10", "cifar10", "cifar100", "cifar100", "inat21", "inat21", "voc2012"]
    assert [config.data.source for config in configs] == sources
    tasks = ["linear", "finetune"] * 3 + ["segment"]
    assert [evaluation.task for evaluation in study.evaluations.values()] == tasks
    assert all("11 supercategories" in t for t in columns if "iNat" in t)
    with pytest.raises(UserError, match="its data are fixed"):
        read_study("table2", data="stl10")


def test_settings_come_in_layers(raw, write):
    raw["methods"]["+ Sequential"] = {"recipe": "shapes-sequential", "epochs": 5, "n_masks": 2}
    raw["settings"] |= {"optim.encoder.lr": 0.5, "evaluations.data.limit": 7}
    raw["evaluations"]["masks"]["data.limit"] = 8
    study = write(raw, settings={"optim.encoder.lr": 0.25, "evaluations.data.size": 24})
    simclr, sequential = study.methods.values()
    assert (simclr.epochs, sequential.epochs) == (2, 5)  # the study's, the method's own
    assert simclr.optim.encoder.lr == sequential.optim.encoder.lr == 0.25  # given last
    assert sequential.masks.n_masks == 2
    assert sequential.views == recipe_config("shapes-sequential").views
    knn, masks = (evaluation.config(sequential) for evaluation in study.evaluations.values())
    assert (knn.data.limit, masks.data.limit, masks.data.size) == (7, 8, 24)


def test_evaluations_use_the_data_and_the_place_of_their_pretraining(raw, write):
    raw["evaluations"]["other"] = {"task": "knn", "data": "cifar10", "data.root": "elsewhere"}
    raw["settings"] |= {"data.limit": 40, "data.root": "here"}
    study = write(raw)
    own, _, other = study.evaluations.values()
    config = own.config(study.methods["SimCLR"], seed=4, out="there")
    assert (config.data.source, config.data.shapes_train, config.data.limit) == ("shapes", 48, 0)
    assert (config.seed, config.out, config.device, config.threads) == (4, "there", "cpu", 1)
    config = other.config(study.methods["SimCLR"])
    assert (config.data.source, config.data.root) == ("cifar10", "elsewhere")
    assert config.data.cache == raw["settings"]["data.cache"]


def test_what_all_evaluations_are_given_is_for_those_that_have_it(raw, write):
    raw["evaluations"] = {"linear": {"task": "linear"}, "fine-tune": {"task": "finetune"}}
    raw.pop("published", None)
    raw["settings"]["evaluations.epochs"] = 5
    study = write(raw)
    linear, finetune = (e.config(study.methods["SimCLR"]) for e in study.evaluations.values())
    assert (linear.protocol, linear.epochs, finetune.epochs) == ("cached", 100, 5)
    raw["evaluations"]["linear"]["lr"] = 5.0  # of its own lines it can have none
    with pytest.raises(UserError, match=r"--lr 5.0: --protocol cached has no such setting"):
        write(raw)


def test_jobs_come_seed_by_seed_each_evaluation_after_its_pretraining(raw, write):
    raw["untrained"] = True
    study = write(raw)
    jobs = study.jobs()
    assert [str(job) for job in jobs[:6]] == [
        "SimCLR, seed 0: pretraining", "SimCLR, seed 0: kNN", "untrained, seed 0: kNN",
        "+ Sequential, seed 0: pretraining", "+ Sequential, seed 0: kNN",
        "+ Sequential, seed 0: masks",
    ]  # fmt: skip
    assert len(jobs) == 12
    assert len({job.slug for job in jobs}) == 12
    for job in jobs:
        assert job.needs is None or jobs.index(job.needs) < jobs.index(job)
    assert study.rows == ("untrained", "SimCLR", "+ Sequential")


def test_how_long_jobs_take_is_told_by_those_most_like_them(raw, write):
    study = write(raw)  # seeds 0 and 1
    jobs = study.jobs()
    assert study.expected(jobs, {}) == [None] * len(jobs)
    took = {
        "simclr.seed0": 10.0,
        "simclr.seed1": 20.0,
        "sequential.seed0": 90.0,
        "simclr.seed0.knn": 2.0,
    }
    expected = dict(zip(map(str, jobs), study.expected(jobs, took), strict=True))
    assert expected["SimCLR, seed 1: pretraining"] == 15.0  # of its own row
    assert expected["+ Sequential, seed 1: pretraining"] == 90.0
    assert expected["+ Sequential, seed 1: kNN"] == 2.0  # of another, there is none of its own
    assert expected["+ Sequential, seed 1: masks"] is None


def test_what_is_open_of_a_study(raw, write):
    study = write({**raw, "untrained": True}, seeds=1)
    simclr = ["simclr.seed0", "simclr.seed0.knn"]
    sequential = ["sequential.seed0", "sequential.seed0.knn", "sequential.seed0.masks"]
    every = [*simclr, "untrained.seed0.knn", *sequential]

    def still_open(*without, at_hand=(), failed=()):
        done = set(every) - set(without)
        return [job.slug for job in study.open_jobs(done, at_hand, failed)]

    assert still_open(*every) == every
    assert still_open() == []
    assert still_open(sequential[2], at_hand=sequential) == [sequential[2]]
    # Its weights are elsewhere: the whole row again, and for the untrained what it is made of.
    assert still_open(sequential[2]) == sequential
    assert still_open("untrained.seed0.knn") == [*simclr, "untrained.seed0.knn"]
    assert still_open(simclr[1]) == simclr
    # Neither what failed nor what needs it.
    assert still_open(*every, failed=[sequential[0]]) == every[:3]
    assert still_open(sequential[2], failed=[sequential[2]]) == []
    assert still_open(*sequential[1:], failed=[sequential[2]]) == sequential[:2]


def test_a_resolved_study_reads_as_itself(raw, write, tmp_path):
    raw["untrained"] = True
    study = write(raw, seeds=[3, 5])
    path = tmp_path / "resolved.yaml"
    path.write_text(yaml.safe_dump(study.resolved(), sort_keys=False))
    again = read_study(path)
    assert again.resolved() == study.resolved()
    assert again.methods == study.methods
    assert again.evaluations == study.evaluations
    assert again.seeds == (3, 5)


def change(raw, *path, value):
    *parents, last = path
    for name in parents:
        raw = raw[name]
    raw[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["titel"], "x", "unknown key 'titel': did you mean 'title'"),
        (["methods"], [], "methods is .*: expected"),
        (["methods", "SimCLR"], {"masker": "none"}, "method 'SimCLR': it names no recipe"),
        (["methods", "SimCLR"], "shapes-sequental", "did you mean 'shapes-sequential'"),
        (["methods", "simclr!"], "shapes-sequential", "too like 'SimCLR'"),
        (["methods", "+"], "shapes-sequential", "needs letters"),
        (["methods", "Untrained"], "shapes-sequential", "too like 'untrained'"),
        (["settings", "epocs"], 1, "unknown setting 'epocs': did you mean 'epochs'"),
        (["settings", "epochs"], "many", "--epochs is 'many': expected int"),
        (["settings", "epochs"], 0, "--epochs is 0: it must be at least 1"),
        (["settings", "seed"], 1, "'seed' belongs to the study: give seeds instead"),
        (["settings", "evaluations.epochs"], 1, "evaluation 'kNN': unknown setting 'epochs'"),
        (["baseline"], "simclr", "unknown baseline 'simclr'"),
        (["seeds"], 0, "seeds is 0"),
        (["seeds"], [1, 1], "seeds is .1, 1.: expected"),
        (["seeds"], "three", "seeds is 'three'"),
        (["untrained"], "yes", "untrained is 'yes': expected true or false"),
        (["evaluations", "kNN"], {"data": "cifar10"}, "evaluation 'kNN': it names no task"),
        (["evaluations", "kNN", "task"], "kmn", "unknown evaluation 'kmn': did you mean 'knn'"),
        (["evaluations", "kNN", "shares"], 1, "did you mean 'share'"),
        (["evaluations", "kNN", "share"], 3, "--share is 3"),
        (["evaluations", "kNN", "methods"], ["SimCRL"], "unknown method 'SimCRL'"),
        (["evaluations", "kNN", "methods"], "SimCLR", "expected a list of names"),
        (["evaluations", "masks", "metrics"], ["iou", "rnak"], "metric 'rnak': did you mean"),
        (["evaluations", "masks"], {"task": "masks"}, "SimCLR learns no masks: say `methods"),
        (["published", "knn"], {"SimCLR": 1}, "unknown evaluation among the published 'knn'"),
        (["published", "kNN", "ADIOS"], 1, "unknown method 'ADIOS'"),
        (["published", "kNN", "SimCLR"], [1, 2, 3], "expected .mean, standard deviation."),
        (["published", "kNN", "SimCLR"], "high", "expected .mean, standard deviation."),
        (["title"], "on {data}", "needs data: give --data"),
        (["data"], "cifar10", "data is 'cifar10', and no method, setting or evaluation has {data}"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_in_one_line(raw, write, path, value, message):
    change(raw, *path, value=value)
    with pytest.raises(UserError, match=message) as error:
        write(raw)
    assert "\n" not in str(error.value)


def test_a_study_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="unknown study 'table3': did you mean 'table"):
        read_study("table3")
    with pytest.raises(UserError, match=r"cannot read the study .*none\.yaml"):
        read_study(tmp_path / "none.yaml")
    path = tmp_path / "broken.yaml"
    for text in ("a: [1", "just words"):
        path.write_text(text)
        with pytest.raises(UserError, match="cannot read the study") as error:
            read_study(path)
        assert "\n" not in str(error.value)


def test_a_study_of_a_folder_takes_the_recipes_for_folders(tmp_path):
    folder = tmp_path / "my photos"
    folder.mkdir()
    study = read_study("table1", data=str(folder))
    assert {config.recipe for config in study.methods.values()} == {
        "folder-simclr", "folder-adios", "folder-sequential"
    }  # fmt: skip
    assert {config.data.source for config in study.methods.values()} == {str(folder)}
    assert list(study.evaluations) == ["my_photos linear", "my_photos fine-tune"]
    assert read_study("table1", data="cifar100").methods["SimCLR"].data.source == "cifar100"
    with pytest.raises(UserError, match="no such folder or file; did you mean 'stl10'"):
        read_study("table1", data="stl01")


def test_evaluations_of_unknown_length_do_not_hide_the_others():
    said = _of_evaluations([3600.0, 3600.0, None])
    assert said == (
        "the evaluations take at least 2 h 00 min, by those that are done; "
        "1 evaluation of 3 not counted: none like it is done"
    )
