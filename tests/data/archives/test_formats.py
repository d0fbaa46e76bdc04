"""The same twelve images in every form that people have them in are the same store."""

import csv
import gzip
import io
import json
import os
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from seamask.base.errors import UserError
from seamask.data.archives import members as members_module
from seamask.data.archives.find import existing, find_files
from seamask.data.archives.members import Listing
from seamask.data.archives.tables import Parquet, Table
from seamask.data.archives.tars import Tar
from seamask.data.sets.names import split_in

CLASSES = ("ant", "bee")
PATHS = [f"{split}/{c}/{i}.png" for split in ("test", "train") for c in CLASSES for i in range(3)]


@pytest.fixture
def photos(tmp_path, write):
    """A folder of twelve images, three for each of two splits and two classes."""
    write(tmp_path / "photos", *PATHS)
    return tmp_path / "photos"


def add(tar, name, data=b"", **header):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in header.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def plain_tar(photos, out, mode="w"):
    with tarfile.open(out, mode) as tar:
        for path in PATHS:
            add(tar, f"./{path}", (photos / path).read_bytes())
    return out


def packed_tar(photos, out, codec):
    """As `tar --zstd` and `tar -I lz4` do."""
    tar = plain_tar(photos, out.with_name("plain"))
    with pa.output_stream(str(out), compression=codec) as sink:
        sink.write(tar.read_bytes())
    tar.unlink()
    return out


def a_zip(photos, out):
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for path in PATHS:
            file.write(photos / path, path)
    return out


def webdataset(photos, out, extension="cls"):
    """Two shards a split, whose keys begin anew in each."""
    out.mkdir()
    for shard, start in enumerate(range(0, 12, 3)):
        split = PATHS[start].split("/")[0]
        with tarfile.open(out / f"pets-{split}-{shard % 2:04d}.tar", "w") as tar:
            for i, path in enumerate(PATHS[start : start + 3]):
                label = str(CLASSES.index(path.split("/")[1]) + 9)  # of one and of two digits
                said = label if extension == "cls" else json.dumps({"label": int(label)})
                add(tar, f"{i:06d}.png", (photos / path).read_bytes())
                add(tar, f"{i:06d}.{extension}", said.encode())
                add(tar, f"{i:06d}.seg.png", b"what is no image to train on")
    return out


def tar_of_tars(photos, out):
    """As ImageNet's: a tar for a split, in it one for a class."""
    out.mkdir()
    for split in ("test", "train"):
        with tarfile.open(out / f"img_{split}.tar", "w") as outer:
            for name in CLASSES:
                inside = io.BytesIO()
                with tarfile.open(fileobj=inside, mode="w") as inner:
                    for i in range(3):
                        add(inner, f"{i}.png", (photos / split / name / f"{i}.png").read_bytes())
                add(outer, f"{name}.tar", inside.getvalue())
    return out


