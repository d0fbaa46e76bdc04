import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from disks import powered_disk, small_disk
from seamask.base.errors import UserError
from seamask.base.locks import locked
from seamask.data import DataConfig, load
from seamask.data.files import identity as identity_module
from seamask.data.store import arrays, packed


@pytest.fixture
def photos(tmp_path, write):
    write(tmp_path / "photos", *(f"{i}.png" for i in range(6)))
    return tmp_path / "photos"


def stores(tmp_path):
    return sorted(p.name for p in (tmp_path / "cache").iterdir() if p.name != ".identities")


def test_an_unchanged_folder_is_decoded_once(tmp_path, photos, open_data, monkeypatch):
    first = open_data(photos)
    (folder,) = (tmp_path / "cache").glob("photos-*")
    before = {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.iterdir()}
    assert folder.name == f"photos-{first.fingerprint[:16]}-16"
    monkeypatch.setattr(packed, "_write", None)  # would fail if it was called
    again = open_data(photos)
    assert {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.iterdir()} == before
    assert again.fingerprint == first.fingerprint
    assert (again.train.pixels == first.train.pixels).all()


def test_the_store_does_not_depend_on_where_the_folder_lies(tmp_path, photos, open_data):
    first = open_data(photos).fingerprint
    photos.rename(tmp_path / "moved")
    assert open_data(tmp_path / "moved").fingerprint == first
    for path in shutil.copytree(tmp_path / "moved", tmp_path / "copy").iterdir():
        os.utime(path, ns=(1, 1))
    assert open_data(tmp_path / "copy").fingerprint == first
    assert len(stores(tmp_path)) == 1  # it was decoded once


def test_an_image_that_changes_but_for_its_size_is_another(photos, open_data):
    path = photos / "large.bmp"
    Image.new("RGB", (260, 260), "red").save(path)
    first = open_data(photos)
    size = path.stat().st_size
    Image.new("RGB", (260, 260), "blue").save(path)
    assert path.stat().st_size == size
    second = open_data(photos)
    assert second.fingerprint != first.fingerprint
    assert second.train.pixels[-1, 0, 0].tolist() == [0, 0, 255]


def test_files_that_are_as_they_were_are_not_opened_again(photos, open_data, monkeypatch):
    first = open_data(photos).fingerprint
    monkeypatch.setattr(identity_module, "_sample", None)  # would fail if it was called
    assert open_data(photos).fingerprint == first


@pytest.mark.parametrize("change", ["add", "remove", "edit", "rename", "size"])
def test_a_changed_folder_is_decoded_again(tmp_path, photos, open_data, write, change):
    first = open_data(photos)
    size = 16
    if change == "add":
        write(photos, "new.png")
    elif change == "remove":
        (photos / "0.png").unlink()
    elif change == "edit":
        write(photos, "0.png", size=(21, 16))
    elif change == "rename":
        (photos / "0.png").rename(photos / "z.png")
    else:
        size = 24
    second = open_data(photos, size)
    assert first.fingerprint != second.fingerprint
    assert len(second.train) == 6 + {"add": 1, "remove": -1}.get(change, 0)
    assert second.train.pixels.shape[1] == size
    assert len(stores(tmp_path)) == 2


def test_bad_images_are_skipped_and_leave_no_holes(tmp_path, photos, open_data):
    whole = open_data(photos)
    (photos / "2.png").write_bytes(b"")
    (photos / "5.png").write_text("no image")
    data = open_data(photos)
    assert [path for path, _ in data.skipped] == ["2.png", "5.png"]
    assert (data.train.pixels == whole.train.pixels[[0, 1, 3, 4]]).all()
    assert open_data(photos).skipped == data.skipped  # from the store too
    folder = tmp_path / "cache" / f"photos-{data.fingerprint[:16]}-16"
    assert (folder / "train.pixels").stat().st_size == 4 * 16 * 16 * 3


def test_labels_stay_with_their_images(tmp_path, write, open_data):
    root = tmp_path / "classes"
    write(root, *(f"{c}/{i}.png" for c in "ab" for i in range(4)))
    (root / "a" / "1.png").write_bytes(b"")
    data = open_data(root, holdout=0.0)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert data.probe_test is None


def test_stop_at_a_bad_image(tmp_path, photos, open_data):
    (photos / "2.png").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(UserError, match=r"2\.png: the file is empty.*--on-bad-image skip"):
            open_data(photos, on_bad_image="stop")
        assert stores(tmp_path) == []
    open_data(photos)
    with pytest.raises(UserError, match=r"2\.png"):  # a store made by skipping does not hide it
        open_data(photos, on_bad_image="stop")


def test_an_image_that_is_too_large_is_skipped_until_it_is_allowed(tmp_path, photos, open_data):
    Image.new("RGB", (60, 50)).save(photos / "large.png")
    ((name, reason),) = open_data(photos, max_megapixels=0.002).skipped
    assert name == "large.png"
    assert reason.endswith("--data.max-megapixels 1 allows that")
    assert open_data(photos).skipped == ()
    assert len(open_data(photos, max_megapixels=0.002).train) == 6


