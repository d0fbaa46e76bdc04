import errno
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from seamask.base.errors import UserError
from seamask.data import read_image
from seamask.data.files import decode, depth
from seamask.data.files.decode import opened, read_square, square, square_map

RED = (200, 30, 40)


@pytest.fixture
def write_png16():
    """Write a PNG of 16 bits a value, `[H, W]` or `[H, W, 2 to 4]`, which Pillow cannot."""

    def _write(path, values):
        height, width = values.shape[:2]
        colour = {1: 0, 2: 4, 3: 2, 4: 6}[values[0, 0].size]
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

        def part(name, data):
            checked = name + data
            return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

        head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
        parts = [part(b"IHDR", head), part(b"IDAT", zlib.compress(rows)), part(b"IEND", b"")]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))

    return _write


def solid(mode="RGB", size=(20, 16), colour=RED):
    return Image.new("RGB", size, colour).convert(mode)


def pixel(path):
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)[5, 5]


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGB", "a.png"), ("RGB", "a.jpg"), ("RGB", "a.JPEG"), ("RGB", "a.bmp"), ("RGB", "a.webp"),
        ("RGB", "a.tiff"), ("RGB", "a.ppm"), ("P", "a.gif"), ("P", "a.png"), ("RGBA", "a.png"),
        ("CMYK", "a.jpg"), ("CMYK", "a.tif"), ("YCbCr", "a.jpg"), ("RGBA", "a.webp"),
    ],
)  # fmt: skip
def test_colour_modes_keep_their_colour(tmp_path, mode, name):
    solid(mode).save(tmp_path / name)
    assert np.abs(pixel(tmp_path / name).astype(int) - RED).max() <= 45  # palettes


@pytest.mark.parametrize(("mode", "value"), [("L", 100), ("1", 255)])
def test_grey_modes(tmp_path, mode, value):
    Image.new(mode, (20, 16), value).save(tmp_path / "a.png")
    assert pixel(tmp_path / "a.png").tolist() == [value] * 3


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_is_scaled(tmp_path, name):
    Image.fromarray(np.full((16, 20), 257 * 100, np.uint16)).save(tmp_path / name)
    assert pixel(tmp_path / name).tolist() == [100] * 3


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("shape", [(16, 20), (16, 20, 3), (16, 20, 4)])
def test_fewer_bits_in_16_are_scaled_by_those_that_are_used(tmp_path, write_png16, bits, shape):
    values = np.random.default_rng(0).integers(0, 2**bits, shape)
    values.flat[0] = 2**bits - 1
    if shape[-1] == 4:
        values[..., 3] = 2**bits - 1  # opaque
    write_png16(tmp_path / "a.png", values)
    seen = np.asarray(read_image(tmp_path / "a.png")).astype(int)
    wanted = values[..., :3] if len(shape) == 3 else np.repeat(values[..., None], 3, -1)
    assert np.abs(seen - wanted * (255 / (2**bits - 1))).max() <= 1


def test_16_bit_colours_in_tiffs(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (16, 20, 3)).astype(np.uint16)
    for compression in (None, "zlib"):
        for order in "<>":
            tifffile.imwrite(
                tmp_path / "a.tif", values, photometric="rgb", compression=compression,
                byteorder=order,
            )  # fmt: skip
            seen = np.asarray(read_image(tmp_path / "a.tif")).astype(int)
            assert np.abs(seen - values * (255 / 4095)).max() <= 1, (compression, order)


def test_16_bit_grey_with_transparency(tmp_path, write_png16):
    values = np.random.default_rng(0).integers(0, 4096, (16, 20, 2))
    values[..., 1] = 4095
    write_png16(tmp_path / "a.png", values)
    seen = np.asarray(read_image(tmp_path / "a.png")).astype(int)
    assert np.abs(seen - values[..., :1] * (255 / 4095)).max() <= 1


