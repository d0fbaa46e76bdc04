"""Two hosts on this machine that only reach each other over a cable: network namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

FIRST = "10.77.0.1"  # address of the first host


class Host(NamedTuple):
    """A network namespace, and its end of the cable."""

    name: str
    end: str

    def inside(self, *words: str) -> list[str]:
        """Return the words that run a command there."""
        return ["ip", "netns", "exec", self.name, *words]

    def unplug(self) -> None:
        """Cut the cable."""
        call("ip", "-n", self.name, "link", "set", self.end, "down")

    def limit(self, megabits: float) -> None:
        """Let no more leave this host, in Mbit/s."""
        shape = ["rate", f"{megabits}mbit", "burst", "64kb", "latency", "50ms"]
        call("tc", "-n", self.name, "qdisc", "replace", "dev", self.end, "root", "tbf", *shape)


def call(*words: str) -> None:
    subprocess.run(words, capture_output=True, text=True, check=True)


def missing() -> str:
    """Say what keeps hosts from being made here; empty: nothing that can be known before."""
    if os.geteuid() or shutil.which("ip") is None:
        return "network namespaces need root and `ip` (Debian: iproute2)"
    return ""


@contextmanager
def two_hosts() -> Iterator[list[Host]]:
    """Make two hosts and a cable for the length of a block; the first is at `FIRST`.

    Raises:
        subprocess.CalledProcessError: no namespaces can be made here.
    """
    hosts = [Host(f"seamask{os.getpid()}{k}", f"sm{os.getpid()}{k}"[:15]) for k in "ab"]
    with ExitStack() as stack:
        for host in hosts:
            call("ip", "netns", "add", host.name)
            stack.callback(call, "ip", "netns", "delete", host.name)
        a, b = hosts
        call("ip", "link", "add", a.end, "type", "veth", "peer", "name", b.end)
        for k, (name, end) in enumerate(hosts, start=1):
            call("ip", "link", "set", end, "netns", name)
            call("ip", "-n", name, "addr", "add", f"10.77.0.{k}/24", "dev", end)
            call("ip", "-n", name, "link", "set", end, "up")
            call("ip", "-n", name, "link", "set", "lo", "up")
        yield hosts
