"""Two hosts that only reach each other over a network, which is then cut."""

import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from jobs import plugin, pretrain, steps, wait_for

import network  # of the benchmarks
from seamask.runs import RunFolder
from seamask.training import snapshot

pytestmark = [pytest.mark.slow, pytest.mark.ddp, pytest.mark.netns]


@pytest.fixture
def hosts():
    """Two hosts and the cable between them."""
    if reason := network.missing():
        pytest.skip(reason)
    with ExitStack() as stack:
        try:
            made = stack.enter_context(network.two_hosts())
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr}")
        yield made


def test_a_cable_that_is_cut_ends_both_sides(hosts, cache, tmp_path):
    out = tmp_path / "run"
    words = pretrain(out, cache, epochs=5000, **{"log.checkpoint-minutes": 0.01})
    logs = [tmp_path / f"{k}.txt" for k in range(2)]
    processes = []
    for k, (host, log) in enumerate(zip(hosts, logs, strict=True)):
        torchrun = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(k),
            "--nproc-per-node", "1", "--master-addr", network.FIRST, "--master-port", "29577",
        ]  # fmt: skip
        command = host.inside(*torchrun, "-m", "seamask", *words, *plugin(tmp_path))
        with log.open("w") as file:
            processes.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT))

    def said():
        return [log.read_text() for log in logs]

    try:
        wait_for(lambda: steps(out) >= 3 and RunFolder(out).latest_checkpoint(), said)
        hosts[0].unplug()
        cut = time.monotonic()
        for process in processes:
            process.wait(timeout=60)
        seconds = time.monotonic() - cut
        print(f"{seconds:.1f} s from the cut to the exit of the last process")
        assert seconds < 30, said()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert all(process.returncode for process in processes), said()
    first, second = said()
    assert "nothing was heard of process 1" in first
    assert "has lost the first process at 10.77.0.1:29577" in second
    assert snapshot.read(RunFolder(out).latest_checkpoint())["step"] > 0