@pytest.mark.parametrize("nodata", [-9999, -3.4e38, 1e20, np.nan, np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_value_for_no_data_whitens_nothing(tmp_path, nodata, kind):
    values = np.random.default_rng(0).random((16, 20)).astype(kind)
    wanted = np.round(values * 255)
    values[0, 0] = nodata
    tifffile.imwrite(tmp_path / "a.tif", values)
    seen = np.asarray(read_image(tmp_path / "a.tif"))[..., 0]
    assert np.abs(seen.astype(int) - wanted)[1:].max() <= 1
    assert seen[0, 0] == (255 if nodata > 0 else 0)


def test_the_value_that_a_geotiff_names_for_no_data(tmp_path):
    values = np.linspace(200, 3000, 320, dtype=np.int32).reshape(16, 20)
    values[0, :5] = 65535
    extra = [(42113, "s", 0, "65535", True)]
    tifffile.imwrite(tmp_path / "a.tif", values.astype(np.uint16), extratags=extra)
    seen = np.asarray(read_image(tmp_path / "a.tif"))[..., 0].astype(int)
    assert np.abs(seen - values * (255 / 4095))[1:].max() <= 1


@pytest.mark.parametrize("told", ["nan", "-1.7976931348623157e+308"])
def test_no_data_that_is_no_number_is_no_number_of_a_range(tmp_path, open_data, told):
    values = np.linspace(0, 100, 320, dtype=np.float32).reshape(16, 20)
    values[0, 0] = -np.inf if told.startswith("-") else np.nan
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(42113, "s", 0, told, True)])
    data = open_data(tmp_path, cache=str(tmp_path / ".cache"))
    low, *rest = data.ranges["float"].plain()
    assert (round(low, 1), *rest) == (0.3, 100)


@pytest.mark.parametrize(("kind", "top", "name"), [
    (np.float32, 1, "float colour"), (np.float64, 4000, "float colour"),
    (np.uint16, 4095, "16-bit colour"), (np.uint32, 4095, "32-bit colour"),
])  # fmt: skip
@pytest.mark.parametrize("planes", [False, True])
def test_colours_that_pillow_has_no_mode_for(tmp_path, open_data, kind, top, name, planes):
    values = np.random.default_rng(0).random((2, 16, 16, 3))
    values[0, 0, 0], values[0, 0, 1], values[1] = 0, 1, values[1] / 4
    how = {"photometric": "rgb", "planarconfig": "separate" if planes else "contig"}
    for k, image in enumerate(values):
        stored = np.moveaxis(image, 2, 0) if planes else image
        tifffile.imwrite(tmp_path / f"{k}.tif", (stored * top).astype(kind), **how)
    data = open_data(tmp_path, cache=str(tmp_path / ".cache"))
    assert data.ranges[name].plain() == [0, top]  # of both images together
    wanted = np.round(values * 255)
    assert np.abs(data.train.pixels.numpy().astype(int) - wanted).max() <= 1


def test_a_data_set_has_one_range(tmp_path, open_data):
    dark, light = (np.full((16, 16), value, np.uint16) for value in (400, 4095))
    for name, values in (("dark", dark), ("light", light)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    data = open_data(tmp_path, cache=str(tmp_path / ".cache"))
    assert [int(image.max()) for image in data.train.pixels] == [25, 255]
    assert data.ranges["16-bit grey"].plain() == [0, 4095]
    assert data.notes == ("16-bit grey images: 0 is shown black and 4,095 white",)


def test_tiffs_that_are_no_single_picture_are_named(tmp_path):
    def reason(values, **how):
        tifffile.imwrite(tmp_path / "a.tif", values, **how)
        with pytest.raises(UserError) as error:
            read_image(tmp_path / "a.tif")
        return str(error.value)

    grey = {"photometric": "minisblack"}
    stack = np.zeros((5, 16, 20), np.uint16)
    assert "a stack of 5 pages of 20×16 pixels; save each" in reason(stack, **grey)
    bands = reason(stack[:4], planarconfig="separate", **grey)
    assert "a TIFF of 1 page of 4×16×20 values of type uint16; save it with 8 or 16" in bands
    colour = reason(np.zeros((16, 20, 3), np.complex64), photometric="rgb")
    assert "16×20×3 values of type complex64" in colour


def test_tiffs_of_more_bands_are_read_and_said(tmp_path, open_data):
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 5)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "five.tif", values, photometric="rgb")
    tifffile.imwrite(
        tmp_path / "four.tif", values[..., :4], photometric="rgb", extrasamples=["unspecified"]
    )
    data = open_data(tmp_path, cache=str(tmp_path / ".cache"))
    for image in data.train.pixels.numpy():
        np.testing.assert_array_equal(image, values[..., :3])
    said = "2 × TIFF of more than three bands: the first three are red, green and blue"
    assert data.notes == (said,)


def test_exact_jpegs_are_resized_from_their_full_size(tmp_path, open_data):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    cache = str(tmp_path / ".cache")
    fast, exact = (open_data(tmp_path, cache=cache, jpeg=jpeg) for jpeg in ("fast", "exact"))
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(exact.train.pixels[0], square(image, 16))
    assert fast.fingerprint != exact.fingerprint
    assert not torch.equal(fast.train.pixels, exact.train.pixels)


