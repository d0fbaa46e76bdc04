"""The command `seamask`. The first screen needs no import but this; errors become one line here."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import seamask
from seamask.base.errors import UserError, unknown
from seamask.base.signals import Interrupted, handled, interrupt

HELP = """\
seamask: self-supervised visual pretraining with learned, sequential adversarial masks

    seamask pretrain                              pretrain on the built-in images
    seamask pretrain --data DIR --out runs/mine   pretrain on your own, labels not needed
    seamask pretrain RECIPE [--SETTING VALUE ...] start from a recipe and change settings
    seamask pretrain --config FILE                start from settings in a file (config.yaml)
    seamask resume RUN                            go on with a run that was stopped
    seamask masks RUN IMAGE ... [--out PNG]       draw the masks that a run learned, on any image
    seamask evaluate RUN TASK [--data DATA]       knn, linear, finetune, segment, masks, cluster
    seamask study NAME [--out DIR]                methods × seeds × evaluations: a table
    seamask data imagenet100s --imagenet DIR      make ImageNet100s from an ImageNet folder
    seamask bench [RECIPE] [--SETTING VALUE ...]  how fast it trains here, and what is faster
    seamask recipes                               list the recipes

    seamask pretrain [RECIPE] --help              every setting: default, unit, source
    seamask evaluate RUN TASK --help              the same of an evaluation
    seamask COMMAND --plugin FILE.py ...          add a masker, objective, data set, penalty, task
    seamask --version
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit code 2 and one line for what a user can mend."""
    # Idle OpenMP threads spin for 0.1 ms instead of for ever: as fast on free cores, and several
    # times faster when something else takes one. It must be set before torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "100000")
    code = 0
    try:
        with handled(interrupt):
            run(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"seamask: error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt as stop:
        number = stop.signal_number if isinstance(stop, Interrupted) else signal.SIGINT
        name = signal.Signals(number).name
        print(f"seamask: stopped by {name}; files that were complete are kept", file=sys.stderr)
        code = 128 + number
    except BrokenPipeError:  # the reader of our output has gone
        pass
    sys.exit(code)


def run(arguments: list[str]) -> None:
    """Run one command."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    name, *rest = arguments
    if name == "--version":
        print(f"seamask {seamask.__version__}")
        return
    from seamask.commands import COMMANDS
    from seamask.plugins import take_plugins

    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    COMMANDS[name](take_plugins(rest))


if __name__ == "__main__":
    main()
