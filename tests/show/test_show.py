"""Figures show what they say; photos of any kind get their masks drawn."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import seamask
from command import call
from seamask.base.paths import names_apart
from seamask.cli import main
from seamask.evaluate.photos import A_SHEET, CELL, Seer
from seamask.runs import RunFolder
from seamask.show.curves import curves_figure
from seamask.show.figures import (
    GAP,
    GREY,
    KELLY,
    LEGEND,
    MARGIN,
    NAME,
    comparison_figure,
    mask_figure,
    overlaid,
    segmentation_figure,
)


def test_mask_figure_has_image_masks_and_views(tmp_path):
    images = torch.full((3, 16, 16, 3), 200, dtype=torch.uint8)
    masks = torch.zeros(3, 2, 16, 16)
    masks[:, 1, :, 8:] = 1  # the second mask removes the right half
    mask_figure(images, masks, tmp_path / "masks.png", cell=32)
    sheet = np.asarray(Image.open(tmp_path / "masks.png"))
    cell = 32 + GAP
    assert sheet.shape == (5 * cell, MARGIN + 3 * cell, 3)

    def at(row, column, x):
        return tuple(sheet[row * cell + 16, MARGIN + column * cell + x])

    for column in range(3):
        assert at(0, column, 24) == (200,) * 3
        assert at(1, column, 24) == (0,) * 3
        assert at(2, column, 8) == (0,) * 3
        assert at(2, column, 24) == (255,) * 3
        assert at(4, column, 8) == (200,) * 3
        assert at(4, column, 24) == (GREY,) * 3


def test_mask_figure_shows_the_mean_mask_beside_the_masks(tmp_path):
    images = torch.full((2, 16, 16, 3), 200, dtype=torch.uint8)
    mean = torch.stack([torch.full((16, 16), 0.2), torch.full((16, 16), 0.8)])
    mask_figure(images, torch.zeros(2, 2, 16, 16), tmp_path / "m.png", cell=32, mean=mean)
    sheet = np.asarray(Image.open(tmp_path / "m.png"))
    cell = 32 + GAP
    assert sheet.shape == (5 * cell, MARGIN + 3 * cell, 3)
    beside = MARGIN + 2 * cell + 16
    assert tuple(sheet[cell + 16, beside]) == (51,) * 3
    assert tuple(sheet[2 * cell + 16, beside]) == (204,) * 3
    assert tuple(sheet[3 * cell + 16, beside]) == (255,) * 3  # no view of a mean


def test_segmentation_figure_has_image_truth_and_prediction(tmp_path):
    images = [torch.full((3, h, w), 200, dtype=torch.uint8) for h, w in [(20, 40), (40, 20)]]
    truths = [torch.zeros(i.shape[1:], dtype=torch.uint8) for i in images]
    predictions = [torch.full_like(t, 25) for t in truths]
    truths[0][:, 20:] = 2
    truths[1][:20] = 255
    names = [f"class {k}" for k in range(30)]
    segmentation_figure(images, truths, predictions, names, tmp_path / "s.png", cell=80)
    sheet = np.asarray(Image.open(tmp_path / "s.png"))
    row = 80 + GAP
    second = MARGIN + 160 + GAP
    assert sheet.shape[1] == second + 40 + GAP

    def at(y, x):
        return bytes(sheet[y, x]).hex().upper()

    assert at(40, MARGIN + 80) == at(40, second + 20) == "C8C8C8"
    assert at(row + 40, MARGIN + 10) == KELLY[0]
    assert at(row + 40, MARGIN + 150) == KELLY[2]
    assert at(row + 10, second + 20) == "FFFFFF"  # void
    assert at(row + 70, second + 20) == KELLY[0]
    assert at(2 * row + 40, MARGIN + 80) == at(2 * row + 40, second + 20) == KELLY[25 - 21]
    lines = (sheet.shape[0] - 3 * row - GAP) / LEGEND  # classes 0, 2 and 25, void: too wide for one
    assert lines >= 2
    shown = {at(3 * row + GAP + 4 + line * LEGEND, MARGIN + 4) for line in range(int(lines))}
    assert KELLY[0] in shown


def test_comparison_figure_has_a_row_an_image_and_a_column_a_method(tmp_path):
    def flat(value, *size):
        return np.full((*size, 3), value, np.uint8)

    rows = {"best": [flat(10, 8, 8), flat(90, 30, 60)], "worst": [flat(50, 8, 8), flat(200, 99, 9)]}
    captions = {"best": ["", "0.9"], "worst": ["", ""]}
    comparison_figure(rows, ["image", "mask"], captions, tmp_path / "c.png", cell=32)
    sheet = np.asarray(Image.open(tmp_path / "c.png"))
    step = 32 + GAP
    assert sheet.shape == (LEGEND + 2 * step, MARGIN + 2 * step, 3)
    shown = [
        [sheet[LEGEND + y * step + 4, MARGIN + x * step + 4, 0] for x in range(2)] for y in range(2)
    ]
    assert shown == [[10, 90], [50, 200]]


def test_colours_differ():
    colours = np.array([tuple(bytes.fromhex(c)) for c in (*KELLY, "FFFFFF")], float)
    distance = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert distance[~np.eye(len(colours), dtype=bool)].min() > 10


def test_curves_figure(tmp_path):
    curves_figure([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    lines = [
        {"epoch": 1, "step": s, "loss/encoder": 1 / s, "images_per_second": 9.0}
        for s in range(1, 30)
    ]
    curves_figure(lines, tmp_path / "curves.png")
    assert np.asarray(Image.open(tmp_path / "curves.png")).shape[1] > 500


def test_curves_of_two_points_and_penalties_that_are_not_paid_are_not_drawn(tmp_path):
    def height(lines, paid=None):
        curves_figure(lines, tmp_path / "c.png", paid)
        return np.asarray(Image.open(tmp_path / "c.png")).shape[0]

    def line(step, **more):
        return {"epoch": 1, "step": step, "loss/encoder": 1.0, "lr/encoder": 0.1, **more}

    alone = height([line(s) for s in range(9)])
    probed = [line(s, **({"probe/knn": 50.0} if s % 4 == 0 else {})) for s in range(8)]
    assert height(probed) == alone
    paying = [line(s, **{"penalty/budget": 0.1}) for s in range(9)]
    assert height(paying, paid=["overlap"]) == alone
    assert height(paying, paid=["budget"]) > alone


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    out = tmp_path_factory.mktemp("runs") / "run"
    seamask.pretrain(
        out=out, epochs=1, batch_size=8, image_size=32, device="cpu", threads=1,
        **{"data.cache": str(cache), "data.shapes_train": 16, "data.shapes_test": 8},
    )  # fmt: skip
    return out


def test_masks_of_photos_of_every_kind(run, tmp_path, capsys):
    draw = np.random.default_rng(0)
    grey = draw.integers(0, 65536, (50, 70)).astype(np.uint16)
    colour = Image.fromarray(draw.integers(0, 256, (90, 40, 3), dtype=np.uint8))
    photos = {
        "a.jpg": colour, "b.png": colour.convert("RGBA"), "c.png": Image.fromarray(grey),
        "d.gif": colour.convert("P"), "e.jpg": colour.convert("CMYK"), "f.png": colour.convert("1"),
    }  # fmt: skip
    for name, photo in photos.items():
        photo.save(tmp_path / name)
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "masks",
                str(run),
                *(str(tmp_path / n) for n in photos),
                "--out",
                str(tmp_path / "m.png"),
            ]
        )
    assert stop.value.code == 0
    assert str(tmp_path / "m.png") in capsys.readouterr().out
    assert np.asarray(Image.open(tmp_path / "m.png")).shape[1] > len(photos) * 100


def test_masks_of_a_folder_go_on_sheets(run, photos, tmp_path, capsys):
    assert call("masks", run, photos, "--out", tmp_path / "m.png") == 0
    said = capsys.readouterr()
    assert said.err == f"skipped {photos}/broken.png: not an image, or of an unknown format\n"
    assert said.out.startswith(f"wrote 2 sheets to {tmp_path / 'm'}: rows are")
    sheets = [tmp_path / "m/sheet-01.png", tmp_path / "m/sheet-02.png"]
    width = [np.asarray(Image.open(sheet)).shape[1] for sheet in sheets]
    assert width == [MARGIN + A_SHEET * (CELL + GAP), MARGIN + CELL + GAP]
    assert sorted((tmp_path / "m").iterdir()) == sheets


def test_two_runs_beside_each_other(run, photos, tmp_path):
    photo = photos / "deep/0.png"
    for runs, masks in ((run,), 3), ((run, run), 6):
        assert call("masks", *runs, photo, "--out", tmp_path / "m.png") == 0
        assert np.asarray(Image.open(tmp_path / "m.png")).shape[0] == (1 + 2 * masks) * (CELL + GAP)


def test_overlays_of_runs_are_a_picture_each(run, photos, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "other")
    words = [run, tmp_path / "other", photos, "--overlay", "--out", tmp_path / "m"]
    assert call("masks", *words) == 0
    assert "2 sheets" in (said := capsys.readouterr().out)
    assert "a row an image" in said
    sheets = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "m").iterdir())]
    step = CELL + GAP
    assert [s.shape[:2] for s in sheets] == [
        (LEGEND + n * step, MARGIN + 3 * step) for n in (A_SHEET, 1)
    ]
    left, *laid = (sheets[1][LEGEND:-40, MARGIN + x * step :][:, :CELL] for x in range(3))
    seer = Seer(run)
    picture = seer.read(photos / "deep/8.png", CELL)
    assert np.array_equal(left, picture[: len(left)])
    assert np.array_equal(*laid)  # of the same run
    masks = seer.masks([seer.read(photos / "deep/8.png")])
    masks = F.interpolate(masks.float(), (CELL, CELL), mode="bilinear").clamp(0, 1)[0]
    shade = (masks * 255).round().byte().numpy()
    assert np.array_equal(laid[0], overlaid(left, shade[:, : len(left)]))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for k in range(A_SHEET + 1):
        noise = draw.integers(0, 256, (30, 50 + k, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "deep" / f"{k}.png")
    (folder / "broken.png").write_text("hello")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_masks_of_every_image_of_a_folder(run, photos, tmp_path, capsys):
    def write(out, *more):
        assert call("masks", run, "--data", photos, "--out", tmp_path / out, *more) == 0
        return capsys.readouterr()

    said = write("soft", "--overlay")
    assert said.err == f"skipped {photos}/broken.png: not an image, or of an unknown format\n"
    assert said.out == f"{tmp_path}/soft: masks of 9 images\n"
    ends = ("mask1", "mask2", "mask3", "overlay")
    files = {f"deep/{k}.{end}.png" for k in range(9) for end in ends}
    found = (str(f.relative_to(tmp_path / "soft")) for f in (tmp_path / "soft").rglob("*.png"))
    assert set(found) == files
    soft = np.stack(
        [np.asarray(Image.open(tmp_path / f"soft/deep/8.mask{k}.png")) for k in (1, 2, 3)]
    )
    assert soft.shape == (3, 30, 58)
    assert not soft[:, :, :14].any()
    assert not soft[:, :, 44:].any()
    assert soft[:, :, 14:44].all()  # masks of a network that is hardly trained are grey
    write("hard", "--hard")
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "hard/deep/8.mask2.png")), 255 * (soft[1] >= 128)
    )
    write("labels", "--labels")
    labels = np.asarray(Image.open(tmp_path / "labels/deep/8.png"))
    clear = np.diff(np.sort(soft, axis=0)[-2:], axis=0)[0] > 1
    assert np.array_equal(labels[clear], ((soft.argmax(0) + 1) * (soft.max(0) >= 128))[clear])
    write("npz", "--format", "npz")
    assert np.array_equal(np.load(tmp_path / "npz/deep/8.npz")["masks"], soft)


def test_masks_of_a_folder_go_on_where_they_were(run, photos, tmp_path, capsys):
    out = tmp_path / "out"
    asked = "masks", run, "--data", photos, "--out", out
    assert call(*asked) == 0
    kept, lost = out / "deep/0.mask1.png", out / "deep/1.mask2.png"
    before, made = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    capsys.readouterr()
    assert call(*asked) == 0
    assert capsys.readouterr().out == f"{out}: masks of 9 images, 8 of them before\n"
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == made
    (tmp_path / "empty").mkdir()
    (tmp_path / "alike").mkdir()
    for end in ("jpg", "png"):
        (tmp_path / f"alike/1.{end}").touch()
    for changed, said in (
        (("--hard",), f"--out {out}: holds masks of another run or with other options"),
        (("--out", run), f"--out {run}: holds other files"),
        (("--out", photos / "deep"), "lies inside --data"),
        (("--data", tmp_path / "alike"), "1.jpg and 1.png differ only in their suffix"),
        (("--data", tmp_path / "empty"), "no images in this folder"),
        (("--data", photos / "deep/1.png"), "is no folder of images"),
        (("--hard", "--labels"), "exclude each other"),
    ):
        assert call(*asked, *changed) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_masks_that_are_drawn_are_shown_and_no_masks_are_not(tiny, tmp_path, capsys):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    for masker in ("random-block", "none"):
        seamask.pretrain(out=tmp_path / masker, masker=masker, **tiny | {"epochs": 1})
    sheet = tmp_path / "m.png"
    asked = tmp_path / "red.png", "--out", sheet
    capsys.readouterr()
    assert call("masks", tmp_path / "random-block", *asked) == 0
    view = np.asarray(Image.open(sheet))[-CELL - GAP : -GAP, -CELL - GAP : -GAP]
    mean = RunFolder(tmp_path / "random-block").read_normalization().mean
    assert 0.1 < (view == np.round(np.multiply(mean, 255))).all(-1).mean() < 0.3
    assert call("masks", tmp_path / "none", *asked) == 2
    said = capsys.readouterr().err
    assert said == (
        f"seamask: error: {tmp_path / 'none'} has no masks: it was trained with --masker none\n"
    )


@pytest.mark.parametrize("bad", ["missing.jpg", "empty.jpg", "text.jpg"])
def test_a_photo_that_cannot_be_read(run, tmp_path, capsys, bad):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(SystemExit) as stop:
        main(["masks", str(run), str(tmp_path / bad), "--out", str(tmp_path / "m.png")])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("seamask: error:")
    assert bad in said
    assert said.count("\n") == 1
    assert not (tmp_path / "m.png").exists()


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (["runs/mine"], ["mine"]),
        (["adios", "ours"], ["adios", "ours"]),
        (["studies/t/ours/seed0", "studies/t/theirs/seed0"], ["ours", "theirs"]),
        (["masker-rate-x-3/seed0", "masker-rate-x-10/seed0"], ["seed0 (1)", "seed0 (2)"]),  # 13
        (["a/seed0", "a/seed1", "b/seed1"], ["seed0", "seed1 (1)", "seed1 (2)"]),
    ],
)
def test_runs_are_named_by_what_tells_them_apart(runs, names):
    assert names_apart(runs, NAME) == names