def test_float_and_32_bit_grey(tmp_path):
    Image.fromarray(np.full((16, 20), 0.5, np.float32)).save(tmp_path / "unit.tif")
    assert pixel(tmp_path / "unit.tif").tolist() == [128] * 3
    ramp = np.linspace(-1000, 1e6, 320).reshape(16, 20)
    for kind in (np.float32, np.int32):
        Image.fromarray(ramp.astype(kind)).save(tmp_path / "ramp.tif")
        values = np.asarray(read_image(tmp_path / "ramp.tif"))
        assert (values.min(), values.max()) == (0, 255)


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (20, 16), (0, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("LA", (20, 16), (0, 0)).save(tmp_path / "b.png")
    palette = solid().quantize(2)
    palette.save(tmp_path / "c.png", transparency=palette.getpixel((5, 5)))
    palette.save(tmp_path / "d.gif", transparency=palette.getpixel((5, 5)))
    Image.new("RGB", (20, 16), RED).save(tmp_path / "e.png", transparency=RED)
    for path in sorted(tmp_path.iterdir()):
        assert pixel(path).tolist() == [255] * 3, path
    Image.new("RGBA", (20, 16), (0, 0, 0, 128)).save(tmp_path / "half.png")
    assert pixel(tmp_path / "half.png").tolist() == [127] * 3


def test_animations_give_their_first_frame(tmp_path):
    frames = [solid(colour=c) for c in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pixel(tmp_path / "a.gif").tolist() == [255, 0, 0]


def test_camera_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    solid(size=(40, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").size == (20, 40)


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "I;16"])
def test_tiffs_that_are_not_compressed_are_turned_too(tmp_path, mode, turned):
    upright = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    upright = np.asarray(Image.fromarray(upright).convert("RGB" if mode == "I;16" else mode))
    if mode == "I;16":
        upright = upright[..., 0].astype(np.uint16) * 257
    back = {6: 8, 8: 6}.get(turned, turned)  # the turn that undoes it
    stored = Image.fromarray(upright, None if mode == "I;16" else mode)
    stored = stored.transpose(decode.TURNS[back]) if back in decode.TURNS else stored
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(upright, None if mode == "I;16" else mode).save(tmp_path / "as-is.tif")
    stored.save(tmp_path / "turned.tif", exif=exif)
    as_is, seen = (np.asarray(read_image(tmp_path / f"{n}.tif")) for n in ("as-is", "turned"))
    assert np.array_equal(as_is, seen)
    with open(tmp_path / "turned.tif", "rb") as file, opened(file) as image:
        assert np.array_equal(np.asarray(image), seen)


def test_tiffs_that_pillow_does_not_read_are_turned_too(tmp_path):
    values = np.random.default_rng(0).random((12, 20, 3), np.float32)
    for name, turned, stored in ("a", 1, values), ("b", 3, values[::-1, ::-1]):
        tags = [(274, "H", 1, turned, True)]
        tifffile.imwrite(tmp_path / f"{name}.tif", stored, photometric="rgb", extratags=tags)
    # As if they said nothing:
    odd = {"c": (274, "H", 2, (3, 1), True), "d": (274, "s", 0, "upright", True)}
    for name, tag in odd.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric="rgb", extratags=[tag])
    a, *others = (np.asarray(read_image(tmp_path / f"{name}.tif")) for name in "abcd")
    assert all(np.array_equal(a, other) for other in others)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("codec", [None, "zlib"])
def test_of_any_depth_0_is_white_where_a_tiff_says_so(tmp_path, kind, codec):
    ramp = np.linspace(0, 255, 320).reshape(16, 20).astype(kind)
    for name, how in ("black", "minisblack"), ("white", "miniswhite"):
        tifffile.imwrite(tmp_path / f"{name}.tif", ramp, photometric=how, compression=codec)
    black, white = (np.asarray(read_image(tmp_path / f"{n}.tif")) for n in ("black", "white"))
    assert black[0, 0, 0] == 0
    assert np.abs(255 - black.astype(int) - white).max() <= (kind in (np.float32, np.float64))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".planes.tif"])
def test_deep_colours_in_an_archive_are_those_of_the_folder(
    tmp_path, write_png16, open_data, suffix
):
    (tmp_path / "d").mkdir()
    for k, values in enumerate(np.random.default_rng(0).integers(0, 4096, (4, 16, 16, 3))):
        if suffix == ".png":
            write_png16(tmp_path / f"d/{k}.png", values)
        else:
            pixels, how = values.astype(np.uint16), {"planarconfig": "contig"}
            if "planes" in suffix:
                pixels, how = np.moveaxis(pixels, 2, 0), {"planarconfig": "separate"}
            how |= {"photometric": "rgb", "compression": "zlib"}
            tifffile.imwrite(tmp_path / f"d/{k}.tif", pixels, **how)
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as file:
        for path in sorted((tmp_path / "d").iterdir()):
            file.write(path, path.name)
    folder, archive = open_data(tmp_path / "d"), open_data(tmp_path / "d.zip")
    assert (folder.ranges, archive.skipped) == (archive.ranges, ())
    assert folder.ranges["16-bit colour"].high == 4095
    assert len(folder.train) == 4
    assert torch.equal(folder.train.pixels, archive.train.pixels)


