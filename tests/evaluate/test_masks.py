"""Masks are measured beside their rivals, on squares, whole images and boxes."""

import numpy as np
import pytest
import torch
from PIL import Image

from seamask.base.errors import UserError
from seamask.evaluate import board, evaluate
from seamask.evaluate.board import RIVALS
from seamask.evaluate.masks import FOLLOWING, statistics
from seamask.evaluate.saliency import MEASURES
from seamask.terminal import print_result


def test_statistics_by_hand():
    masks = torch.zeros(2, 2, 2, 2)
    masks[0, 0] = 1
    masks[0, 1, 0, 0] = 0.6
    masks[1, 1, 0] = 0.5
    found = statistics(masks, threshold=0.5, empty=0.3)
    assert found == {
        "coverage_1": 0.5,
        "coverage_2": pytest.approx((0.6 + 1.0) / 8),
        "empty": 0.5,  # mask 2 of image 1 removes a quarter, mask 1 of image 2 nothing
        "binary": pytest.approx(13 / 16),
        "overlap": pytest.approx(1 / 6),
        # Mask 1 is all or nothing: all comes from the image. Of mask 2 the sample variance over
        # images is 0.13 / 4 = 0.0325; that of its mean over places 0.05125, less half of the
        # former.
        "from_image": pytest.approx((1 + 0.0325 / (0.0325 + 0.05125 - 0.0275 / 2)) / 2),
        "rank": pytest.approx(1.0),  # two images differ in one way
    }


MAPS = [rival for rival in RIVALS if rival != "oracle"]  # of all masks the best is no rival


def test_scenes_are_measured_beside_all_rivals_by_a_rule_fixed_on_training_images(
    run, monkeypatch, capsys
):
    monkeypatch.setattr(board, "RULED", 8)
    result = evaluate(run, "masks", threads=1)
    found = result.metrics
    assert next(iter(found)) == "iou"
    names = {*FOLLOWING, *MEASURES, *(f"{m}_{rival}" for m in MEASURES for rival in RIVALS)}
    names |= {f"{measure}_{rival}" for measure in FOLLOWING for rival in MAPS}
    assert names <= set(found)
    for measure in ("saliency_iou", "max_f_image", "pixel_accuracy"):
        assert 0 < found[f"{measure}_colour"] <= 1
    assert found["saliency_iou_oracle"] >= found["saliency_iou"]
    assert found["max_f_image"] >= found["max_f_curve"]
    assert result.notes[-1].startswith("one map an image, the best on 8 training images: masks: ")
    print_result(result)
    lines = capsys.readouterr().out.splitlines()
    head = next(line for line in lines if "activation" in line)
    row = next(line for line in lines if line.startswith("iou "))
    value = f"{found['iou_centre']:.4g}"
    assert row.index(value) + len(value) == head.index("centre") + len("centre")


@pytest.fixture
def folder(tmp_path):
    """A folder in Pascal VOC layout of two wide images, the second one's label image broken."""
    objects = np.zeros((20, 60), np.uint8)  # what a square cuts off is measured, too
    objects[4:18, 2:12], objects[:, 30:33], objects[10:12, 44:58] = 1, 255, 2
    draw = np.random.default_rng(0)
    for part in ("JPEGImages", "SegmentationObject"):
        (tmp_path / "voc" / part).mkdir(parents=True)
    for name in "ab":
        noise = draw.integers(0, 256, (20, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"voc/JPEGImages/{name}.png")
        Image.fromarray(objects).save(tmp_path / f"voc/SegmentationObject/{name}.png")
    (tmp_path / "voc/SegmentationObject/b.png").write_bytes(b"broken")
    return tmp_path / "voc"


@pytest.fixture
def measure(run, folder, cache, tmp_path):
    """Evaluate the masks of a run on `folder`."""
    common = {"data": str(folder), "data.cache": str(cache), "out": str(tmp_path), "threads": 1}
    return lambda **settings: evaluate(run, "masks", **common | settings)


def test_files_are_measured_whole_and_at_their_own_sizes(measure, folder):
    result = measure()
    assert [path for path, _ in result.skipped] == ["JPEGImages/b.png"]
    assert result.notes[-1] == "one map an image: the mask that touches the border least"
    objects = np.asarray(Image.open(folder / "SegmentationObject/a.png"))
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in objects.shape)
    prior, counted = np.exp(-8 * (y[:, None] ** 2 + x**2)) >= 0.5, objects != 255
    prior, truth = prior & counted, (objects > 0) & counted
    iou = (prior & truth).sum() / (prior | truth).sum()
    assert result.metrics["saliency_iou_centre"] == pytest.approx(iou, abs=0.01)
    assert result.metrics["corloc_centre"] == 0


def test_a_rule_that_is_given_is_kept_to_and_part_of_the_protocol(measure):
    first, union = (measure(rule=rule, threshold=0.4) for rule in ("1", "union"))
    assert first.column != union.column
    assert first.notes[-1] == "one map an image: mask 1"
    assert first.metrics["mae"] != union.metrics["mae"]
    for same in ("coverage_1", "mae_activation"):
        assert first.metrics[same] == union.metrics[same]
    with pytest.raises(UserError, match=r"--rule 3: an image has 2 masks"):
        measure(rule="3")


def test_boxes_alone_are_localised_beside_what_is_published(run, cache, tmp_path, capsys):
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    sides = {"xmin": 14, "ymin": 9, "xmax": 35, "ymax": 23}  # about where the centre prior is
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides.items())
    for name in ("000005", "000012"):
        Image.new("RGB", (48, 32), "red").save(folder / f"JPEGImages/{name}.jpg")
        (folder / f"Annotations/{name}.xml").write_text(
            f"<annotation><object><bndbox>{box}</bndbox></object></annotation>"
        )
    (folder / "Annotations/000012.xml").write_text("<annotation></annotation>")  # counts nowhere
    (folder / "ImageSets/Main/trainval.txt").write_text("000005\n000012\n")
    result = evaluate(
        run, "masks", data="voc2007-trainval", threads=1, out=str(tmp_path / "out"),
        **{"data.root": str(tmp_path), "data.cache": str(cache)},
    )  # fmt: skip
    assert result.metrics["corloc_centre"] == 1
    assert not {"iou", "saliency_iou", "mae"} & set(result.metrics)
    assert {"corloc", "corloc_oracle", "coverage_1"} <= set(result.metrics)
    assert any("LOST (ResNet-50 of DINO) corloc 0.368 [" in note for note in result.notes)
    print_result(result)
    assert "published: LOST" in capsys.readouterr().out
