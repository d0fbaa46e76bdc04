"""Commands that a signal strikes before a given file operation, or at a time; what they leave."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

CHANGES = {  # events of `sys.addaudithook`; `open` is one where it may write
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
}  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Started once, with all that takes long to import; each command is a fork of it.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["seamask.commands", "seamask.training.launch", "seamask.evaluate.evaluation", "seamask.show",
     "seamask.study.worker", "sklearn.linear_model", "matplotlib.pyplot"]
)  # fmt: skip


Blows = Mapping[int, int]  # numbers of changes, from 1, and the signals that come before them


class Operations:
    """Counts what changes files below a folder, from now on, and signals before some changes."""

    def __init__(self, root: Path, blows: Blows) -> None:
        self.root, self.blows = str(root), blows
        self.count = 0
        sys.addaudithook(self.hear)
        fsync = os.fsync

        def heard_fsync(file: int) -> None:
            self.change()
            fsync(file)

        os.fsync = heard_fsync

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int) or not flags & WRITES:
                return
        elif event not in CHANGES:
            return
        path, *more = arguments
        relative_to_open_folder = event != "open" and more and more[-1] not in (None, -1)
        if relative_to_open_folder or os.path.abspath(os.fsdecode(path)).startswith(self.root):
            self.change()

    def change(self) -> None:
        self.count += 1
        if self.count in self.blows:
            os.kill(os.getpid(), self.blows[self.count])


def _body(root: Path, words: list[str], blows: Blows, said: Path, report: Connection) -> None:
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    from seamask.cli import main

    operations = Operations(root, blows)
    try:
        main(words)
    finally:
        report.send(operations.count)


class Running:
    """`seamask WORDS` in a process of its own.

    Args:
        root: folder whose changes count.
        words: of the command.
        blows: signals that strike it.
        said: file for what it prints.
    """

    def __init__(
        self, root: Path, words: list[str], blows: Blows | None = None, said: Path | None = None
    ) -> None:
        self._report, its = PROCESSES.Pipe(duplex=False)
        arguments = (root, words, blows or {}, said or Path(os.devnull), its)
        self.process = PROCESSES.Process(target=_body, args=arguments)
        self.process.start()
        its.close()

    def kill_after(self, seconds: float) -> None:
        """Kill it after a time, unless it has ended."""
        self.process.join(seconds)
        self.process.kill()

    def wait(self) -> tuple[int, int]:
        """Return its exit code and how many changes it made; 0 where it was killed."""
        try:
            count = self._report.recv()
        except EOFError:
            count = 0
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode, count


def run(
    root: Path, words: list[str], blows: Blows | None = None, said: Path | None = None
) -> tuple[int, int]:
    """Run `seamask WORDS` to its end; see `Running`."""
    return Running(root, words, blows, said).wait()


@dataclass(frozen=True)
class Command:
    """A row of the table: a command that may be killed at any time.

    Attributes:
        words: of the command, given the folder it works in.
        prepare: commands before it, which nobody kills.
        again: words of the command that goes on; None: the same again.
    """

    name: str
    words: Callable[[Path], list[str]]
    prepare: tuple[Callable[[Path], list[str]], ...] = ()
    again: Callable[[Path], list[str]] | None = None


def left_by(root: Path) -> dict[str, object]:
    """Return what a command left below a folder, but for times and locks."""
    left = {
        str(path.relative_to(root)): _content(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock") and path.parent.name not in NAMED
    }
    return left | {str(f.relative_to(root)): _scalars(f) for f in root.rglob(TENSORBOARD)}


TENSORBOARD = "tensorboard"
NAMED = (TENSORBOARD, ".identities")  # folders of files that have names of times
OF_TIMES = (
    "curves.png", "accuracy.png", "table.md", "table.csv", "table.tex",
    "checked.json",
)  # fmt: skip
OF_ONE_TIME = {"seconds", "waited", "images_per_second", "data_wait", "machine", "commit"}


def _content(path: Path) -> object:
    if path.suffix == ".html":
        return "whole" if path.read_text().endswith("</html>") else "cut"
    if path.name in OF_TIMES:
        return "is there"
    if path.suffix == ".onnx":
        return _weights(path)
    if path.suffix == ".safetensors":
        return _plain(load_file(path))
    if path.suffix == ".pt":
        return _plain(torch.load(path, weights_only=True))
    if path.suffix == ".json":
        return _plain(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_plain(json.loads(line)) for line in path.read_text().splitlines()]
    return path.read_bytes()


def _weights(path: Path) -> dict[str, bytes]:
    """Return the weights of a whole ONNX model by their names."""
    import onnx

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return {
        w.name: w.raw_data or onnx.numpy_helper.to_array(w).tobytes()
        for w in model.graph.initializer
    }


def _scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Return what TensorBoard shows of its files: each scalar by its step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    names = [name for name in events.Tags()["scalars"] if name not in OF_ONE_TIME]
    return {name: {e.step: e.value for e in events.Scalars(name)} for name in names}


def _plain(value: object) -> object:
    """Return a value that can be compared with `==`, without times."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if name not in OF_ONE_TIME}
    if isinstance(value, torch.Tensor):
        return (value.shape, value.dtype, value.contiguous().view(-1).numpy().tobytes())
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def differences(ours: dict[str, object], theirs: dict[str, object]) -> list[str]:
    """Name the files that one has and the other has not, or that differ."""
    missing = [f"{name} is missing" for name in sorted(theirs.keys() - ours.keys())]
    extra = [f"{name} is too much" for name in sorted(ours.keys() - theirs.keys())]
    both = sorted(ours.keys() & theirs.keys())
    return missing + extra + [f"{name} differs" for name in both if ours[name] != theirs[name]]