def test_16_bits_under_a_name_of_8_are_named(tmp_path, open_data):
    for name, top in (("a.png", 200), ("b.png", 4000), ("c.jpg", 4000)):
        pixels = Image.fromarray(np.full((16, 16), top, np.uint16))
        pixels.save(tmp_path / name, format="PNG")
    data = open_data(tmp_path, cache=str(tmp_path / ".cache"))
    assert [int(image.max()) for image in data.train.pixels] == [12, 249]
    ((name, reason),) = data.skipped
    assert (name, reason.split(",")[0]) == ("c.jpg", "a PNG of 16-bit grey")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
def test_an_error_that_is_not_the_images_is_not_kept(tmp_path, write, open_data, number):
    write(tmp_path, *(f"{k}.png" for k in range(4)))
    cache = str(tmp_path / ".cache")
    said = rf"image (.*/)?1\.png: {os.strerror(number)}; mend that"
    with monkeypatched_open(number), pytest.raises(UserError, match=said):
        open_data(tmp_path, cache=cache)
    assert len(open_data(tmp_path, cache=cache).train) == 4


@contextmanager
def monkeypatched_open(number):
    """Within, Pillow cannot open `1.png`."""
    real = Image.open

    def refuse(file, *more, **named):
        if str(file).endswith("1.png"):
            raise OSError(number, os.strerror(number))
        return real(file, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "open", refuse)
        yield


def test_broken_exif_is_no_obstacle(tmp_path):
    solid().save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0" + b"\xff" * 40)
    assert read_image(tmp_path / "a.jpg").size == (20, 16)


@pytest.mark.parametrize("size", [(64, 64), (300, 40), (40, 300), (9, 9), (65, 64)])
def test_squares(size):
    array = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = square(Image.fromarray(array), 64)
    assert (out.shape, out.dtype) == ((64, 64, 3), np.uint8)
    if min(size) == 64:  # nothing to resize: the very pixels
        np.testing.assert_array_equal(out, array[:64, :64])


def test_squares_are_centred():
    image = Image.new("RGB", (96, 32))
    image.paste((255, 255, 255), (32, 0, 64, 32))
    assert square(image, 16)[:, 2:-2].min() == 255


