import os
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident

import pytest
import torch

from seamask.base.errors import UserError
from seamask.data import DataConfig, pack
from seamask.data.store import pieces

SIZE = 16


@pytest.fixture
def photos(tmp_path, write):
    write(tmp_path / "photos", *(f"{c}/{i}.png" for c in "ab" for i in range(10)))
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "IMAGES", 4)


def packed(photos, out, **settings):
    return pack(DataConfig(source=str(photos), size=SIZE, **settings), out, progress=False)


def test_a_pack_is_the_store_of_its_images_and_a_source_by_itself(tmp_path, photos, open_data):
    for name in ("a/3.png", "b/9.png"):  # in the middle of a piece and at the end of the last
        (photos / name).write_bytes(b"")
    open_data(photos)
    out = packed(photos, tmp_path / "pack")
    from_cache = open_data(photos)
    assert out.fingerprint == from_cache.fingerprint
    assert (out.classes, out.split, out.name) == (("a", "b"), from_cache.split, "photos")
    assert sorted(out.skipped) == sorted(from_cache.skipped) != []
    for part in ("train", "probe_test"):
        mine, cached = getattr(out, part), getattr(from_cache, part)
        assert torch.equal(mine.pixels, cached.pixels)
        assert torch.equal(mine.labels, cached.labels)
    (store,) = (path for path in (tmp_path / "cache").iterdir() if not path.name.startswith("."))
    for array in ("train.pixels", "train.labels", "test.pixels"):
        assert (tmp_path / "pack" / array).read_bytes() == (store / array).read_bytes()
    moved = (tmp_path / "pack").rename(tmp_path / "moved")
    assert open_data(moved, image_size=32).fingerprint == out.fingerprint  # at its own size
    assert sorted(os.listdir(tmp_path)) == ["cache", "moved", "photos"]


@pytest.fixture
def made(monkeypatch):
    """Names of pieces that were begun; who begins the third dies."""
    made = []
    write_split = pieces.write_split

    def die_at_third(writer, *rest):
        made.append(writer.folder.name)
        if len(made) == 3:
            raise KeyboardInterrupt
        return write_split(writer, *rest)

    monkeypatch.setattr(pieces, "write_split", die_at_third)
    return made


def test_what_a_killed_one_has_made_is_not_made_again(tmp_path, photos, monkeypatch, made):
    with pytest.raises(KeyboardInterrupt):
        packed(photos, tmp_path / "pack")
    # Joined in part: the second piece is in the whole, which has bytes of a third, too.
    append = pieces._append

    def die_at_second_join(source, *rest):
        whole = append(source, *rest)
        if "train-000001" in str(source) and "pixels" in str(source):
            raise KeyboardInterrupt
        return whole

    monkeypatch.setattr(pieces, "_append", die_at_second_join)
    with pytest.raises(KeyboardInterrupt):
        packed(photos, tmp_path / "pack")
    assert len(made) == 3 + 4  # of six, two were there
    monkeypatch.setattr(pieces, "_append", append)
    data = packed(photos, tmp_path / "pack")
    assert len(made) == 7  # nothing was made again
    assert len(data.train) == 18
    other = packed(photos, tmp_path / "other")
    assert torch.equal(data.train.pixels, other.train.pixels)


def test_training_goes_on_with_what_a_killed_one_has_packed_for_it(
    tmp_path, photos, open_data, made
):
    with pytest.raises(KeyboardInterrupt):
        packed(photos, None, cache=str(tmp_path / "cache"))
    data = open_data(photos)
    assert len(made) == 3 + 4  # of six, two were there
    (store,) = (path for path in (tmp_path / "cache").iterdir() if not path.name.startswith("."))
    assert packed(photos, None, cache=str(tmp_path / "cache")).fingerprint == data.fingerprint
    assert torch.equal(data.train.pixels, packed(photos, tmp_path / "pack").train.pixels)
    assert not list((tmp_path / "cache").glob(".seamask-*"))
    assert store.exists()


def test_several_at_once_share_the_work(tmp_path, photos, monkeypatch):
    """Threads here: a lock is held by an open file, so they are to each other as processes are."""
    made, two = [], Event()
    write_split = pieces.write_split

    def note(writer, *rest):
        made.append(get_ident())
        if len(set(made)) > 1:
            two.set()
        assert two.wait(60)  # the first holds its piece until another thread has one too
        return write_split(writer, *rest)

    monkeypatch.setattr(pieces, "write_split", note)
    monkeypatch.setattr(pieces, "IMAGES", 1)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: packed(photos, tmp_path / "pack"), range(3)))
    assert [len(data.train) for data in found] == [18] * 3
    assert len(made) == 20  # each piece once


def test_a_piece_that_the_disk_has_lost_is_made_anew(tmp_path, photos, monkeypatch):
    def lose(*_):
        (path,) = tmp_path.glob(".seamask-*/train-000002/train.pixels")
        path.write_bytes(bytes(path.stat().st_size))
        return join(*_)

    join = pieces._join
    monkeypatch.setattr(pieces, "_join", lose)
    with pytest.raises(UserError, match="train-000002, was changed or lost"):
        packed(photos, tmp_path / "pack")
    monkeypatch.setattr(pieces, "_join", join)
    assert packed(photos, tmp_path / "pack").train.pixels[8:12].any()


def test_a_place_that_holds_something_else(tmp_path, photos, open_data):
    packed(photos, tmp_path / "pack")
    assert len(packed(photos, tmp_path / "pack").train) == 18  # the same: nothing to do
    for place, settings in ((photos, {}), (tmp_path / "pack", {"jpeg": "exact"})):
        with pytest.raises(UserError, match=f"--out {place} is there and holds something else"):
            packed(photos, place, **settings)
    with pytest.raises(UserError, match="was packed at 16 pixels"):
        open_data(tmp_path / "pack", size=32)
    for name, asked in (("holdout", 0.3), ("jpeg", "exact"), ("max_megapixels", 1.0)):
        flag = "--data." + name.replace("_", "-")
        with pytest.raises(UserError, match=f"^{flag} {asked}: .*/pack was packed with "):
            open_data(tmp_path / "pack", **{name: asked})
    with pytest.raises(UserError, match="is packed already"):
        packed(tmp_path / "pack", tmp_path / "again")


def test_what_it_was_packed_with_may_be_said_again_or_left_out(tmp_path, photos, open_data):
    chosen = {"jpeg": "exact", "holdout": 0.3, "max_megapixels": 1.0}
    packed(photos, tmp_path / "pack", **chosen)
    for settings in ({}, chosen):
        data = open_data(tmp_path / "pack", **settings)
        assert (data.jpeg, len(data.train), data.split) == ("exact", 14, "30 % of each class")


def test_no_readable_image(tmp_path, write):
    (tmp_path / "photos").mkdir()
    for i in range(5):
        (tmp_path / "photos" / f"{i}.png").write_text("x")
    with pytest.raises(
        UserError, match=r"none of its 5 images can be read, e\.g\. 0\.png: not an im"
    ):
        packed(tmp_path / "photos", tmp_path / "pack")
