"""Who the processes of a run are: what started them says so in its variables.

In this order: `torchrun`, and all that sets the same variables (Kubernetes' PyTorchJob, Ray,
clouds); `srun` with several tasks; else there is this one, which `--devices` may multiply.
Variables of what did not start us are not heeded.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from seamask.base.errors import UserError
from seamask.base.progress import amount

TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """A process among those of a run.

    Attributes:
        by: what started them; empty: nobody, there is one.
        rank: from 0, who leads: it writes, and speaks for all.
        world_size: how many there are.
        local_rank: the same as `rank` among those of its machine: which GPU is its own.
        local_size: how many there are on its machine.
        nodes: machines.
        address: where the first of them is found.
        port: where it listens.
        attempt: how often they were started again, by one that outlives them.
        served: it is who started them that listens there.
        note: what else there is to be said of them.
    """

    by: str = ""
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1
    nodes: int = 1
    address: str = "127.0.0.1"
    port: int = 0
    attempt: int = 0
    served: bool = False
    note: str = ""

    def __str__(self) -> str:
        """Say in a line who trains."""
        said = amount(self.world_size, "process", "processes")
        if self.world_size > 1:
            said += f" on {amount(self.nodes, 'node')}, started by {self.by}"
        return said + (f" ({self.note})" if self.note else "")


def started_by(environ: Mapping[str, str]) -> Place:
    """Return where this process stands, by the variables of what started it.

    Args:
        environ: of this process.

    Raises:
        UserError: variables of torchrun that cannot be right.
    """
    given = [name for name in TORCHRUN if environ.get(name)]
    if len(given) == len(TORCHRUN):
        return _by_torchrun(environ)
    tasks = _whole(environ, "SLURM_STEP_NUM_TASKS", 1)  # of a job alone there is SLURM_NTASKS
    step = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID")
    if tasks > 1 and all(environ.get(name) for name in step):
        return _by_srun(environ, tasks)
    note = ""
    if "RANK" in given and "WORLD_SIZE" in given:
        missing = " and ".join(name for name in TORCHRUN if name not in given)
        note = f"RANK and WORLD_SIZE are set, {missing} not: nothing that torchrun started"
    elif _whole(environ, "SLURM_NTASKS", 1) > 1:
        note = f"in a job of {environ['SLURM_NTASKS']} tasks: srun would start as many"
    return Place(note=note)


def _by_torchrun(environ: Mapping[str, str]) -> Place:
    def number(name: str, least: int, default: int | None = None) -> int:
        text = environ.get(name) or str(default)
        if not text.isdecimal() or int(text) < least:
            raise UserError(f"{name} is {text!r}: torchrun sets a number, {least} at least")
        return int(text)

    size, rank = number("WORLD_SIZE", 1), number("RANK", 0)
    if rank >= size:
        raise UserError(f"RANK is {rank}: with WORLD_SIZE {size} it is {size - 1} at most")
    if size == 1:
        return Place()
    local_size = number("LOCAL_WORLD_SIZE", 1, 1)
    return Place(
        by="torchrun",
        rank=rank,
        world_size=size,
        local_rank=number("LOCAL_RANK", 0, 0),  # a PyTorchJob of one process a pod has none
        local_size=local_size,
        nodes=number("GROUP_WORLD_SIZE", 1, -(-size // local_size)),
        address=environ["MASTER_ADDR"],
        port=number("MASTER_PORT", 1),
        attempt=number("TORCHELASTIC_RESTART_COUNT", 0, 0),
        served=environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _by_srun(environ: Mapping[str, str], tasks: int) -> Place:
    job, step = _whole(environ, "SLURM_JOB_ID", 0), _whole(environ, "SLURM_STEP_ID", 0)
    nodes = _whole(environ, "SLURM_STEP_NUM_NODES", 1)
    on_each = tasks_per_node(environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node = _whole(environ, "SLURM_NODEID", 0)
    first = first_host(environ["SLURM_STEP_NODELIST"])
    return Place(
        by="srun",
        rank=_whole(environ, "SLURM_PROCID", 0),
        world_size=tasks,
        local_rank=_whole(environ, "SLURM_LOCALID", 0),
        local_size=on_each[node] if node < len(on_each) else -(-tasks // nodes),
        nodes=nodes,
        address=environ.get("MASTER_ADDR") or _address(first),
        # Below what systems give away by themselves; two steps of a job have two.
        port=_whole(environ, "MASTER_PORT", 15_000 + (7 * job + step) % 15_000),
    )


def _whole(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else default


def tasks_per_node(text: str) -> list[int]:
    """Return how many tasks each node has, as Slurm writes it: [2, 2, 1] of `2(x2),1`."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(tasks) for tasks, times in found for _ in range(int(times or 1))]


def first_host(nodes: str) -> str:
    """Return the first node of a list as Slurm writes it: `gpu007-ib` of `gpu[007-9,12]-ib,b`."""
    found = re.match(r"[^,\[]*(\[[^\]]*\][^,\[]*)*", nodes)
    assert found is not None
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", found[0])


def _address(node: str) -> str:
    """Return where a node is found: by its name, or by the address that Slurm knows."""
    try:
        socket.getaddrinfo(node, None)
    except OSError:
        with suppress(OSError, subprocess.SubprocessError):
            about = subprocess.run(
                ["scontrol", "show", "node", node], capture_output=True, text=True, timeout=30
            ).stdout
            if found := re.search(r"NodeAddr=(\S+)", about):
                return found[1]
    return node
