"""A real Slurm of two nodes on this machine, in a folder of its own, for the length of a block."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NEEDED = ("sbatch", "srun", "scontrol", "slurmctld", "slurmd", "munged", "munge")


def missing() -> str:
    """Say what keeps a Slurm from being brought up here; empty: nothing."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    absent = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "only root starts one"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Bring up nodes n1 and n2; yield the environment in which `sbatch` and the others find them.

    Args:
        folder: of its files; others may look into it.
    """
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    host = socket.gethostname().partition(".")[0]
    ctld, first, second = _free_ports(3)
    for name in ("spool", "state"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(64))
    key.chmod(0o600)
    folder.chmod(0o755)
    sock, conf = folder / "munge.socket", folder / "slurm.conf"
    conf.write_text(f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={sock}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=30
MinJobAge=86400
MailProg=/bin/true
SlurmctldPort={ctld}
NodeName=DEFAULT CPUs={os.cpu_count()} RealMemory=100
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
""")
    env = {**os.environ, "SLURM_CONF": str(conf)}
    munged = [
        "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={sock}",
        f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed",
        f"--log-file={folder}/munged.log",
    ]  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(_running(munged, env, folder / "munged.out"))
        _wait_for(sock.exists, "munged", folder)
        for node in ("n1", "n2"):
            command = ["slurmd", "-D", "-N", node, "-f", str(conf)]
            stack.enter_context(_running(command, env, folder / f"slurmd-{node}.out"))
        command = ["slurmctld", "-D", "-f", str(conf)]
        stack.enter_context(_running(command, env, folder / "slurmctld.out"))

        def idle() -> bool:
            states = subprocess.run(
                ["sinfo", "-h", "-o", "%T"], env=env, capture_output=True, text=True
            )
            return states.stdout.split() == ["idle"]

        _wait_for(idle, "slurmctld", folder)
        yield env
        subprocess.run(["scancel", "--user", "root"], env=env, check=False)


@contextmanager
def _running(command: list[str], env: dict[str, str], said: Path) -> Iterator[None]:
    with said.open("w") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(found, what: str, folder: Path) -> None:
    deadline = time.monotonic() + 300
    while not found():
        said = "\n".join(p.read_text() for p in folder.glob(f"{what}*.out"))
        assert time.monotonic() < deadline, f"{what} does not come up: {said}"
        time.sleep(0.2)


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
