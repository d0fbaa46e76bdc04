"""Every operator against torchvision's, image by image, with the same parameters."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from seamask.views import (
    ViewParameters,
    Views,
    apply,
    colour,
    crop_masks,
    draw,
    geometry,
    normalize,
)
from seamask.views.settings import ViewsConfig

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
EVERYTHING = ViewsConfig(
    flip=0.5, jitter=0.8, hue=0.5, grayscale=0.3, blur=0.6, blur_sigma=(0.05, 3.0), solarize=0.4
)
GEOMETRY = ViewsConfig(jitter=0, grayscale=0, blur=0)
sides = st.integers(8, 96)
seeds = st.integers(0, 2**31)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tensors this small lose more to threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """uint8 [n, 3, height, width] with channels-last strides, as the store gives them."""
    shape = (n, height, width, 3)
    return torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8).permute(
        0, 3, 1, 2
    )


def reference(image: Tensor, p: ViewParameters, i: int, size: int, interpolation: str) -> Tensor:
    """View i, of its image [3, H, W], by torchvision up to solarisation; the crop is clamped."""
    crop = [int(v) for v in p.crop[i]]
    view = tv.resized_crop(
        tv.to_dtype(image, torch.float32, scale=True),
        *crop,
        [size, size],
        interpolation=InterpolationMode(interpolation),
        antialias=True,
    ).clamp(0, 1)
    if p.flip[i]:
        view = tv.horizontal_flip(view)
    if p.jitter[i]:
        for which in p.order[i].tolist():
            name = ("brightness", "contrast", "saturation", "hue")[which]
            view = getattr(tv, f"adjust_{name}")(view, getattr(p, name)[i].item())
    if p.grayscale[i]:
        view = tv.rgb_to_grayscale(view, num_output_channels=3)
    if p.sigma[i] > 0:
        view = tv.gaussian_blur(view, [13, 13], [p.sigma[i].item()] * 2)
    return view


@settings(max_examples=100)
@given(sides, sides, sides, seeds, st.sampled_from(["bicubic", "bilinear"]))
def test_crop_equals_torchvision(height, width, size, seed, interpolation):
    config = dataclasses.replace(GEOMETRY, scale=(0.01, 1.0), ratio=(0.2, 5.0))
    params = draw(4, height, width, config, generator(seed))
    images = pictures(4, height, width, seed)
    views = apply(images, params, size, interpolation)
    for i in range(4):
        expected = reference(images[i], params, i, size, interpolation)
        torch.testing.assert_close(views[i], expected, atol=1e-5, rtol=0)


@settings(max_examples=100)
@given(st.data(), sides, sides, sides)
def test_crop_at_any_place(data, height, width, size):
    h, w = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    top, left = data.draw(st.integers(0, height - h)), data.draw(st.integers(0, width - w))
    params = draw(1, height, width, GEOMETRY, generator(0))
    params = dataclasses.replace(params, crop=torch.tensor([[top, left, h, w]]).float())
    images = pictures(1, height, width)
    for interpolation in ("bicubic", "bilinear"):
        views = apply(images, params, size, interpolation)
        expected = reference(images[0], params, 0, size, interpolation)
        torch.testing.assert_close(views[0], expected, atol=1e-5, rtol=0)


@settings(max_examples=100)
@given(st.sampled_from(["brightness", "contrast", "saturation", "hue"]), seeds)
def test_colour_equals_torchvision(name, seed):
    images = torch.rand(6, 3, 9, 11, generator=generator(seed))
    images[0] = images[0, :1]  # grey
    images[1] = images[1].round()  # ties between channels, black and white
    images[2, 1] = images[2, 0]
    images[3] *= 1e-3
    low, high = (-0.5, 0.5) if name == "hue" else (0.0, 2.0)
    factors = torch.rand(6, generator=generator(seed + 1)) * (high - low) + low
    result = getattr(colour, name)(images.clone(), factors)
    for image, factor, found in zip(images, factors, result, strict=True):
        expected = getattr(tv, f"adjust_{name}")(image, factor.item())
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [-0.5, -1 / 3, 0.0, 1 / 6, 0.5])
def test_hue_of_pure_colours(shift):
    levels = torch.tensor([0.0, 0.5, 1.0])
    images = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 3, 9)
    expected = tv.adjust_hue(images, shift)
    found = colour.hue(images.clone(), torch.tensor([shift]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_grayscale_and_solarize_equal_torchvision():
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images[0, 0, 0, 0] = 0.5
    torch.testing.assert_close(colour.grayscale(images), tv.rgb_to_grayscale(images, 3))
    torch.testing.assert_close(colour.solarize(images), tv.solarize(images, 0.5))


@settings(max_examples=100)
@given(st.integers(7, 96), st.floats(0.05, 5.0))
def test_blur_equals_torchvision(side, sigma):
    images = torch.rand(2, 3, side, side, generator=generator(side))
    found = geometry.blur(images, torch.tensor([sigma, 1.0]))
    for image, s, view in zip(images, (sigma, 1.0), found, strict=True):
        expected = tv.gaussian_blur(image, [13, 13], [s, s])
        torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("widest", [2.0, 3.0, 5.0])
def test_a_wider_blur_is_as_wide_as_it_says(widest):
    spot = torch.zeros(1, 1, 65, 65)
    spot[..., 32, 32] = 1
    taps = [2 * math.ceil(3 * widest) + 1] * 2
    found = geometry.blur(spot, torch.tensor([widest]), widest)
    torch.testing.assert_close(found, tv.gaussian_blur(spot, taps, [widest, widest]))
    at = torch.arange(-32, 33)
    std = (found[0, 0].sum(0) * at.square()).sum().sqrt()
    assert std == pytest.approx(widest, rel=0.02)


def test_views_blur_as_wide_as_their_settings_say():
    config = ViewsConfig(
        scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter=0.0, grayscale=0.0, blur=1.0,
        blur_sigma=(6.0, 6.0),
    )  # fmt: skip
    spot = torch.zeros(1, 3, 65, 65, dtype=torch.uint8)
    spot[..., 32, 32] = 255
    views = Views(config, 65, (0.0,) * 3, (1.0,) * 3)
    seen, _ = views(spot, generator(0))
    std = (seen[0, 0].sum(0) * torch.arange(-32, 33).square()).sum().sqrt()
    assert std == pytest.approx(6.0, rel=0.02)


@pytest.mark.parametrize("side", [1, 2, 6])
def test_blur_of_tiny_images_takes_the_widest_kernel_that_fits(side):
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    taps = [2 * side - 1] * 2
    expected = tv.gaussian_blur(images, taps, [1.5, 1.5])
    torch.testing.assert_close(geometry.blur(images, torch.tensor([1.5])), expected)


@settings(max_examples=100)
@given(sides, sides, st.integers(8, 64), seeds, st.sampled_from(["bicubic", "bilinear"]))
def test_pipeline_equals_torchvision(height, width, size, seed, interpolation):
    images = pictures(8, height, width, seed)
    params = draw(8, height, width, EVERYTHING, generator(seed))
    params = dataclasses.replace(params, solarize=torch.zeros(8, dtype=torch.bool))
    views = apply(images, params, size, interpolation)
    assert views.shape == (8, 3, size, size)
    assert views.dtype == torch.float32
    assert views.is_contiguous()
    assert views.min() >= 0
    assert views.max() <= 1
    for i in range(8):
        expected = reference(images[i], params, i, size, interpolation)
        torch.testing.assert_close(views[i], expected, atol=5e-5, rtol=0)
    # Solarisation is last and jumps at one half, where rounding decides: checked from here.
    solarized = apply(images, dataclasses.replace(params, solarize=~params.solarize), size)
    plain = apply(images, params, size)
    torch.testing.assert_close(solarized, tv.solarize(plain, 0.5))


@pytest.mark.parametrize("seed", range(3))
def test_batch_equals_singles(seed):
    images = pictures(12, 40, 32, seed)
    params = draw(12, 40, 32, EVERYTHING, generator(seed))
    views = apply(images, params, 24)
    for i in range(12):
        one = ViewParameters(*(v[i : i + 1] for v in vars(params).values()))
        torch.testing.assert_close(
            apply(images[i : i + 1], one, 24), views[i : i + 1], atol=1e-6, rtol=0
        )


def test_layout_dtype_and_autocast_change_nothing():
    images = pictures(6, 20, 28)
    before = images.clone()
    params = draw(6, 20, 28, EVERYTHING, generator(4))
    views = apply(images, params, 16)
    assert torch.equal(apply(images.contiguous(), params, 16), views)
    floats = images.float() / 255
    kept = floats.clone()
    torch.testing.assert_close(apply(floats, params, 16), views)
    torch.testing.assert_close(apply(floats.double(), params, 16), views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(apply(images, params, 16), views)
    assert torch.equal(images, before)
    assert torch.equal(floats, kept)


@settings(max_examples=100)
@given(sides, sides, sides, seeds)
def test_masks_follow_the_image(height, width, size, seed):
    params = draw(3, height, width, GEOMETRY, generator(seed))
    maps = torch.randint(0, 9, (3, 2, height, width), generator=generator(seed))
    found = crop_masks(maps, params, size)
    assert found.dtype == maps.dtype
    assert torch.equal(crop_masks(maps[:, 1], params, size), found[:, 1])
    for i in range(3):
        crop = [int(v) for v in params.crop[i]]
        expected = tv.resized_crop(
            maps[i].float(), *crop, [size, size], interpolation=InterpolationMode.NEAREST_EXACT
        )
        expected = tv.horizontal_flip(expected) if params.flip[i] else expected
        # A centre just between two source pixels is that of either.
        odd = 2 * torch.arange(size) + 1
        rows, columns = (odd * extent % (2 * size) != 0 for extent in crop[2:])
        clear = rows[:, None] & (columns.flip(0) if params.flip[i] else columns)
        assert torch.equal(found[i].float()[:, clear], expected[:, clear])


def test_a_label_between_two_pixels_is_the_second():
    # 4 pixels on 82: the centre of the 21st, 20.5 · 4 / 82, lies just between the first two.
    params = draw(1, 4, 4, dataclasses.replace(GEOMETRY, scale=(1, 1), ratio=(1, 1)), generator(0))
    params = dataclasses.replace(params, flip=torch.tensor([False]))
    maps = torch.arange(4, dtype=torch.uint8).expand(1, 4, 4)
    assert crop_masks(maps, params, 82)[0, 0, 19:22].tolist() == [0, 1, 1]


def test_masks_and_views_agree_where_nothing_is_resampled():
    labels = torch.randint(
        0, 256, (8, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    images = labels[:, None].expand(-1, 3, -1, -1)
    config = dataclasses.replace(GEOMETRY, scale=(0.25, 0.25), ratio=(1.0, 1.0))  # 16 × 16
    params = draw(8, 32, 32, config, torch.Generator().manual_seed(1))
    assert params.flip.any()
    assert not params.flip.all()
    views = apply(images, params, 16)
    assert torch.equal((views[:, 0] * 255).round().to(torch.uint8), crop_masks(labels, params, 16))


@settings(max_examples=100)
@given(sides, sides, sides, seeds)
def test_flip_mirrors(height, width, size, seed):
    images = pictures(2, height, width, seed)
    params = draw(2, height, width, GEOMETRY, generator(seed))
    mirrored = dataclasses.replace(params, flip=~params.flip)
    torch.testing.assert_close(
        apply(images, mirrored, size), apply(images, params, size).flip(-1), atol=1e-5, rtol=0
    )
    labels = images[:, 0]
    assert torch.equal(
        crop_masks(labels, mirrored, size), crop_masks(labels, params, size).flip(-1)
    )


def test_draw_follows_the_settings():
    n, side = 20_000, 1000
    config = dataclasses.replace(ViewsConfig(), solarize=0.2)
    p = draw(n, side, side, config, generator(0))
    top, left, h, w = p.crop.double().unbind(1)
    share, ratio = h * w / side**2, w / h
    assert torch.all((share > 0.079) & (share <= 1))
    assert torch.all((ratio > 0.74) & (ratio < 1.35))
    for start, extent in ((top, h), (left, w)):
        place = (start / (side - extent).clamp(min=1))[extent < 0.9 * side]
        assert place.mean() == pytest.approx(0.5, abs=0.02)
    assert ratio.log().mean() == pytest.approx(0, abs=0.01)
    for name in ("flip", "jitter", "grayscale", "solarize"):
        assert getattr(p, name).double().mean() == pytest.approx(getattr(config, name), abs=0.015)
    blurred = p.sigma > 0
    assert blurred.double().mean() == pytest.approx(config.blur, abs=0.015)
    assert p.sigma[blurred].min() >= 0.1
    assert p.sigma.max() <= 2
    assert p.sigma[blurred].mean() == pytest.approx(1.05, abs=0.03)
    for name in ("brightness", "contrast", "saturation"):
        factor = getattr(p, name)
        assert factor.min() == pytest.approx(0.2, abs=0.01)
        assert factor.max() == pytest.approx(1.8, abs=0.01)
        assert factor.mean() == pytest.approx(1.0, abs=0.02)
    assert p.hue.abs().max() <= 0.2
    assert p.hue.mean() == pytest.approx(0.0, abs=0.01)
    assert torch.equal(p.order.sort(dim=1).values, torch.arange(4).expand(n, 4))
    _, counts = p.order.unique(dim=0, return_counts=True)
    assert len(counts) == 24
    assert counts.double().div(n).sub(1 / 24).abs().max() < 0.01


def test_draw_matches_the_distribution_of_torchvision():
    config, (height, width) = ViewsConfig(scale=(0.3, 1.0)), (20, 60)  # often falls back
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(3, height, width)
        theirs = torch.tensor(
            [
                RandomResizedCrop.get_params(image, list(config.scale), list(config.ratio))
                for _ in range(3000)
            ]
        ).float()
    ours = draw(3000, height, width, config, generator(0)).crop
    torch.testing.assert_close(ours.mean(0), theirs.mean(0), atol=0.5, rtol=0)
    torch.testing.assert_close(ours.std(0), theirs.std(0), atol=0.5, rtol=0)
    central = torch.tensor([0.0, 16.0, 20.0, 27.0])  # 60 / 20 is wider than 4 / 3
    assert (ours == central).all(1).any()


def test_draw_depends_on_the_seed_only():
    turned = dataclasses.replace(EVERYTHING, vertical_flip=0.5, rotate90=0.5)
    first, again = (draw(64, 30, 50, turned, generator(7)) for _ in range(2))
    other = draw(64, 30, 50, turned, generator(8))
    for name, value in vars(first).items():
        assert torch.equal(value, getattr(again, name))
        assert not torch.equal(value, getattr(other, name))


def test_draw_consumes_the_same_whatever_it_draws():
    states = []
    for config, side in ((EVERYTHING, 96), (ViewsConfig(scale=(1e-6, 1e-6), flip=0.0, blur=0), 3)):
        g = generator(3)
        draw(10, side, side, config, g)
        states.append(g.get_state())
    assert torch.equal(*states)


@settings(max_examples=100)
@given(
    st.integers(1, 96),
    st.integers(1, 96),
    st.floats(1e-6, 1.0),
    st.floats(0.01, 100.0),
    st.floats(1.0, 100.0),
    seeds,
)
def test_crops_lie_inside(height, width, area, ratio, spread, seed):
    config = ViewsConfig(scale=(area, 1.0), ratio=(ratio, min(100.0, ratio * spread)))
    p = draw(16, height, width, config, generator(seed))
    top, left, h, w = p.crop.unbind(1)
    assert torch.equal(p.crop, p.crop.round())
    assert torch.all((h >= 1) & (w >= 1) & (top >= 0) & (left >= 0))
    assert torch.all((top + h <= height) & (left + w <= width))
    views = apply(pictures(16, height, width), p, 8)
    assert torch.isfinite(views).all()


def test_probability_zero_and_one():
    certain = ViewsConfig(flip=1, jitter=1, grayscale=1, blur=1, solarize=1)
    never = ViewsConfig(flip=0, jitter=0, grayscale=0, blur=0, solarize=0)
    for config, expected in ((certain, True), (never, False)):
        p = draw(50, 8, 8, config, generator(0))
        for chosen in (p.flip, p.jitter, p.grayscale, p.sigma > 0, p.solarize):
            assert torch.all(chosen == expected)
    whole = dataclasses.replace(never, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    images = pictures(4, 16, 16)
    views = apply(images, draw(4, 16, 16, whole, generator(0)), 16)
    torch.testing.assert_close(views, images / 255, atol=1e-6, rtol=0)


@pytest.mark.parametrize("side", [1, 2])
def test_tiny_sources(side):
    images = pictures(8, side, side)
    params = draw(8, side, side, EVERYTHING, generator(0))
    assert torch.isfinite(apply(images, params, 8)).all()
    assert crop_masks(images[:, 0], params, 8).shape == (8, 8, 8)


def test_views_draw_apply_and_normalise():
    images = pictures(5, 40, 36)
    views, params = Views(EVERYTHING, 24, MEAN, STD)(images, generator(2))
    widest = EVERYTHING.blur_sigma[1]
    expected = apply(images, draw(5, 40, 36, EVERYTHING, generator(2)), 24, widest=widest)
    torch.testing.assert_close(views, tv.normalize(expected, list(MEAN), list(STD)))
    torch.testing.assert_close(apply(images, params, 24, widest=widest), expected)


def test_views_made_together_are_those_made_one_after_another():
    images, make, source = pictures(5, 40, 36), Views(EVERYTHING, 24, MEAN, STD), generator(2)
    one_by_one = [make(images, source)[0] for _ in "ab"]
    together, _ = make(images, generator(2), views=2)
    assert torch.equal(together, torch.cat(one_by_one))


@settings(max_examples=100)
@given(sides, sides, sides)
def test_normalize_equals_torchvision(height, width, size):
    images = pictures(2, height, width)
    expected = tv.to_dtype(images, torch.float32, scale=True)
    expected = tv.resize(expected, [size], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    expected = tv.normalize(tv.center_crop(expected, [size, size]), list(MEAN), list(STD))
    found = normalize(images, MEAN, STD, size)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_normalize_only_scales_what_has_the_size():
    images = pictures(2, 16, 16)
    found = normalize(images, (0.0,) * 3, (1.0,) * 3, 16)
    torch.testing.assert_close(found, images / 255)


def test_steps_of_every_image_are_those_of_some():
    images = pictures(32, 40, 40)
    params = draw(32, 40, 40, EVERYTHING, generator(0))
    some, every = (apply(images, params, 32, every=every) for every in (False, True))
    torch.testing.assert_close(every, some, atol=1e-6, rtol=0)


def test_parameters_travel_exactly():
    params = draw(8, 40, 30, EVERYTHING, generator(0))
    for name, value in vars(ViewParameters.unpack(params.pack())).items():
        assert torch.equal(value, getattr(params, name))
        assert value.dtype == getattr(params, name).dtype


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_equals_cpu_without_synchronising():
    images = pictures(32, 40, 40)
    views = Views(EVERYTHING, 32, MEAN, STD)
    expected, params = views(images, generator(0))
    resident = images.cuda()
    views(resident, generator(0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        found, _ = views(resident, generator(0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    same = (found.cpu() - expected).abs() < 1e-3  # all but pixels that solarise by rounding
    assert same.double().mean() > 0.999
    labels = images[:, 0]
    assert torch.equal(crop_masks(labels.cuda(), params, 32).cpu(), crop_masks(labels, params, 32))


def test_all_ways_up_are_shown_and_maps_follow():
    plain = ViewsConfig(scale=(1, 1), ratio=(1, 1), jitter=0, grayscale=0, blur=0)
    config = dataclasses.replace(plain, vertical_flip=0.5, rotate90=0.75)
    images = torch.randint(
        0, 256, (1, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images = images.expand(4000, -1, -1, -1)
    params = draw(4000, 8, 8, config, torch.Generator().manual_seed(1))
    seen = (apply(images, params, 8) * 255).round().byte()
    ways = [torch.rot90(x, k, (1, 2)) for x in (images[0], images[0].flip(2)) for k in range(4)]
    which = torch.stack([(seen == way).all((1, 2, 3)) for way in ways], dim=1)  # [4000, 8]
    assert (which.sum(1) == 1).all()
    assert ((which.sum(0) - 500).abs() < 100).all()  # standard deviation 21
    assert torch.equal(crop_masks(images, params, 8), seen)
    packed = ViewParameters.unpack(params.pack())
    assert all(torch.equal(getattr(packed, n), v) for n, v in vars(params).items())
    still = draw(4000, 8, 8, plain, torch.Generator().manual_seed(1))
    assert torch.equal(still.crop, params.crop)  # the other draws are as without


def test_a_turn_is_counter_clockwise_after_the_flips():
    config = ViewsConfig(
        scale=(1, 1), ratio=(1, 1), flip=0, jitter=0, grayscale=0, blur=0, rotate90=1
    )
    image = torch.randint(
        0, 256, (1, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    params = draw(100, 8, 8, config, torch.Generator().manual_seed(1))
    seen = (apply(image.expand(100, -1, -1, -1), params, 8) * 255).round().byte()
    counts = [int((seen == torch.rot90(image, k, (2, 3))).all((1, 2, 3)).sum()) for k in range(4)]
    assert counts[0] == 0
    assert min(counts[1:]) > 20
    assert sum(counts) == 100
