"""What is printed fits any terminal: no word or number is cut, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import default_run
from command import call
from seamask.base.documents import read_json
from seamask.base.output import fitted, print_prose
from seamask.evaluate.board import RIVALS
from seamask.evaluate.saliency import MEASURES
from seamask.evaluate.task import Result
from seamask.recipes import recipe_config
from seamask.speed.bench import OTHER, Bench, Trial
from seamask.speed.count import Cost
from seamask.terminal import print_result, print_study_table, print_summary
from seamask.training.report import Summary
from terminals import fits, on_terminal

CPU = torch.device("cpu")
STUDY = """# Do masks help?

|  | kNN | linear |
| --- | --- | --- |
| **SimCLR** | 15.62 ± 4.42 | 14.06 ± 11.05 |
| **ours** | 9.38 ± 4.42 | – |
| difference to SimCLR | −6.25 [−16.25, +6.25] | −6.25 [−125.37, +112.87] |

Mean ± sample standard deviation over seeds 0, 1; in brackets the 95 % confidence interval.
"""


def summary() -> None:
    measured = read_json(default_run.MEASURED)["runs"][-1]
    warning = "masks miss their budget; raise --penalties.budget (now 0.1; 5 holds)"
    print_summary(
        Summary(
            Path("runs/a"), 156.0, 315.0, "resnet18", measured["results"],
            (("photos/one of them.jpg", "not an image, or of an unknown format"),),
            "import timm; timm.create_model('resnet18', num_classes=0, checkpoint_path='a')",
            held_out=1024, looked_at="1,000 held-out images", asked=0.2, warnings=(warning,),
        )
    )  # fmt: skip


def evaluation() -> None:
    found = {f"{measure}_{rival}": 0.1295 for measure in MEASURES for rival in RIVALS}
    print_result(
        Result(
            "runs/a", "masks", "shapes", {}, 0,
            {**dict.fromkeys(MEASURES, 0.4123), "binary": 2.289e-05, **found}, 5.0, "", "", "",
            normalization={"of": "encoder", "mean": [0.5] * 3, "std": [0.18] * 3},
            notes=("one map an image, the best on 128 training images: the union of all",),
            images={"held_out": 128, "classes": 8, "learn": 256},
        )
    )  # fmt: skip


def bench() -> None:
    config = recipe_config("shapes-seamask")
    parts = ("encoder passes", "mask network", "encoder's optimiser", "views")
    times = {"step": [1.0], **{part: [0.2] for part in parts}}
    costs = {part: Cost(49e6, 4.6e6) for part in parts}
    trial = Trial("small encoder", {"image_size": 32, "masks.downscale": 4}, OTHER, 1.5)
    found = Bench(config, 64, CPU, 2, 1e11, 1.0, times, costs, 0, [trial], 3072, 0.6, (1, 2))
    print_prose(found.text())


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.parametrize("show", [summary, evaluation, bench, lambda: print_study_table(STUDY)])
def test_what_a_command_says_in_the_end_fits_a_terminal(show, columns, capsys):
    show()
    fits(show, capsys.readouterr().out, columns)


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.parametrize("words", [("--help",), ("evaluate", "--help")])
def test_help_fits_a_terminal(words, columns, capsys):
    call(*words)
    fits(lambda: call(*words), capsys.readouterr().out, columns)


def test_what_is_said_of_a_name_stands_beside_it_or_below():
    text = "A paragraph.\n\n  one  the first of them\n       and more\n  other  the next"
    wide, narrow = (on_terminal(n, lambda: print(fitted(text))) for n in (30, 22))
    beside = "  one    the first of them and\n         more\n  other  the next\n"
    assert wide == f"A paragraph.\n\n{beside}"
    assert "  one\n    the first of them\n    and more\n" in narrow


def test_on_a_usual_terminal_metrics_stand_in_one_table_beside_their_rivals():
    head = next(line for line in on_terminal(80, evaluation).splitlines() if "oracle" in line)
    assert head.split() == ["masks", *RIVALS]


def test_the_terminal_that_a_line_is_broken_for_is_the_one_that_it_is_printed_to(capsys):
    said = "an error that says what to do about it"
    assert (
        on_terminal(20, lambda: print_prose(said))
        == "an error that says\n  what to do about\n  it\n"
    )
    print_prose(said)
    assert capsys.readouterr().out == f"{said}\n"  # a log has lines of any length
