import os
import signal
import subprocess
import sys

import pytest

from seamask.base import files
from seamask.base.errors import UserError
from seamask.base.files import atomic, is_empty, remove_leftovers

WRITE = """
import sys
from pathlib import Path
from seamask.base.files import atomic
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half of it")
    print(temporary, flush=True)
    sys.stdin.read()
"""


def start(path):
    """Start to write a file; it is whole once the process is told so by `communicate`."""
    command = [sys.executable, "-c", WRITE, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


@pytest.fixture
def as_new(monkeypatch):
    """As in a process that has not written anything."""
    monkeypatch.setattr(files, "_looked_through", set())


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "some/folder/file"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file"]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text(str(1 / 0))
    with pytest.raises(UserError, match=r"cannot write .*file: No space"), atomic(path):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_mode_is_that_of_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic(tmp_path / "file") as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_link_is_replaced_and_not_followed(tmp_path, monkeypatch):
    other = tmp_path / "precious"
    other.write_text("precious")
    (tmp_path / "file").symlink_to(other)
    with atomic(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert other.read_text() == "precious"
    assert not (tmp_path / "file").is_symlink()
    # even at the name that is drawn next
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 2 * n)
    (tmp_path / f".seamask-{'0' * 16}.tmp").symlink_to(other)
    with pytest.raises(UserError, match="File exists"), atomic(tmp_path / "file"):
        pass
    assert other.read_text() == "precious"


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, as_new):
    process, left = start(tmp_path / "file")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    mine = tmp_path / ".mine.tmp"
    mine.touch()
    assert os.path.exists(left)
    with atomic(tmp_path / "other"):
        pass
    assert sorted(os.listdir(tmp_path)) == [".mine.tmp", "other"]


def test_what_a_running_process_writes_is_kept(tmp_path, as_new):
    process, temporary = start(tmp_path / "file")
    assert process.poll() is None
    assert is_empty(tmp_path)
    with atomic(tmp_path / "other"):
        remove_leftovers(tmp_path)
        assert len(list(tmp_path.glob("*.tmp"))) == 2
    assert os.path.exists(temporary)
    process.communicate()
    assert process.returncode == 0
    assert (tmp_path / "file").read_text() == "half of it"
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]
    assert not is_empty(tmp_path)
