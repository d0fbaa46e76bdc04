"""The command `seamask`. The first screen needs no import but this; errors become one line here."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence

import seamask
from seamask.base.errors import UserError, printable, unknown
from seamask.base.memory import no_memory
from seamask.base.output import Lasting, close_failed, fitted, lasting_output, print_prose
from seamask.base.signals import Interrupt, Interrupted, Stopped, handled

HELP = """\
seamask: self-supervised visual pretraining with learned, adversarial masks

  seamask pretrain                       pretrain on the built-in images
  seamask pretrain --data DIR            on your own, labels not needed
  seamask pretrain RECIPE [--SETTING V]  from a recipe, with other settings
  seamask pretrain --config FILE         from settings in a file (config.yaml)
  seamask resume RUN                     go on with a run that was stopped
  seamask masks RUN IMAGE|FOLDER ...     draw the masks of a run on any image
  seamask masks RUN --data DIR           write the masks of a folder's images
  seamask embed RUN --data DIR           write features: .parquet, .npz, .csv
  seamask export RUN --to onnx           encoder and masker for other programs
  seamask evaluate RUN TASK              knn, linear, finetune, masks, ...
  seamask report RUN ... [--watch]       one HTML file: masks, health, curves
  seamask runs [FOLDER]                  list runs: how far, what they found
  seamask study NAME                     methods × seeds × evaluations: a table
  seamask data pack --data DATA ...      pack images ahead of time
  seamask data imagenet100s ...          make ImageNet100s from ImageNet
  seamask bench [RECIPE]                 how fast it trains, what is faster
  seamask recipes [NAME]                 list the recipes; the settings of one

  seamask pretrain [RECIPE] --help       every setting: default, unit, source
  seamask evaluate RUN TASK --help       the same of an evaluation
  seamask COMMAND --help                 the same of every other command
  seamask COMMAND --plugin FILE.py ...   add a masker, objective, data set, ...
  seamask --version
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit code 2 and one line for what a user can mend."""
    # Idle OpenMP threads spin for 0.1 ms instead of for ever: as fast on free cores, and several
    # times faster when something else takes one. It must be set before torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "100000")
    # What Apple's GPU cannot compute, the CPU does; torch reads it when it is imported, too.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    words = list(sys.argv[1:] if arguments is None else arguments)
    interrupt = Interrupt()
    with lasting_output(), handled(interrupt):
        code = 0
        try:
            try:
                run(words)
            finally:
                interrupt.waited_for = False
        except BaseException as error:
            code = _explain(error)
        code = code or _check_printed(words)
        for stream in (sys.stdout, sys.stderr):
            assert isinstance(stream, Lasting)
            stream.flush()
            close_failed(stream)
    sys.exit(code)


def _explain(error: BaseException) -> int:
    """Say in one line what a user can mend; return the exit code. What is a fault of ours goes on.

    Raises:
        BaseException: the error itself.
    """
    if isinstance(error, SystemExit):  # after help: 0
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
    elif isinstance(error, Stopped):
        if error.message:  # else another process says it
            print_prose(f"\nseamask: {error.message}", sys.stderr)
        return 128 + error.signal_number
    elif isinstance(error, KeyboardInterrupt):
        number = error.signal_number if isinstance(error, Interrupted) else signal.SIGINT
        name = signal.Signals(number).name
        print_prose(f"seamask: stopped by {name}; files that were complete are kept", sys.stderr)
        return 128 + number
    elif isinstance(error, UserError):
        return _complain(error)
    elif line := no_memory(error):
        return _complain(line)
    elif isinstance(error, OSError) and error.filename and error.strerror:
        return _complain(UserError(f"{error.filename}: {error.strerror}"))
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _complain(UserError(f"cannot write: {error.strerror}; free some space"))
    raise error


def _complain(error: UserError) -> int:
    print_prose(f"seamask: error: {printable(str(error))}", sys.stderr)
    return 2


def _check_printed(arguments: list[str]) -> int:
    """Say so, with exit code 2, if what a command is there to print could not be printed.

    What these others find is in files, and who closes a pipe has read enough.
    """
    sys.stdout.flush()
    failed = getattr(sys.stdout, "failed", None)
    if arguments[:1] and arguments[0] in ("pretrain", "resume", "study", "masks", "data"):
        failed = None
    if failed is None or isinstance(failed, BrokenPipeError):
        return 0
    reason = failed.strerror if isinstance(failed, OSError) else failed
    return _complain(UserError(f"cannot print: {reason}"))


def run(arguments: list[str]) -> None:
    """Run one command."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(fitted(HELP))
        return
    name, *rest = arguments
    if name == "--version":
        print(f"seamask {seamask.__version__}")
        return
    try:
        os.getcwd()
    except OSError as error:  # MKL, which computes for torch, would end the process
        raise UserError("the current folder is gone; change to one that exists") from error
    from seamask.commands import COMMANDS
    from seamask.plugins import take_plugins

    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    COMMANDS[name](take_plugins(rest))


if __name__ == "__main__":
    main()