def test_no_readable_image_at_all(tmp_path, photos, open_data):
    for path in photos.iterdir():
        path.write_bytes(b"x")
    with pytest.raises(UserError, match=r"none of its 6 images can be read, e\.g\. 0\.png: not"):
        open_data(photos)
    assert stores(tmp_path) == []


def test_no_readable_image_among_the_held_out(tmp_path, write, open_data):
    root = tmp_path / "classes"
    write(root, *(f"{part}/{c}/{i}.png" for part in ("train", "val") for c in "ab" for i in "12"))
    for path in (root / "val").rglob("*.png"):
        path.write_bytes(b"")
    data = open_data(root)
    assert (len(data.train), data.probe_test, len(data.skipped)) == (4, None, 4)


HARMS = ["cut", "no meta", "bad meta", "old format", "missing", "one byte", "black", "labels"]


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_store_is_rebuilt(tmp_path, write, open_data, harm):
    photos = tmp_path / "photos"
    write(photos, *(f"{c}/{i}.png" for c in "ab" for i in range(4)))
    data = open_data(photos, holdout=0)
    good, labels = data.train.pixels.clone(), data.train.labels.clone()
    (folder,) = (tmp_path / "cache").glob("[!.]*")
    meta = folder / "meta.json"
    if harm == "cut":
        os.truncate(folder / "train.pixels", 1000)
    elif harm == "no meta":
        meta.unlink()
    elif harm == "bad meta":
        meta.write_text("[1]")
    elif harm == "old format":
        meta.write_text(meta.read_text().replace('"format": 1', '"format": 0'))
    elif harm == "missing":
        (folder / "train.pixels").unlink()
    else:
        name = "train.labels" if harm == "labels" else "train.pixels"
        size = (folder / name).stat().st_size
        with open(folder / name, "r+b") as file:
            file.seek(100 if harm == "one byte" else 8)
            file.write(b"\x01" if harm == "one byte" else bytes(size - 8))
    again = open_data(photos, holdout=0)
    assert (again.train.pixels == good).all()
    assert (again.train.labels == labels).all()
    assert stores(tmp_path) == [folder.name]


def test_a_damaged_store_is_named(tmp_path, photos, capfd):
    config = DataConfig(source=str(photos), cache=str(tmp_path / "cache"))
    load(config, 16)
    (folder,) = (tmp_path / "cache").glob("[!.]*")
    with open(folder / "train.pixels", "r+b") as file:
        file.write(bytes(16))
    assert capfd.readouterr().err == ""
    load(config, 16)
    said = capfd.readouterr().err
    assert said == (
        f"photos: {folder} is not whole (train.pixels was changed or lost at byte 0): made anew\n"
    )


def test_a_store_is_checked_once_for_each_start_of_the_machine(photos, open_data, monkeypatch):
    checked, check = [], arrays._check

    def count(folder, *args):
        checked.append(folder)
        check(folder, *args)

    monkeypatch.setattr(arrays, "_check", count)
    first = open_data(photos).train.pixels.clone()
    open_data(photos)
    assert len(checked) == 0  # just written
    for start, checks in (("next", 1), ("next", 1), ("last", 2), ("next", 2)):
        monkeypatch.setattr(arrays, "_start_of_machine", lambda start=start: start)
        assert (open_data(photos).train.pixels == first).all()
        assert len(checked) == checks
    os.utime(checked[0] / "train.pixels", ns=(1, 1))  # touched: a copy, say
    open_data(photos)
    assert len(checked) == 3
    (checked[0] / "checked.json").write_bytes(bytes(40))
    assert (open_data(photos).train.pixels == first).all()
    assert len(checked) == 4


def test_a_store_that_others_filled_and_may_not_be_written_to(photos, open_data, monkeypatch):
    first = open_data(photos).train.pixels.clone()
    monkeypatch.setattr(arrays, "_start_of_machine", lambda: "next")

    def refuse(path):
        raise UserError("read-only")

    monkeypatch.setattr(arrays, "note_checked", refuse)
    assert (open_data(photos).train.pixels == first).all()


SCRIPT = """
import sys, time
from seamask.data import DataConfig, load
from seamask.data.store import chunks
from seamask.base.errors import UserError
from seamask.base.locks import locked
source, cache, delay, limit = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
square, chunks.CHUNK = chunks.square, 1
def slow(image, size):
    time.sleep(delay)
    return square(image, size)
chunks.square = slow
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
print("ready", flush=True)
try:
    print(len(load(DataConfig(source=source, cache=cache), 16, progress=False).train))
except UserError as error:
    print("UserError", error)
"""


def start(photos, cache, delay=0.0, limit=0, within=()):
    command = [sys.executable, "-c", SCRIPT, str(photos), str(cache), str(delay), str(limit)]
    return subprocess.Popen([*within, *command], stdout=subprocess.PIPE, text=True)


