import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from seamask.base.locks import Held, give_up, is_held, locked, take

HOLD = """
import sys, time
from pathlib import Path
from seamask.base.locks import locked
with locked(Path(sys.argv[1]), shared="shared" in sys.argv):
    print("held", flush=True)
    if "end" not in sys.argv:
        time.sleep(60)
"""

JOIN = """
import sys, time
from pathlib import Path
from seamask.base.locks import join
join(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def start(path, *arguments, script=HOLD):
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path), *arguments], stdout=subprocess.PIPE, text=True
    )
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.lock"


def test_it_falls_with_the_process_that_is_killed(path):
    other = start(path)
    assert other.stdout.readline() == "held\n"
    holder = f"^process {other.pid} on {os.uname().nodename} since {time.strftime('%Y-%m-%d')}"
    with pytest.raises(Held, match=holder), locked(path, give_up):
        pass
    kill(other)
    assert path.exists()
    with locked(path, give_up) as held:
        assert held
        with pytest.raises(Held, match=f"^process {os.getpid()} "), locked(path, give_up):
            pass
    assert list(path.parent.iterdir()) == []


def test_others_wait_for_it_and_never_hold_it_together(path):
    log = path.with_name("log")
    script = HOLD.split("with locked")[0] + (
        "for _ in range(100):\n"
        "    with locked(Path(sys.argv[1])), open(sys.argv[2], 'a', 1) as log:\n"
        "        log.write('in\\n')\n"
        "        log.write('out\\n')\n"
    )
    others = [start(path, str(log), script=script) for _ in range(3)]
    assert [other.wait(60) for other in others] == [0] * 3
    for other in others:
        other.stdout.close()
    assert log.read_text() == "in\nout\n" * 300


def test_who_waits_is_told_of_whom_and_gets_it(path):
    other = start(path)
    other.stdout.readline()
    told = []

    def tell(holder):
        told.append(holder)
        kill(other)

    with locked(path, tell) as held:
        assert held
    (holder,) = told
    assert holder.startswith(f"process {other.pid} on ")


def test_who_joins_holds_it_beyond_the_death_of_the_first(path):
    first = start(path, "shared")
    first.stdout.readline()
    second = start(path, script=JOIN)
    second.stdout.readline()
    kill(first)
    with pytest.raises(Held), locked(path, give_up):
        pass
    kill(second)
    with locked(path, give_up, shared=True), pytest.raises(Held), locked(path, give_up):
        pass


@pytest.mark.parametrize("shared", [False, True])
def test_looking_at_a_lock_leaves_all_as_it_is(path, shared):
    assert not is_held(path)
    with locked(path, shared=shared):
        assert is_held(path)
    assert not path.exists()
    path.write_text("of one that was killed")
    assert not is_held(path)
    assert path.read_text() == "of one that was killed"


def test_who_only_looks_does_not_keep_others_from_it(path, monkeypatch):
    with open(path, "w") as file:
        assert take(file.fileno())
        looked = partial(fcntl.flock, file.fileno(), fcntl.LOCK_UN)
        monkeypatch.setattr(time, "sleep", lambda seconds: looked())
        with locked(path, give_up) as held:
            assert held


def test_a_link_in_its_place_is_not_followed(path, tmp_path):
    other = tmp_path / "other"
    other.write_text("precious")
    path.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"), locked(path):
        pass
    assert other.read_text() == "precious"


def test_a_lock_that_others_of_ours_hold_stays_when_the_first_lets_go(tmp_path):
    path = tmp_path / "lock"
    script = (
        "import sys; from pathlib import Path; from seamask.base.locks import join; "
        "join(Path(sys.argv[1])); print('joined', flush=True); sys.stdin.read()"
    )
    with locked(path, shared=True):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout.readline() == "joined\n"
    with pytest.raises(Held), locked(path, give_up):
        pass
    process.communicate("")
    with locked(path, give_up):
        pass
    assert not path.exists()


def test_a_file_system_without_locks_is_said_once(path, monkeypatch, capsys):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    for _ in range(2):
        with locked(path) as held:
            assert not held
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {path.parent} is on a file system without locks: see to it")
    assert said.count("\n") == 1