def table(photos, split):
    """As the library `datasets` saves: struct of bytes and path, names of classes in the schema."""
    paths = [path for path in PATHS if path.startswith(split)]
    image = [{"bytes": (photos / p).read_bytes(), "path": p.split("/")[-1]} for p in paths]
    features = {
        "label": {"names": list(CLASSES), "_type": "ClassLabel"},
        "image": {"_type": "Image"},
    }
    return pa.table(
        {
            "label": pa.array([CLASSES.index(p.split("/")[1]) for p in paths], pa.int64()),
            "image": pa.array(image, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        },
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def a_parquet(photos, out):
    (out / "data").mkdir(parents=True)
    for split in ("train", "test"):
        name = out / "data" / f"{split}-00000-of-00001.parquet"
        parquet.write_table(table(photos, split), name, row_group_size=4)
    return out


def saved(photos, out):
    """As `DatasetDict.save_to_disk` does."""
    for split in ("train", "test"):
        (out / split).mkdir(parents=True)
        rows = table(photos, split)
        place = str(out / split / "data-00000-of-00001.arrow")
        with pa.OSFile(place, "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=4)
        (out / split / "cache-17.arrow").write_bytes(b"of a map that was tried")
        (out / split / "state.json").write_text("{}")
    return out


def a_csv(photos, out):
    with open(out, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["split", "filename", "label", "width"])
        for path in PATHS:
            split, label, _ = path.split("/")
            rows.writerow([split, f"photos/{path}", label, 20])
    return out


def a_text(photos, out):
    out.write_text("".join(f"{photos / path}\n" for path in PATHS))
    return out


FORMS = {
    "photos.zip": a_zip,
    "photos.tar": plain_tar,
    "photos.tar.gz": lambda photos, out: plain_tar(photos, out, "w:gz"),
    "photos.txz": lambda photos, out: plain_tar(photos, out, "w:xz"),
    "photos.tar.zst": lambda photos, out: packed_tar(photos, out, "zstd"),
    "photos.tar.lz4": lambda photos, out: packed_tar(photos, out, "lz4"),
    "shards": webdataset,
    "shards-json": lambda photos, out: webdataset(photos, out, "json"),
    "imagenet": tar_of_tars,
    "hub": a_parquet,
    "saved": saved,
    "list.csv": a_csv,
    "list.txt": a_text,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_what_the_folder_gives(tmp_path, photos, open_data, form):
    folder = open_data(photos)
    found = open_data(FORMS[form](photos, tmp_path / form))
    assert torch.equal(found.train.pixels, folder.train.pixels)
    assert torch.equal(found.train.labels, folder.train.labels)
    assert torch.equal(found.probe_test.pixels, folder.probe_test.pixels)
    assert torch.equal(found.probe_test.labels, folder.probe_test.labels)
    assert (found.skipped, found.split) == ((), folder.split)
    assert found.classes == (("09", "10") if "shards" in form else CLASSES)
    assert set(os.listdir(tmp_path)) == {"photos", "cache", form}  # nothing beside the cache


def test_an_archive_is_gone_through_once_and_known_again_elsewhere(
    tmp_path, photos, open_data, monkeypatch
):
    archive = plain_tar(photos, tmp_path / "photos.tar.gz", "w:gz")
    first = open_data(archive).fingerprint
    monkeypatch.setattr(gzip, "open", None)  # asked for nothing
    assert open_data(archive).fingerprint == first
    monkeypatch.undo()
    moved = archive.rename(tmp_path / "moved.tar.gz")
    assert open_data(moved).fingerprint == first
    (photos / PATHS[0]).write_bytes((photos / PATHS[1]).read_bytes())
    assert open_data(plain_tar(photos, moved, "w:gz")).fingerprint != first


def test_processes_that_start_together_list_an_archive_once(
    tmp_path, photos, open_data, monkeypatch
):
    archive = plain_tar(photos, tmp_path / "photos.tar")
    listed, in_turn = [], Tar.listing

    def listing(tar):
        listed.append(tar.path)
        time.sleep(0.2)  # the others come meanwhile
        return in_turn(tar)

    monkeypatch.setattr(Tar, "listing", listing)
    with ThreadPoolExecutor(3) as pool:  # a lock is an open file's: threads are as processes
        found = [*pool.map(lambda _: find_files(str(archive), tmp_path / "cache").names, range(3))]
    assert listed == [archive]
    assert found[0] == found[1] == found[2] != []
    monkeypatch.undo()
    (tmp_path / "file").touch()  # no folder: nothing can be noted
    assert find_files(str(archive), tmp_path / "file").names == found[0]


def test_rows_without_labels_are_counted_and_not_read(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(Parquet, "rows", None)
    images = [(photos / path).read_bytes() for path in PATHS]
    parquet.write_table(pa.table({"image": images}), tmp_path / "t.parquet", row_group_size=5)
    places = [member.place for member in Table(tmp_path / "t.parquet").listing().members]
    assert places == [divmod(k, 5) for k in range(len(PATHS))]


def test_braces_stand_for_shards(tmp_path, photos, open_data):
    webdataset(photos, tmp_path / "shards")
    both = open_data(f"{tmp_path}/shards/pets-train-{{0000..0001}}.tar", holdout=0.0)
    assert (len(both.train), both.name) == (6, "pets-train")
    with pytest.raises(UserError, match=r"pets-train-0002\.tar is missing, and 1 more"):
        existing(f"{tmp_path}/shards/pets-{{train,test}}-{{0000..0002}}.tar")


def test_braces_in_the_name_of_a_folder_keep_its_split(tmp_path, photos, open_data):
    for split in ("test", "train"):
        (tmp_path / "d" / split).mkdir(parents=True)
        with tarfile.open(tmp_path / f"d/{split}/data.tar", "w") as tar:
            for path in (path for path in PATHS if path.startswith(split)):
                add(tar, path.removeprefix(f"{split}/"), (photos / path).read_bytes())
    folder, braces = (open_data(f"{tmp_path}/d{more}") for more in ("", "/{test,train}/data.tar"))
    assert (len(braces.train), len(braces.probe_test), braces.split) == (6, 6, "test/")
    assert torch.equal(braces.probe_test.pixels, folder.probe_test.pixels)


def test_members_of_one_name_in_many_archives_all_count(tmp_path, photos, open_data):
    for k, path in enumerate(PATHS):
        (tmp_path / f"d/{k}").mkdir(parents=True)
        with zipfile.ZipFile(tmp_path / f"d/{k}/images.zip", "w") as file:
            file.write(photos / path, "1.png")
    pixels = open_data(tmp_path / "d").train.pixels
    alone = torch.cat([open_data(photos / path.rsplit("/", 1)[0]).train.pixels for path in PATHS])
    assert len(pixels.flatten(1).unique(dim=0)) == len(pixels) == 12
    assert len(torch.cat([pixels, alone]).flatten(1).unique(dim=0)) == 12


def test_json_that_is_beside_no_image_labels_none(tmp_path, photos, open_data):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for path in PATHS:
            add(tar, path, (photos / path).read_bytes())
        add(tar, "dataset.json", b'{"label": "pets"}')
        add(tar, "train/ant/about.json", b'{"class": "ant"}')
    data = open_data(tmp_path / "a.tar")
    assert (data.classes, len(data.train), len(data.probe_test)) == (CLASSES, 6, 6)


@pytest.mark.parametrize("wrong", [False, True])
def test_maps_beside_images_without_labels_are_left_out(tmp_path, photos, open_data, wrong):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for k, path in enumerate(PATHS):
            add(tar, f"{k}.jpg" if wrong else f"{k}.png", (photos / path).read_bytes())
            add(tar, f"{k}.seg.png", (photos / path).read_bytes())
    data = open_data(tmp_path / "a.tar")
    assert len(data.train) == 12
    assert data.notes[0].startswith("left out: 12 label images")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("{0}\tcat\n{1}\tdog\n{2}\n", (1, 1, 1)),
        ("{0} 3\n{1} 12\n{2} 3\n", (2, 1, 0)),
        ("{0}\n{1}\n\n{2}\n", None),
    ],
)
def test_lists_of_text_with_and_without_labels(tmp_path, write, open_data, text, labels):
    names = ["a 1.png", "b.png", "c.png"]
    write(tmp_path, *names)
    (tmp_path / "list.lst").write_text(text.format(*names))
    data = open_data(tmp_path / "list.lst", holdout=0.0)
    assert len(data.train) == 3
    if labels == (2, 1, 0):  # numbers are sorted as numbers; one class of two, one of one image
        assert data.classes == ()
    elif labels is None:
        assert data.train.labels is None


# What is broken or meant to harm ---------------------------------------------------------------


def harmful_tar(photos, out):
    good = (photos / PATHS[0]).read_bytes()
    with tarfile.open(out, "w") as tar:
        add(tar, "good.png", good)
        add(tar, "../over.png", good)
        add(tar, "/root/over.png", good)
        add(tar, "a/../../over.png", good)
        add(tar, "link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "hard.png", type=tarfile.LNKTYPE, linkname="good.png")
        add(tar, "device.png", type=tarfile.CHRTYPE, devmajor=1, devminor=5)
        add(tar, "pipe.png", type=tarfile.FIFOTYPE)
        add(tar, ".hidden.png", good)
    return out, 4


def harmful_zip(photos, out):
    good = (photos / PATHS[0]).read_bytes()
    with zipfile.ZipFile(out, "w") as file:
        for name in ("good.png", "../over.png", "/root/over.png", "C:\\over.png", "__MACOSX/a.png"):
            file.writestr(name, good)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    return out, 1


@pytest.mark.parametrize("make", [harmful_tar, harmful_zip])
def test_paths_that_lead_out_links_and_devices_are_left_out(tmp_path, photos, open_data, make):
    out, odd = make(photos, tmp_path / f"harm.{make.__name__[-3:]}")
    data = open_data(out)
    assert len(data.train) == 1
    assert data.notes[0].startswith(
        f"left out of {out.name}: 3 members whose path leads out of it (../over.png, /root/over.png"
    )
    assert data.notes[1].split(": ")[1].startswith(f"{odd} member")
    assert not (tmp_path / "over.png").exists()


@given(st.lists(st.sampled_from(["..", ".", "a", "", "/", "\\", "C:", "ü", "b.png"]), max_size=6))
def test_a_path_that_is_taken_stays_below_any_folder(parts):
    taken = Listing().inside("/".join([*parts, "c.png"]))
    assert taken is None or os.path.normpath(os.path.join("/x/y", taken)).startswith("/x/y/")


def test_damaged_members_are_named_and_skipped(tmp_path, photos, open_data):
    archive = a_zip(photos, tmp_path / "photos.zip")
    with zipfile.ZipFile(archive) as file:
        start = file.infolist()[7].header_offset + 60
    data = bytearray(archive.read_bytes())
    data[start : start + 20] = bytes(20)
    archive.write_bytes(data)
    found = open_data(archive)
    assert len(found.train) == 5
    ((path, reason),) = found.skipped
    assert path == PATHS[7]
    assert reason
    with pytest.raises(UserError, match=f"cannot read the image {PATHS[7]}"):
        open_data(archive, on_bad_image="stop")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_tar_that_is_cut_short_is_read_as_far_as_it_goes(tmp_path, photos, open_data, pack):
    archive = plain_tar(photos, tmp_path / "photos.tar")
    whole = archive.read_bytes()
    with tarfile.open(archive) as tar:
        end = tar.getmembers()[10].offset_data + 100
    packed = pack(whole)
    archive.write_bytes(packed[: end if pack is bytes else len(packed) // 2])
    data = open_data(archive)
    if pack is bytes:
        assert data.skipped == ((PATHS[10], data.skipped[0][1]),)
        assert "cut short: 100 of" in data.skipped[0][1]
        assert len(data.train) == 4
    assert "is damaged: " in data.notes[0]


def test_a_header_in_the_middle_that_is_none_is_said(tmp_path, photos, open_data):
    archive = plain_tar(photos, tmp_path / "photos.tar")
    data = bytearray(archive.read_bytes())
    with tarfile.open(archive) as tar:
        start = tar.getmembers()[9].offset
    data[start : start + 512] = b"x" * 512
    archive.write_bytes(data)
    assert (
        open_data(archive)
        .notes[0]
        .startswith(f"photos.tar is damaged: no header after ./{PATHS[8]}")
    )


def test_a_member_that_claims_too_much_is_not_read(tmp_path, photos, open_data, monkeypatch):
    monkeypatch.setattr(members_module, "LARGEST", 5000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.write(photos / PATHS[0], "good.png")
        file.writestr("bomb.png", bytes(10**6))
    (skipped,) = open_data(tmp_path / "bomb.zip").skipped
    assert skipped == ("bomb.png", "it has 0.0 GB by what the archive says, which no image has")


def test_a_compressed_tar_that_swells_is_not_unpacked(tmp_path, photos, open_data):
    packed = gzip.compress(bytes(2**24))
    (tmp_path / "bomb.tar.gz").write_bytes(packed * 6)
    with pytest.raises(UserError, match=r"bomb\.tar\.gz unpacks to more than 200 times its size"):
        open_data(tmp_path / "bomb.tar.gz")


def rows_without_images(out):
    parquet.write_table(pa.table({"text": ["a"]}), out)


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("empty.zip", lambda p: zipfile.ZipFile(p, "w").close(), "the file is empty"),
        ("empty.tar", lambda p: tarfile.open(p, "w").close(), "the file is empty"),
        ("no.zip", lambda p: p.write_text("x"), r"cannot read .*no\.zip: File is not a zip file"),
        ("no.tar", lambda p: p.write_text("x" * 600), r"no\.tar: not a tar archive"),
        ("no.tgz", lambda p: p.write_bytes(b"\x1f\x8b" + bytes(60)), r"no\.tgz: not a tar"),
        ("no.parquet", lambda p: p.write_text("x" * 60), r"cannot read .*no\.parquet: Parquet"),
        ("text.parquet", rows_without_images, "no column of images among text"),
        ("no.arrow", lambda p: p.write_text("x" * 60), r"cannot read .*no\.arrow"),
        ("words.txt", lambda p: p.write_text("hello\n"), "names no image, its first line is 'hel"),
        ("empty.csv", lambda p: p.write_text(""), "names no image; write"),
        ("no.tar.zst", lambda p: p.write_bytes(b"\x28\xb5\x2f\xfd" * 9), r"\.zst: not a tar"),
        ("a.gz", lambda p: p.write_text("x"), "this is a file of no kind that holds images"),
        ("a.rar", lambda p: p.write_text("x"), r"a\.rar: archives of this kind are not read; unp"),
    ],
)
def test_what_holds_no_images_is_one_line(tmp_path, open_data, name, make, words):
    make(tmp_path / name)
    with pytest.raises(UserError, match=words) as error:
        open_data(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_row_that_only_has_a_path_is_not_followed(tmp_path, photos, open_data):
    rows = table(photos, "train").to_pylist()
    rows[1]["image"] = {"bytes": None, "path": str(photos / PATHS[0])}
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert open_data(tmp_path / "a.parquet").skipped == (
        ("0/a.parquet:000001.png", "its bytes are not in the table"),
    )


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("imagenet1k-validation-03.tar", "val"),
        ("ILSVRC2012_img_test.tar", "test"),
        ("photos.zip", ""),
        ("train_and_test.tar", ""),
    ],
)
def test_splits_in_names_of_files(name, split):
    assert split_in(name) == split