def wait_for(folder, pattern):
    deadline = time.monotonic() + 300
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_kill_leaves_no_half_store(tmp_path, photos, open_data):
    process = start(photos, tmp_path / "cache", delay=20)
    wait_for(tmp_path / "cache", ".seamask-*.tmp/train.pixels")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [name.endswith(".tmp") for name in stores(tmp_path)].count(True) == 1
    data = open_data(photos)
    assert len(data.train) == 6
    assert stores(tmp_path) == [f"photos-{data.fingerprint[:16]}-16"]


def test_two_processes_build_at_once(tmp_path, photos):
    processes = [start(photos, tmp_path / "cache", delay=0.3) for _ in range(2)]
    assert [p.communicate()[0].split() for p in processes] == [["ready", "6"]] * 2
    assert len(stores(tmp_path)) == 1


CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--uts")


@pytest.mark.slow
def test_two_containers_of_one_host_name_build_at_once(tmp_path, photos, open_data):
    """Each of their processes has the number 1; one is killed half-way, the other one goes on."""
    if not shutil.which("unshare") or subprocess.run([*CONTAINER, "true"]).returncode:
        pytest.skip("may not make a container")
    expected = open_data(photos, cache=str(tmp_path / "own")).train.pixels
    killed = start(photos, tmp_path / "cache", delay=20, within=CONTAINER)
    wait_for(tmp_path / "cache", ".seamask-*.tmp/train.pixels")
    others = [start(photos, tmp_path / "cache", delay=0.3, within=CONTAINER) for _ in range(2)]
    assert [p.stdout.readline() for p in others] == ["ready\n"] * 2
    time.sleep(0.5)  # now they wait for the first
    assert len(list((tmp_path / "cache").glob(".seamask-*.tmp"))) == 1
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert [p.communicate()[0].split() for p in others] == [["6"]] * 2
    assert len(stores(tmp_path)) == 1
    assert (open_data(photos).train.pixels == expected).all()


def test_leftovers_of_other_stores_go_unless_someone_makes_them(tmp_path, photos, open_data):
    cache = tmp_path / "cache"
    token = "0123456789abcdef"
    names = ("killed", "running")
    left, running = (cache / f".seamask-{name}-{token}.tmp" for name in names)
    for folder in (left, running):
        folder.mkdir(parents=True)
        (folder / "train.pixels").touch()
    with locked(cache / ".seamask-running.lock"):
        open_data(photos)
        assert not left.exists()
        assert running.exists()


def test_file_size_limit_is_one_clear_error(tmp_path, photos):
    out = start(photos, tmp_path / "cache", limit=2000).communicate()[0]
    assert "UserError cannot store what is made of photos" in out
    assert "File too large" in out
    assert stores(tmp_path) == []


def test_a_full_disk_fails_before_anything_is_decoded(tmp_path, open_data, monkeypatch):
    monkeypatch.setattr(packed, "write_split", None)
    says = r"No space left on device; it takes 0\.03 GB: free some"
    with small_disk(tmp_path / "disk") as disk:
        disk.resize(2**20)
        with pytest.raises(UserError, match=says):
            open_data("shapes", 64, cache=str(disk.place), shapes_train=1000)
        assert list(disk.place.iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path, photos, open_data):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"--data\.cache"):
        open_data(photos, cache=str(tmp_path / "file"))


def test_a_failure_in_the_middle_cleans_up(tmp_path, photos, open_data, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(packed, "write_split", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_data(photos)
    assert stores(tmp_path) == []


def test_a_power_cut_leaves_a_whole_store_or_none(tmp_path, photos, open_data):
    with powered_disk(tmp_path / "disk") as disk:
        _cut_after_building(disk, photos, open_data)


def _cut_after_building(disk, photos, open_data):
    place = disk.place
    expected = open_data(photos, 224).train.pixels.clone()
    script = SCRIPT.replace("16, progress", "224, progress")
    command = [sys.executable, "-c", script, str(photos), str(place / "cache"), "0", "0"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "ready\n6\n"
    (place / "not synced").write_bytes(b"1" * 2**20)
    disk.cut()
    lost = place / "not synced"
    assert not lost.exists() or lost.read_bytes() != b"1" * 2**20  # the power was cut
    (folder,) = (place / "cache").glob("photos-*")
    checksum = zlib.crc32((folder / "train.pixels").read_bytes())
    assert checksum == zlib.crc32(expected.numpy().tobytes())
    assert (open_data(photos, 224, cache=str(place / "cache")).train.pixels == expected).all()


def test_a_store_that_cannot_be_read_now_is_not_thrown_away(tmp_path, photos, monkeypatch):
    config = DataConfig(source=str(photos), cache=str(tmp_path / "cache"))
    load(config, 16)
    (folder,) = (tmp_path / "cache").glob("[!.]*")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def too_many(path, *arguments, **keywords):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr(Path, "read_text", too_many)
    with pytest.raises(UserError, match="Too many open files"):
        load(config, 16)
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
