"""Tasks: what they name, what is kept of their settings, and that importing them costs little."""

import subprocess
import sys

import pytest

from seamask.base.errors import UserError
from seamask.base.settings import from_dict, override, to_dict
from seamask.evaluate import TASKS, Result, check, task_config
from seamask.evaluate.finetune import FinetuneConfig
from seamask.evaluate.linear import LinearConfig


def test_importing_the_evaluations_waits_for_nothing_but_torch():
    code = """if True:
        import sys
        import seamask.evaluate
        slow = {"sklearn", "scipy", "timm", "torchvision", "matplotlib", "skimage"}
        print(*slow & set(sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize(("task", "metric", "unit"), [
    ("knn", "accuracy", "%"),
    ("knn", "k", ""),
    ("segment", "iou/traffic light", "%"),
    ("masks", "iou", ""),
    ("masks", "ari_colour", ""),
    ("masks", "coverage_12", ""),
])  # fmt: skip
def test_metrics_have_the_units_that_their_task_names(task, metric, unit):
    TASKS[task].check_metric(metric)
    assert TASKS[task].unit(metric) == unit


def test_a_metric_that_is_not_named_is_refused():
    with pytest.raises(UserError, match="unknown metric 'acuracy': did you mean 'accuracy'"):
        TASKS["linear"].check_metric("acuracy")


def test_what_may_stand_in_one_column_is_named_as_ever():
    # Results of earlier studies are found by these names.
    protocol = {"image_size": 96, "neighbours": [5, 10], "share": 0.1}
    result = Result("a run", "knn", "shapes", protocol, 3, {"accuracy": 1.0}, 0.0, "", "", "")
    assert result.column == "knn-shapes-33d1d160"


def test_what_is_left_to_the_protocol_is_none_in_every_form():
    config = LinearConfig(protocol="adios")
    assert (config.batch_size, config.weight_decay, config.milestones) == (None, None, None)
    assert from_dict(to_dict(config), task_config("linear")) == config
    given = {"batch_size": 64, "milestones": [0.5]}
    changed = override(config, given)
    assert (changed.batch_size, changed.milestones) == (64, (0.5,))
    # YAML has null; `none` is for those who do not think of it.
    assert override(changed, {"batch_size": None, "milestones": "none"}) == config
    assert check(config).milestones == (0.6, 0.8)
    assert check(override(config, {"milestones": []})).milestones == ()


@pytest.mark.parametrize(("name", "value", "says"), [
    ("batch_size", 0, "--batch-size is 0: it must be at least 2"),
    ("weight_decay", -1, "--weight-decay is -1.0: it must be at least 0"),
    ("batch_size", "many", "--batch-size is 'many': expected int"),
    ("weight_decay", [1], "--weight-decay is .1.: expected float"),
])  # fmt: skip
def test_no_number_stands_for_the_protocols(name, value, says):
    with pytest.raises(UserError, match=says):
        check(override(FinetuneConfig(), {name: value}))
