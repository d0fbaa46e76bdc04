"""Processes that torchrun starts, on this machine: one dies, and the run goes on."""

import subprocess
import sys

import psutil
import pytest

from cluster.jobs import plugin
from command import call
from training.runs import assert_same_weights, wait_for
from training.test_interrupted import words
from training.test_watch import free_port


@pytest.mark.slow
@pytest.mark.ddp
def test_a_worker_that_is_killed_is_started_again_and_goes_on(cache, tmp_path):
    killed, alone = tmp_path / "killed", tmp_path / "alone"
    given = {"data.cache": cache, "log.masks-every": 0, "log.probe-every": 0, "epochs": 8}
    asked = ["pretrain", *words(out=killed, resume="auto", **given)]
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts",
         "1", "--master-port", str(free_port()), "-m", "seamask", *asked,
         *plugin(tmp_path, seconds=0.5)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: list(killed.glob("checkpoints/step-*.pt")), process)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    workers[1].kill()
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert said.count("2 processes on 1 node, started by torchrun") == 2
    assert said.count("goes on after step") == 1
    assert said.count("trained in") == 1
    assert call("pretrain", *words(out=alone, devices=2, **given)) == 0
    assert_same_weights(killed, alone)
    assert call(*asked, "--batch-size", 24) == 2