def bad_images(folder):
    """Write one of each kind; return {name: a word of the reason}."""
    good = folder.parent / "good.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(good)
    Image.fromarray(noise).save(good.with_suffix(".jpg"))
    png, jpg = good.read_bytes(), good.with_suffix(".jpg").read_bytes()
    # a PNG header that claims 60000×60000 pixels
    huge = Image.new("1", (64, 64))
    huge.save(good)
    head = bytearray(good.read_bytes())
    head[16:24] = struct.pack(">II", 60000, 60000)
    head[29:33] = struct.pack(">I", zlib.crc32(bytes(head[12:29])))
    contents = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"hello, I am no image\n", "not an image"),
        "cut.jpg": (jpg[: len(jpg) // 2], "truncated"),
        "cut.png": (png[: len(png) // 2], "truncated"),
        "flipped.png": (png[:60] + bytes(200) + png[260:], ""),
        "huge.png": (bytes(head), "3,600 million pixels"),
        "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", "not an image"),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (300, 7)).save(folder / "thin.png")
    os.symlink("nowhere.png", folder / "link.png")
    reasons = {name: word for name, (_, word) in contents.items()}
    return reasons | {"dot.png": "1×1", "thin.png": "too small", "link.png": "No such file"}


def test_every_bad_image_is_named_with_its_reason(tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    for name, word in bad_images(folder).items():
        with pytest.raises(UserError) as error:
            read_image(folder / name)
        message = str(error.value)
        assert name in message
        assert word in message
        assert "\n" not in message


def test_larger_images_can_be_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    decode.allow(0.0001)
    for size, least in (((10, 10), None), ((11, 10), 1)):
        solid(size=size).save(tmp_path / "a.png")
        if least is None:
            assert read_image(tmp_path / "a.png").size == size
        else:
            with pytest.raises(UserError, match=rf"a\.png: .*--data.max-megapixels {least} allows"):
                read_image(tmp_path / "a.png")


def test_jpegs_are_decoded_at_a_fraction_of_their_size(tmp_path):
    solid(size=(800, 600)).save(tmp_path / "a.jpg")
    for size, seen in ((16, (100, 75)), (76, (200, 150)), (0, (800, 600))):
        with opened(tmp_path / "a.jpg", size) as image:
            assert image.size == seen


def test_large_jpeg_2000s_are_decoded_at_a_fraction_of_their_size(tmp_path, monkeypatch):
    y, x = np.mgrid[:384, :512]
    smooth = np.stack([x / 2, y / 2, (x + y) / 4], -1).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "deep.jp2")  # Pillow's default: halved 5 times
    Image.fromarray(smooth).save(tmp_path / "flat.j2k", num_resolutions=2)
    Image.fromarray(smooth[:357, :505]).save(
        tmp_path / "odd.jp2"
    )  # of a quarter Pillow reads nothing
    whole = read_square(tmp_path / "deep.jp2", 20)
    monkeypatch.setattr(decode, "LARGE", 10_000)
    for name, size, seen in (
        ("deep.jp2", 20, (128, 96)), ("deep.jp2", 0, (512, 384)), ("flat.j2k", 20, (256, 192)),
        ("odd.jp2", 20, (253, 179)),
    ):  # fmt: skip
        with opened(tmp_path / name, size) as image:
            assert image.size == seen
        if name != "odd.jp2":
            found = read_square(tmp_path / name, 20).astype(int)
            assert np.abs(found - whole).max() <= 4


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16", "I", "F"])
def test_images_are_converted_in_bands(tmp_path, monkeypatch, mode):
    noise = np.random.default_rng(0).integers(0, 256, (50, 40, 4), dtype=np.uint8)
    number = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    image = (
        Image.fromarray(noise[..., 0].astype(number[mode]) * 100)
        if mode in number
        else Image.fromarray(noise).convert(mode)
    )
    assert image.mode == mode
    image.save(tmp_path / "a.tif")
    whole = np.asarray(read_image(tmp_path / "a.tif"))
    monkeypatch.setattr(depth, "BAND", 300)  # 7 rows
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.tif")), whole)


PEAK = """
import sys
from seamask.base.threads import in_threads
from seamask.data.files.decode import opened, square
from seamask.speed.memory import resident_peak
def cut(path):
    with opened(path, 16) as image:
        return square(image, 16)
def work():
    assert len(list(in_threads(cut, large, len(large)))) == len(large)
small, *large = sys.argv[1:]
cut(small)
print(resident_peak(work))
"""


def bytes_taken(tmp_path, *large):
    solid().save(tmp_path / "small.png")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "small.png"), *map(str, large)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_a_huge_picture_takes_no_more_memory_than_is_said(tmp_path):
    grey = np.zeros((6000, 8000), np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png", compress_level=1)
    assert bytes_taken(tmp_path, tmp_path / "grey.png") < 10 * grey.size


@pytest.mark.slow
def test_huge_pictures_are_not_decoded_all_at_once(tmp_path):
    Image.new("RGB", (8000, 8000)).save(tmp_path / "a.png", compress_level=1)
    six = [tmp_path / "a.png"] * 6  # two of 64 million pixels at a time
    assert bytes_taken(tmp_path, *six) < 2 * 9 * 8000 * 8000


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match="directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("shape", [(120, 90), (90, 121), (57, 57), (301, 40), (31, 33)])
@pytest.mark.parametrize("size", [16, 37, 64])
def test_an_image_and_its_map_are_cut_alike(shape, size):
    height, width = shape
    y, x = np.mgrid[:height, :width]
    side = min(shape)
    disc = np.hypot(x - 0.55 * width, y - 0.45 * height) < 0.35 * side
    cut = square_map(Image.fromarray(disc.astype(np.uint8)), size)
    image = square(Image.fromarray(np.repeat(disc[..., None], 3, -1).astype(np.uint8) * 255), size)
    assert cut.shape == (size, size)
    assert set(np.unique(cut)) == {0, 1}
    padded = np.pad(cut, 1, mode="edge")
    around = np.stack([padded[i : i + size, j : j + size] for i in range(3) for j in range(3)])
    inside, outside = around.min(0) == 1, around.max(0) == 0
    assert (image[inside] > 127).all()
    assert (image[outside] < 128).all()
    # an offset of half a pixel would show in the mean place
    light = image[..., 0] / 255
    for axis in (0, 1):
        places = np.arange(size)
        means = [(part.sum(1 - axis) * places).sum() / part.sum() for part in (cut, light)]
        assert means[0] == pytest.approx(means[1], abs=0.25)
