"""VOC 2007 and 2012 trainval with boxes, in the layout of their archives and of torchvision."""

import hashlib
import shutil
import tarfile

import numpy as np
import pytest
import torchvision.datasets.voc
from PIL import Image

from seamask.base.errors import UserError
from seamask.data.sets.voc_boxes import read_boxes

# As published, but for what is cut: the second object is difficult and has parts of its own.
XML = """<annotation>
\t<folder>VOC{year}</folder>
\t<filename>{name}.jpg</filename>
\t<size>
\t\t<width>30</width>
\t\t<height>20</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
\t<object>
\t\t<name>chair</name>
\t\t<pose>Rear</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>3</xmin>
\t\t\t<ymin>2</ymin>
\t\t\t<xmax>10</xmax>
\t\t\t<ymax>20</ymax>
\t\t</bndbox>
\t</object>
\t<object>
\t\t<name>person</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>1</truncated>
\t\t<difficult>1</difficult>
\t\t<bndbox>
\t\t\t<xmax>30</xmax>
\t\t\t<xmin>12.4000001</xmin>
\t\t\t<ymax>20</ymax>
\t\t\t<ymin>1</ymin>
\t\t</bndbox>
\t\t<part>
\t\t\t<name>head</name>
\t\t\t<bndbox><xmin>13</xmin><ymin>1</ymin><xmax>15</xmax><ymax>4</ymax></bndbox>
\t\t</part>
\t</object>
</annotation>
"""
BOXES = [[2, 1, 10, 20], [11, 0, 30, 20]]
NAMES = {"2007": ["000005", "000012"], "2012": ["2008_000002", "2011_003276"]}


@pytest.fixture
def tree(tmp_path, write):
    """Write a year below `tmp_path`, as its archive unpacks; return its folder."""

    def _tree(year):
        folder = tmp_path / "VOCdevkit" / f"VOC{year}"
        for name in [*NAMES[year], "other"]:
            write(folder, f"JPEGImages/{name}.jpg", size=(30, 20))
            (folder / "Annotations").mkdir(exist_ok=True)
            (folder / f"Annotations/{name}.xml").write_text(XML.format(year=year, name=name))
        lists = folder / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        (lists / "trainval.txt").write_text("".join(f"{name}\n" for name in NAMES[year]))
        return folder

    return _tree


@pytest.mark.parametrize("year", ["2007", "2012"])
def test_published_trees(tree, tmp_path, open_data, year):
    folder = tree(year)
    data = open_data(f"voc{year}-trainval", root=str(tmp_path))
    assert (data.name, len(data.train), data.probe_test) == (f"voc{year}-trainval", 2, None)
    assert len(data.whole) == 2
    for number, name in enumerate(NAMES[year]):
        whole = data.whole.read(number)
        with Image.open(folder / f"JPEGImages/{name}.jpg") as image:
            np.testing.assert_array_equal(whole.pixels, np.asarray(image))
        assert whole.objects is None
        assert whole.boxes.tolist() == BOXES
    path = folder / f"Annotations/{NAMES[year][0]}.xml"
    path.write_text(path.read_text().replace("<xmin>3<", "<xmin>4<"))
    moved = open_data(f"voc{year}-trainval", root=str(tmp_path))
    assert moved.fingerprint != data.fingerprint


def test_the_archive_is_downloaded_and_checked(tree, tmp_path, server, monkeypatch, open_data):
    shutil.move(tree("2007").parent, tmp_path / "elsewhere")
    served, address = server
    year = torchvision.datasets.voc.DATASET_YEAR_DICT["2007"]
    monkeypatch.setitem(year, "url", f"{address}/{year['filename']}")
    with pytest.raises(UserError, match=rf"--data voc2007-trainval: .* put {address}/.* there as"):
        open_data("voc2007-trainval", root=str(tmp_path))
    with tarfile.open(served / year["filename"], "w") as tar:
        tar.add(tmp_path / "elsewhere", "VOCdevkit")
    digest = hashlib.md5((served / year["filename"]).read_bytes()).hexdigest()
    monkeypatch.setitem(year, "md5", digest)
    assert len(open_data("voc2007-trainval", root=str(tmp_path)).whole) == 2


def test_what_is_not_whole_or_no_annotation_is_named(tree, tmp_path, monkeypatch, open_data):
    monkeypatch.setitem(
        torchvision.datasets.voc.DATASET_YEAR_DICT["2007"], "url", "http://127.0.0.1:9/gone.tar"
    )
    folder = tree("2007")
    path = folder / "Annotations/000012.xml"
    path.unlink()
    with pytest.raises(UserError, match=r"Annotations/000012.xml is missing"):
        open_data("voc2007-trainval", root=str(tmp_path))
    for text in ("no xml", XML.replace("<xmin>3</xmin>", ""), XML.replace(">3<", ">inf<")):
        path.write_text(text)
        with pytest.raises(UserError, match=r"000012.xml: no annotation of Pascal VOC"):
            read_boxes(path)
    path.write_text("<annotation></annotation>")
    assert read_boxes(path).shape == (0, 4)
