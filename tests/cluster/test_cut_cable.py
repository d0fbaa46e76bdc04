"""Two hosts that only reach each other over a network, which is then cut."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from jobs import plugin, pretrain, steps, wait_for

from seamask.runs import RunFolder
from seamask.training import snapshot

pytestmark = [pytest.mark.slow, pytest.mark.ddp, pytest.mark.netns]


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True)


@pytest.fixture
def hosts():
    """Names of two network namespaces and of their ends of the cable."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and `ip` (Debian: iproute2)")
    names = [f"seamask{os.getpid()}{k}" for k in "ab"]
    ends = [f"sm{os.getpid()}{k}"[:15] for k in "ab"]
    with ExitStack() as stack:
        try:
            for name in names:
                ip("netns", "add", name)
                stack.callback(ip, "netns", "delete", name)
            ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for k, (name, end) in enumerate(zip(names, ends, strict=True), start=1):
                ip("link", "set", end, "netns", name)
                ip("-n", name, "addr", "add", f"10.77.0.{k}/24", "dev", end)
                ip("-n", name, "link", "set", end, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr}")
        yield names, ends


def test_a_cable_that_is_cut_ends_both_sides(hosts, cache, tmp_path):
    names, ends = hosts
    out = tmp_path / "run"
    words = pretrain(out, cache, epochs=5000, **{"log.checkpoint-minutes": 0.01})
    logs = [tmp_path / f"{k}.txt" for k in range(2)]
    processes = []
    for k, (name, log) in enumerate(zip(names, logs, strict=True)):
        torchrun = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(k),
            "--nproc-per-node", "1", "--master-addr", "10.77.0.1", "--master-port", "29577",
        ]  # fmt: skip
        command = [*torchrun, "-m", "seamask", *words, *plugin(tmp_path)]
        with log.open("w") as file:
            processes.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", name, *command], stdout=file, stderr=subprocess.STDOUT
                )
            )

    def said():
        return [log.read_text() for log in logs]

    try:
        wait_for(lambda: steps(out) >= 3 and RunFolder(out).latest_checkpoint(), said)
        ip("-n", names[0], "link", "set", ends[0], "down")
        cut = time.monotonic()
        for process in processes:
            process.wait(timeout=60)
        assert time.monotonic() - cut < 30, said()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert all(process.returncode for process in processes), said()
    first, second = said()
    assert "nothing was heard of process 1" in first
    assert "has lost the first process at 10.77.0.1:29577" in second
    assert snapshot.read(RunFolder(out).latest_checkpoint())["step"] > 0
