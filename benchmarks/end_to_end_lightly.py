"""From a folder of JPEGs to the end of the last epoch of SimCLR, against the same in lightly.

Both start as new processes and are timed to their end, imports and our store included. lightly is
no dependency of this package: `--python` names an interpreter that has it.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from harness import Row, benchmark
from jpegs import make_jpegs


def seconds(command):
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def measure(o):
    rows = []
    goal = 5 if o.device.type == "cuda" else 2
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(o.data) if o.data else Path(folder) / "jpegs"
        if not o.data:
            make_jpegs(root, o.images)
        for size in o.size:
            ours = seconds([
                sys.executable, "-m", "seamask", "pretrain", "imagenet100s-simclr", "--data", root,
                "--data.cache", Path(folder) / f"cache-{size}", "--out", Path(folder) / f"r{size}",
                "--image-size", size, "--batch-size", o.batch, "--epochs", o.epochs,
                "--encoder.stem", "standard", "--threads", threads, "--precision", o.precision,
                "--log.checkpoint-every", 0, "--log.masks-every", 0, "--data.holdout", 0,
            ])  # fmt: skip
            print(f"seamask {ours:.1f} s", flush=True)
            theirs = seconds([
                o.python, Path(__file__).with_name("lightly_simclr.py"), "--data", root, "--size",
                size, "--batch", o.batch, "--epochs", o.epochs, "--workers", os.cpu_count() or 1,
                "--threads", threads, "--precision", o.precision,
            ])  # fmt: skip
            print(f"lightly {theirs:.1f} s", flush=True)
            found = theirs / ours
            rows.append(Row(f"folder of {o.images:,} JPEGs to the end of epoch {o.epochs}, SimCLR, "
                            f"ResNet-18, {size} px, batch {o.batch}, {o.precision}, against "
                            "lightly",
                            f"≥ {goal} ×",
                            f"{found:.2f} × ({ours:.0f} s, lightly {theirs:.0f} s)",
                            found >= goal))  # fmt: skip
    return rows


def options(parser):
    parser.add_argument("--images", type=int, default=1000, help="JPEGs to make")
    parser.add_argument("--data", help="a flat folder of JPEGs, instead of making some")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has lightly")


if __name__ == "__main__":
    benchmark(__doc__, measure, extra=options)
