"""Processes that something else has started, on any machines: how they meet, and end together.

Each says once a second that it lives, in a store that the first of them keeps or, under torchrun,
its agent. One that ends says why, if it still can; the others say so and end.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, NamedTuple

import psutil
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from seamask.base.errors import UserError, printable
from seamask.base.signals import Stopped, tell
from seamask.training.cluster import Place

BEAT = 1.0  # seconds between two signs of life
SILENCE = 15.0  # seconds without one, after which a process is given up
GRACE = 2.0  # seconds for a process to say itself what it has heard of others
ECHO = re.compile(r"gloo|NCCL|[Cc]onnection (closed|reset)|[Bb]roken pipe|[Ss]ocket|TCPStore")
OVER = b"over"  # instead of a sign of life


def of_others(error: BaseException) -> bool:
    """Say whether an error may be nothing but that another process is gone."""
    return isinstance(error, RuntimeError | OSError) and bool(ECHO.search(str(error)))


class Ended(NamedTuple):
    """Why all processes end.

    Attributes:
        text: in one line.
        rank: who says it on its own account.
        host: of that one.
    """

    text: str
    rank: int
    host: str


_met = 0  # how often this process has met others


class Watch:
    """All processes of a run at once: in the block, what ends one ends all, in half a minute.

    Args:
        place: of this one, among several.
        seconds: that one waits for another at the beginning.

    Attributes:
        store: what one says in it, the others can read.

    Raises:
        UserError: one that cannot be reached, or does not come.
    """

    def __init__(self, place: Place, seconds: float) -> None:
        global _met
        _met += 1
        self.place, self.seconds = place, seconds
        self.host = socket.gethostname()
        self.over = threading.Event()
        self.ended: Ended | None = None
        self.store = self._connect(keeps=place.rank == 0 and not place.served)
        self._own = self._connect(keeps=False)  # of the thread
        self.contact = time.monotonic()  # from here on: the first may have come late

    def _connect(self, keeps: bool) -> Store:
        """Connect to the store, or keep it."""
        place = self.place
        if not keeps:
            self._reach()
        try:
            store = TCPStore(
                place.address,
                place.port,
                is_master=keeps,
                wait_for_workers=False,
                timeout=timedelta(seconds=self.seconds),
            )
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            what = "listen at" if keeps else "talk to"
            raise UserError(
                f"cannot {what} {place.address}:{place.port} (MASTER_ADDR, MASTER_PORT): {reason}"
            ) from error
        return PrefixStore(f"seamask-{place.attempt}-{_met}", store)

    def _reach(self) -> None:
        """Wait until the first process, or who started it, listens."""
        place, start = self.place, time.monotonic()
        while True:
            try:
                socket.create_connection((place.address, place.port), timeout=5).close()
                return
            except OSError as error:
                waited = time.monotonic() - start
                if waited > self.seconds:
                    raise UserError(
                        f"process {place.rank} on {self.host} has waited {waited:.0f} s for the "
                        f"first at {place.address}:{place.port}, in vain ({error}): is the address "
                        "right, and let through? --timeout waits longer"
                    ) from error
            time.sleep(0.2)

    def __enter__(self) -> Watch:
        self.store.set(f"beat-{self.place.rank}", "0")
        for work in (self._beat, self._judge):
            threading.Thread(target=work, name="seamask-watch", daemon=True).start()
        try:
            self._meet()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _meet(self) -> None:
        """Wait until all are here; choose the network by which they are reached."""
        place, store = self.place, self.store
        here = own_address(place.address)
        self.say(f"here-{place.rank}", [self.host, here])
        if place.rank:
            self.hear("all")
        else:
            start = time.monotonic()
            missing = list(range(place.world_size))
            while missing := [r for r in missing if not store.check([f"here-{r}"])]:
                waited = time.monotonic() - start
                if waited > self.seconds:
                    raise UserError(
                        f"waited {waited:.0f} s at {place.address}:{place.port} for "
                        f"{place.world_size} processes, and {_some(missing)} did not come; "
                        "--timeout waits longer"
                    )
                time.sleep(0.1)
            self.say("all", True)
        if _is_loop(here) and place.nodes > 1:  # the first, whose name leads it to itself
            others = (address for _, address in self._here(range(place.world_size)))
            here = next((own_address(a) for a in others if not _is_loop(a)), here)
        choose_interface(here)

    def say(self, name: str, what: Any) -> None:
        """Let the others know something, of plain values."""
        self.store.set(name, json.dumps(what))

    def hear(self, name: str) -> Any:
        """Return what another says, as soon as it does."""
        while not self.store.check([name]):
            if self.ended is not None:
                raise UserError(self.ended.text)
            time.sleep(0.2)
        return json.loads(self.store.get(name))

    # What the threads do -----------------------------------------------------------------------

    def _beat(self) -> None:
        """Say that this process lives; as the first, look whether all do; hear that one ended."""
        heard, before, number = {}, [b""] * self.place.world_size, 0
        try:
            while not self.over.wait(BEAT) and self.ended is None:
                number += 1
                self._own.set(f"beat-{self.place.rank}", str(number))
                if self.place.rank == 0 and (beats := self._beats(self._own)):
                    now = time.monotonic()
                    for rank, (beat, last) in enumerate(zip(beats, before, strict=True)):
                        if beat != last or beat == OVER:
                            heard[rank] = now
                    before = beats
                    silent = [r for r, when in heard.items() if now - when > SILENCE]
                    if silent:
                        text = f"nothing was heard of {self._named(silent)} for {SILENCE:.0f} s"
                        self._tell(self._own, text)
                self.ended = _heard(self._own)
                self.contact = time.monotonic()
        except RuntimeError:  # the store is gone
            self.ended = self._lost()

    def _judge(self) -> None:
        """End this process after another has, unless it does so itself."""
        while self.ended is None:
            if self.over.wait(BEAT / 2):
                return
            if time.monotonic() - self.contact > SILENCE:
                self.ended = self._lost()
        if not self.over.wait(GRACE):  # it waits for one that is gone, or is at something long
            if self._speaks_of(self.ended):
                tell(f"error: {printable(self.ended.text)}")
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(2)

    # How it ends -------------------------------------------------------------------------------

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ended = None
        if error is not None and not isinstance(error, Stopped):
            try:
                ended = self.ended or self._reason(error)
            except RuntimeError:  # the store is gone
                ended = self._lost()
        self.over.set()
        self._leave()
        if ended is not None:
            raise (UserError(ended.text) if self._speaks_of(ended) else SystemExit(2)) from error

    def _reason(self, error: BaseException) -> Ended | None:
        """Return why all end, where this process does; None: by what it says itself."""
        if (ended := _heard(self.store)) is not None:
            return ended
        if of_others(error) and (gone := self._gone()):
            return self._tell(self.store, f"{self._named(gone)} ended without a word")
        text = str(error) if isinstance(error, UserError) else repr(error)
        mine = f"process {self.place.rank} on {self.host} ended: {text}"
        ended = self._tell(self.store, mine)
        return None if ended.text == mine else ended

    def _gone(self) -> list[int]:
        """Return which processes have ended: it takes some seconds to see."""
        before = self._beats(self.store)
        deadline = time.monotonic() + 5 * BEAT
        while time.monotonic() < deadline:
            if self.store.check(["ended"]):
                return []
            time.sleep(0.1)
        both = enumerate(zip(before, self._beats(self.store), strict=True))
        return [rank for rank, (a, b) in both if a == b and rank != self.place.rank]

    def _beats(self, store: Store) -> list[bytes]:
        """Return the last sign of life of each process; of none before all are here."""
        names = [f"beat-{rank}" for rank in range(self.place.world_size)]
        return list(store.multi_get(names)) if store.check(names) else []

    def _tell(self, store: Store, text: str) -> Ended:
        """Say why all end, unless another has; return what holds."""
        mine = json.dumps(Ended(text, self.place.rank, self.host))
        return Ended(*json.loads(store.compare_set("ended", "", mine)))

    def _lost(self) -> Ended:
        """Return why this process ends where it hears of none."""
        silent = time.monotonic() - self.contact
        since = f"nothing was heard of it for {silent:.0f} s" if silent > SILENCE else "it is gone"
        first = f"the first process at {self.place.address}:{self.place.port}"
        return Ended(f"{self.host} has lost {first}: {since}", -1, "")

    def _leave(self) -> None:
        """Say that this process is through; who keeps the store waits for the others."""
        place = self.place
        deadline = time.monotonic() + 2 * GRACE
        try:
            self.store.set(f"beat-{place.rank}", OVER.decode())
            if place.rank == 0 and not place.served:
                while time.monotonic() < deadline and set(self._beats(self.store)) != {OVER}:
                    time.sleep(0.05)
        except RuntimeError:
            pass  # nobody is left to hear it

    def _speaks_of(self, ended: Ended) -> bool:
        """Say whether this process prints why all end: one does on each machine."""
        if ended.rank == self.place.rank:
            return True
        return self.place.local_rank == 0 and ended.host != self.host

    def _here(self, ranks: Iterable[int]) -> list[tuple[str, str]]:
        """Return hosts of processes and their addresses."""
        found = self.store.multi_get([f"here-{rank}" for rank in ranks])
        return [json.loads(here) for here in found]

    def _named(self, ranks: list[int]) -> str:
        hosts = sorted({host for host, _ in self._here(ranks)})
        return f"{_some(ranks)} on {', '.join(hosts[:3])}"


def _heard(store: Store) -> Ended | None:
    """Return why all end, if one has said so."""
    return Ended(*json.loads(store.get("ended"))) if store.check(["ended"]) else None


def _some(ranks: list[int]) -> str:
    """Name processes, a few of many."""
    named = ", ".join(map(str, ranks[:5])) + (", …" if len(ranks) > 5 else "")
    return f"process{'es' * (len(ranks) > 1)} {named}"


def own_address(other: str) -> str:
    """Return the address of this machine on the way to another; nothing is sent."""
    family, kind, *_, there = socket.getaddrinfo(other, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(there)
        return str(probe.getsockname()[0])


def _is_loop(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def choose_interface(address: str) -> None:
    """Have gloo take the network in which this machine has an address, unless one is chosen.

    By itself it takes that of the machine's name, which on many leads nowhere.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(a.address.partition("%")[0] == address for a in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
