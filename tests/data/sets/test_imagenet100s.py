import numpy as np
import pytest
from PIL import Image

from seamask.base.errors import UserError
from seamask.data.files.decode import square
from seamask.data.sets.imagenet100s import make_imagenet100s, wnids


@pytest.fixture
def imagenet(tmp_path, write):
    """An ImageNet folder: two images to train, one to test in each class, and a class too many."""
    root = tmp_path / "imagenet"
    for wnid in (*wnids(), "n99999999"):
        number = int(wnid[1:]) % 50000
        write(root, f"val/{wnid}/ILSVRC2012_val_{number:08d}.JPEG", size=(21, 17))
        write(root, *(f"train/{wnid}/{wnid}_{i}.JPEG" for i in (3, 10)), size=(17, 21))
    return root


def make(imagenet, out, size=12):
    return make_imagenet100s(imagenet, out, size, progress=False)


def test_the_list():
    assert len(set(wnids())) == 100
    assert all(len(wnid) == 9 and wnid[0] == "n" for wnid in wnids())


def test_made_and_read(tmp_path, imagenet, open_data):
    out = tmp_path / "made"
    made = make(imagenet, out)
    assert (made.folder, made.written, made.kept, made.skipped) == (out, 300, 0, ())
    data = open_data("imagenet100s", 12, root=str(out))
    assert (len(data.train), len(data.probe_test)) == (200, 100)
    assert data.classes == tuple(sorted(wnids()))
    path = f"train/{wnids()[0]}/{wnids()[0]}_10.JPEG"
    with Image.open(imagenet / path) as image, Image.open(out / path) as small:
        assert small.size == (12, 12)
        assert small.layer == [(i, 1, 1, q) for i, _, _, q in small.layer]  # 4:4:4
        wanted = square(image, 12).astype(int)
        assert np.abs(np.asarray(small) - wanted).mean() < 6  # quality 95 of noise


def test_it_lies_among_other_data_sets(tmp_path, imagenet, open_data):
    make(imagenet, tmp_path / "data/imagenet100s")  # where `seamask data imagenet100s` puts it
    (tmp_path / "data/cifar-10-batches-py").mkdir()
    data = open_data("imagenet100s", 12, root=str(tmp_path / "data"))
    assert (len(data.train), len(data.probe_test)) == (200, 100)


def test_goes_on_where_it_stopped(tmp_path, imagenet):
    out = tmp_path / "made"
    make(imagenet, out)
    files = sorted(out.rglob("*.JPEG"))
    times = {path: path.stat().st_mtime_ns for path in files}
    files[0].unlink()
    files[1].write_bytes(b"cut by another program")
    again = make(imagenet, out)
    assert (again.written, again.kept) == (2, 298)
    assert sorted(path for path in out.rglob("*") if path.is_file()) == files
    assert all(path.stat().st_mtime_ns == times[path] for path in files[2:])
    assert make(imagenet, out, 10).written == 300  # another size


def test_images_that_cannot_be_read_are_named(tmp_path, imagenet):
    broken = imagenet / "train" / wnids()[5] / f"{wnids()[5]}_3.JPEG"
    broken.write_bytes(b"")
    made = make(imagenet, tmp_path / "made")
    assert made.written == 299
    assert made.skipped == ((str(broken.relative_to(imagenet)), "the file is empty"),)


def test_a_png_among_the_jpegs(tmp_path, imagenet):
    folder = imagenet / "train" / wnids()[0]
    Image.new("RGBA", (20, 20)).save(folder / "odd.png")
    make(imagenet, tmp_path / "made")
    with Image.open(tmp_path / "made" / "train" / wnids()[0] / "odd.png.JPEG") as image:
        assert image.format == "JPEG"


def test_what_is_missing_is_said(tmp_path, imagenet, write):
    out = tmp_path / "made"
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        make(tmp_path / "nowhere", out)
    for inside in (imagenet, imagenet / "small", imagenet / "train" / ".." / "x"):
        with pytest.raises(UserError, match=r"--out .* lies in the ImageNet folder"):
            make(imagenet, inside)
    with pytest.raises(UserError, match=r"not an ImageNet folder, it has no train and no val fold"):
        make(imagenet / "train", out)
    for path in (imagenet / "train" / wnids()[7]).iterdir():
        path.unlink()
    (imagenet / "val").rename(imagenet / "sorted")
    (imagenet / "val").mkdir()
    with pytest.raises(UserError, match=rf"train/ has no images of 1 of the 100 .*{wnids()[7]}\);"):
        make(imagenet, out)
    write(imagenet, f"train/{wnids()[7]}/1.JPEG")
    with pytest.raises(UserError, match=r"val/ has no images of 100 of the 100 classes \(.*, …\)"):
        make(imagenet, out)
    write(imagenet, "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UserError, match=r"val/ holds images but no class folders; sort them into"):
        make(imagenet, out)
    assert not out.exists()


def test_a_folder_that_cannot_be_written(tmp_path, imagenet):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write .*file: File exists"):
        make(imagenet, tmp_path / "file")


def test_data_that_was_not_made_names_the_command(tmp_path, open_data):
    asked = r"by `seamask data imagenet100s --imagenet DIR --out .*imagenet100s`,"
    with pytest.raises(UserError, match=asked):
        open_data("imagenet100s", root=str(tmp_path))
