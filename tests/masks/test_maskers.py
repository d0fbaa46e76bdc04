"""Every masker through its one interface, and what each promises besides."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import seamask
from looking import Convolution
from seamask.base.errors import UserError
from seamask.config import MasksConfig
from seamask.game.look import Look
from seamask.masks import (
    MASKERS,
    Budget,
    RandomBlockMasker,
    RandomPatchMasker,
    SequentialMasker,
    SimultaneousMasker,
    build_masker,
    check_masker,
    masks_of,
    random_blocks,
)
from seamask.masks.choice import draw_one, take_one

SIZE = 32
LEARNED = ["simultaneous", "sequential"]
RANDOM = ["random-patch", "random-block", "colour-noise", "multi-block", "grid"]
each_learned = pytest.mark.parametrize("kind", [SimultaneousMasker, SequentialMasker])


def build(masker, size=SIZE, **changed):
    torch.manual_seed(0)
    return build_masker(MasksConfig(masker=masker, **{"width": 4, "n_masks": 3, **changed}), size)


def images(batch=2, size=SIZE, **kind):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1)).to(**kind)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n_masks", [1, 3])
@pytest.mark.parametrize("name", MASKERS)
def test_one_interface(name, n_masks):
    masker, x = build(name, n_masks=n_masks), images()
    maps = torch.zeros(2, SIZE, SIZE, dtype=torch.uint8)
    maps[:, 3:9, 4:20] = 1
    more = {"objects": maps, "encoder": Look(Convolution(), x)}
    masks = masks_of(masker, x, generator=seeded(), **more)
    assert masks.shape == (2, 1 if name in ("none", "attention") else n_masks, SIZE, SIZE)
    assert masks.dtype == torch.float32
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert torch.equal(masks, masks_of(masker, x, generator=seeded(), **more))
    assert masker.learned == (name in LEARNED) == any(True for _ in masker.parameters())
    assert masks.requires_grad == masker.learned


@pytest.mark.parametrize("name", LEARNED)
def test_learned_masks_are_float32_under_autocast(name):
    masker, x = build(name), images()
    with torch.autocast("cpu", torch.bfloat16):
        masks = masker(x)
        assert masker.unet(x).dtype == torch.bfloat16  # or this test would show nothing
    assert masks.dtype == torch.float32
    # A logit rounded to bfloat16 still gives a mask that is finer than bfloat16.
    assert not torch.equal(masks, masks.bfloat16().float())


@pytest.mark.parametrize("name", RANDOM)
def test_drawn_masks_follow_the_generator_and_differ_within_a_batch(name):
    masker, x = build(name), images(batch=8)
    masks = masker(x, seeded(3))
    assert torch.equal(masks, masker(torch.zeros_like(x), seeded(3)))  # the image does not matter
    assert not torch.equal(masks, masker(x, seeded(4)))
    assert len(masks.flatten(0, 1).flatten(1).unique(dim=0)) > 18  # of 24
    assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_no_masker_removes_nothing():
    assert not build("none")(images()).any()


# Learned masks


@pytest.mark.parametrize("downscale", [1, 2, 4])
def test_simultaneous_masks_share_every_pixel(downscale):
    total = build("simultaneous", downscale=downscale)(images()).sum(1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


def test_simultaneous_masks_equal_their_formula():
    masker, x = build("simultaneous").double(), images(dtype=torch.float64)
    features = masker.unet(x).detach().numpy()
    weight = masker.head.weight.detach().numpy()[:, :, 0, 0]
    logits = np.einsum("bchw,nc->bnhw", features, weight)
    e = np.exp(logits + masker.head.bias.detach().numpy()[:, None, None])
    expected = torch.from_numpy(e / e.sum(1, keepdims=True))
    torch.testing.assert_close(masker(x).detach(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("detach", [False, True])
def test_sequential_masks_equal_their_formula(detach):
    masker, x = build("sequential", n_masks=4, detach=detach).double(), images(dtype=torch.float64)
    features = masker.unet(x).detach()
    masks = []
    for head in masker.head:
        logits = F.conv2d(torch.cat([features, *masks], 1), head.weight, head.bias)
        masks.append(1 / (1 + torch.exp(-logits)))
    expected = torch.cat(masks, 1)
    torch.testing.assert_close(masker(x), expected, rtol=1e-10, atol=1e-12)


def test_sequential_heads_are_1x1_and_see_one_mask_more_each():
    shapes = [tuple(head.weight.shape) for head in build("sequential", n_masks=3).head]
    assert shapes == [(1, 4, 1, 1), (1, 5, 1, 1), (1, 6, 1, 1)]


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("detach", [False, True])
def test_gradient_reaches_earlier_heads_through_later_masks(detach, disjoint):
    masker = build("sequential", n_masks=3, detach=detach, disjoint=disjoint)
    masker(images())[:, 2].sum().backward()
    moved = [h.weight.grad is not None and bool(h.weight.grad.any()) for h in masker.head]
    assert moved == ([False, False, True] if detach else [True, True, True])


def test_later_masks_follow_earlier_ones():
    masker, x = build("sequential", n_masks=3), images()
    before = masker(x).detach()
    with torch.no_grad():
        masker.head[1].bias += 1
    after = masker(x).detach()
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 2], after[:, 2])


@each_learned
@pytest.mark.parametrize("downscale", [2, 4])
def test_downscale_runs_on_pixel_means_and_upsamples(kind, downscale):
    masker, x = kind(3, SIZE, width=4, downscale=downscale), images()
    low = SIZE // downscale
    small = x.view(2, 3, low, downscale, low, downscale).mean((3, 5))
    masks = masker(x)
    assert masks.shape == (2, 3, SIZE, SIZE)
    expected = F.interpolate(masker.heads(masker.unet(small)), (SIZE, SIZE), mode="bilinear")
    torch.testing.assert_close(masks, expected, rtol=1e-4, atol=1e-5)


# Drawn masks


@pytest.mark.parametrize(("ratio", "patch", "removed"), [
    (0.25, 8, 4), (0.3, 8, 5), (0.75, 4, 48), (0, 8, 0), (1, 8, 16), (0.5, 32, 0), (0.5, 2, 128),
])  # fmt: skip
def test_random_patch_removes_exactly_so_many_cells_of_the_grid(ratio, patch, removed):
    masks = RandomPatchMasker(2, ratio, patch)(images(batch=5), seeded())
    cells = SIZE // patch
    blocks = masks.view(5, 2, cells, patch, cells, patch).transpose(3, 4).flatten(4)
    assert torch.equal(blocks.amin(-1), blocks.amax(-1))  # each cell is removed wholly or not
    assert (blocks[..., 0].sum((2, 3)) == removed).all()


def test_random_patch_takes_every_cell_equally_often():
    n = 4000
    masks = RandomPatchMasker(1, 0.25, 8)(torch.empty(n, 3, SIZE, SIZE), seeded())
    often = masks[:, 0, ::8, ::8].mean(0)
    deviation = (0.25 * 0.75 / n) ** 0.5
    assert ((often - 0.25).abs() < 4.5 * deviation).all()


def test_random_patch_takes_images_that_are_not_square():
    assert RandomPatchMasker(1, 0.5, 8)(torch.zeros(1, 3, 16, 32)).mean() == 0.5


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.25, 0.3, 0.4, 0.5])
@pytest.mark.parametrize("size", [32, 96])
def test_random_block_reaches_its_ratio_from_below(ratio, size):
    share = RandomBlockMasker(2, ratio)(images(batch=64, size=size), seeded()).mean((2, 3))
    assert share.max() <= ratio
    assert share.mean() >= ratio - 0.02


def test_random_block_of_nothing_and_different_ratios():
    ratio = torch.tensor([[0.0, 0.1], [0.3, 0.5]])
    masks = random_blocks(ratio, 64, 48, seeded())
    assert masks.dtype == torch.bool
    assert masks.shape == (2, 2, 64, 48)
    share = masks.float().mean((2, 3))
    assert share[0, 0] == 0
    assert (share <= ratio).all()
    assert (share >= ratio - 0.05).all()


def test_random_block_removes_every_region():
    often = RandomBlockMasker(1, 0.25)(images(batch=500), seeded())[:, 0].mean(0)
    assert often.min() > 0  # corners included
    assert often.max() < 0.6
    # A rectangle in a uniform place prefers no side.
    torch.testing.assert_close(often[:16].mean(), often[16:].mean(), rtol=0, atol=0.04)
    torch.testing.assert_close(often[:, :16].mean(), often[:, 16:].mean(), rtol=0, atol=0.04)


# One mask per image (ADIOS-s)


def test_one_mask_per_image_is_one_of_its_own():
    masks = torch.rand(6, 4, 5, 5)
    index = draw_one(masks, seeded())
    assert index.shape == (6, 1, 1, 1)
    taken = take_one(masks, index)
    assert taken.shape == (6, 1, 5, 5)
    for b, k in enumerate(index.flatten().tolist()):
        assert torch.equal(taken[b, 0], masks[b, k])


def test_every_mask_is_drawn_about_equally_often():
    counts = draw_one(torch.rand(8000, 4, 1, 1), seeded()).flatten().bincount(minlength=4)
    assert counts.sum() == 8000
    assert ((counts - 2000).abs() < 4.5 * (8000 * 0.25 * 0.75) ** 0.5).all()


def test_gradient_reaches_only_the_mask_that_was_taken():
    masks = torch.rand(5, 3, 2, 2, requires_grad=True)
    index = draw_one(masks, seeded())
    take_one(masks, index).sum().backward()
    expected = (index == torch.arange(3)[:, None, None]).expand(-1, -1, 2, 2)
    assert torch.equal(masks.grad, expected.to(masks.dtype))


# What a user gets wrong


@pytest.mark.parametrize(("name", "size", "changed", "says"), [
    ("sequental", SIZE, {}, "sequential"),
    ("random", SIZE, {}, "random-"),
    ("sequential", SIZE, {"n_masks": 0}, "n_masks is 0"),
    ("simultaneous", SIZE, {"n_masks": 0}, "n_masks is 0"),
    ("random-patch", SIZE, {"n_masks": 0}, "n_masks is 0"),
    ("random-block", SIZE, {"n_masks": 0}, "n_masks is 0"),
    ("random-patch", SIZE, {"ratio": 1.1}, "ratio is 1.1"),
    ("random-block", SIZE, {"ratio": -0.1}, "ratio is -0.1"),
    ("random-patch", SIZE, {"patch": 7}, "patch 7 does not divide 32×32 pixels: take 8"),
    ("colour-noise", SIZE, {"ratio": 1.1}, "ratio is 1.1"),
    ("colour-noise", SIZE, {"noise": "pink"}, "colour is 'pink': choose from 'red', "),
    ("multi-block", SIZE, {"patch": 7}, "patch 7 does not divide 32×32 pixels: take 8"),
    ("grid", SIZE, {"n_masks": 0}, "n_masks is 0"),
    ("superpixel", SIZE, {"superpixels": 1}, "superpixels is 1"),
    ("random-patch", 28, {"patch": 8}, "patch 8 does not divide 28×28 pixels: take 7"),
    ("sequential", 100, {}, "100×100"),
    ("simultaneous", SIZE, {"norm": "group", "width": 12}, "width is 12"),
    ("sequential", 34, {"downscale": 4}, "34×34 pixels with masks.downscale 4"),
])  # fmt: skip
def test_what_cannot_work_is_refused_with_its_value(name, size, changed, says):
    with pytest.raises(UserError) as caught:
        build(name, size, **changed)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@each_learned
def test_images_of_another_size_are_refused(kind):
    with pytest.raises(ValueError, match="32×32"):
        kind(2, SIZE, width=4)(images(size=48))


def test_patch_is_checked_against_the_image_itself():
    with pytest.raises(UserError, match="24×20"):
        RandomPatchMasker(1, 0.5, 8)(torch.zeros(1, 3, 24, 20))


@each_learned
def test_images_may_be_wide_and_have_any_channels(kind):
    masker = kind(2, (32, 48), width=4, downscale=2, in_channels=5)
    x = torch.randn(3, 5, 32, 48)
    masks = masker(x)
    assert masks.shape == (3, 2, 32, 48)
    assert 0 <= masks.min() <= masks.max() <= 1
    with pytest.raises(UserError, match=r"made for images \[B, 5, 32, 48\].*\[3, 5, 48, 32\]"):
        masker(x.mT)
    with pytest.raises(UserError, match="in_channels"):
        masker(x[:, :3])


@pytest.mark.parametrize("size", [(32, 32), (64, 64)])
def test_a_square_by_two_sides_is_a_square(size):
    one, two = (SequentialMasker(2, s, width=4) for s in (size[0], size))
    assert {n: p.shape for n, p in one.named_parameters()} == {
        n: p.shape for n, p in two.named_parameters()
    }


@pytest.mark.parametrize(("changed", "says"), [
    ({"norm": "batch"}, "norm is 'batch': choose from 'instance', 'group'"),
    ({"downscale": 3}, "downscale is 3: choose from 1, 2, 4"),
    ({"width": 0}, "width is 0: it must be a whole number, at least 1"),
    ({"width": 4.0}, "width is 4.0: it must be a whole number, at least 1"),
    ({"n_masks": True}, "n_masks is True: it must be a whole number, between 1 and 254"),
    ({"blocks": -1}, "blocks is -1: it must be a whole number, between 0 and 12"),
    ({"bottleneck": -1}, "bottleneck is -1: it must be a whole number, at least 0"),
    ({"in_channels": 0}, "in_channels is 0: it must be a whole number, at least 1"),
    ({"image_size": (32, 34)}, "32×34 pixels: its poolings do not divide them; nearest sides"),
    ({"image_size": (32, 32, 3)}, "image_size is (32, 32, 3): expected one number or (H, W)"),
    ({"image_size": 0.5}, "image_size is 0.5: it must be a whole number, at least 1"),
])  # fmt: skip
@each_learned
def test_arguments_are_checked_in_the_words_of_python(kind, changed, says):
    with pytest.raises(UserError) as caught:
        kind(**{"n_masks": 2, "image_size": 32, "width": 4, **changed})
    assert says in str(caught.value)
    assert "--" not in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert seamask.UserError is UserError


@pytest.mark.parametrize(("make", "says"), [
    (lambda: Budget(25), "share is 25: it must be a share above 0 and below 1"),
    (lambda: Budget(0.2, end=1.0), "end is 1.0: it must be a share above 0 and below 1"),
    (lambda: RandomPatchMasker(1, 25), "ratio is 25: it must be a share between 0 and 1"),
    (lambda: RandomPatchMasker(1, 0.5, 0), "patch is 0: it must be a whole number, at least 1"),
    (lambda: seamask.exact_sigmoid(torch.randn(1, 4, 4), 25.0), "budget is 25.0: "),
    (lambda: seamask.budget_penalty(torch.rand(1, 2, 4, 4), 25), "budget is 25: "),
    (lambda: seamask.budget_penalty(torch.rand(2, 4, 4), 0.2),
     "masks have the shape [2, 4, 4]: expected [B, N, H, W]"),
    (lambda: seamask.GivenMasker(2, "grow"), "morph is 'grow': choose from 'none', "),
    (lambda: seamask.nt_xent(torch.rand(4, 8), torch.rand(3, 8)), "[4, 8] and [3, 8]: expected"),
])  # fmt: skip
def test_python_is_told_what_the_command_line_is_told(make, says):
    with pytest.raises(UserError) as caught:
        make()
    assert str(caught.value).startswith(says) or says in str(caught.value)
    assert "--" not in str(caught.value)


class Stripes(nn.Module):
    """A masker that asks for nothing but the images, as the README tells it."""

    learned, n_masks = False, 2

    def forward(self, images):
        masks = torch.zeros(len(images), 2, *images.shape[2:])
        masks[:, 0, ::2] = masks[:, 1, 1::2] = 1
        return masks


def test_a_masker_may_ask_for_the_images_alone():
    check_masker(Stripes(), 16)
    x = torch.randn(3, 3, 16, 16)
    assert torch.equal(masks_of(Stripes(), x, generator=seeded(), objects=None), Stripes()(x))
    assert masks_of(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sigmoid()), x).shape == (3, 2, 16, 16)


@pytest.mark.parametrize(("change", "says"), [
    (lambda m: setattr(m, "learned", None), "Stripes has no learned (bool): a masker is"),
    (lambda m: setattr(m, "n_masks", 3), "gives 2 masks and says n_masks = 3"),
    (lambda m: setattr(m, "forward", lambda images: images[:, 0]), "returned [2, 16, 16] for"),
    (lambda m: setattr(m, "forward", lambda images: 3 * images[:, :2].abs() + 1), "masks between"),
    (lambda m: setattr(m, "learned", True), "is learned, but its masks have no gradient"),
])  # fmt: skip
def test_a_masker_that_breaks_the_contract_is_told_it(change, says):
    masker = Stripes()
    change(masker)
    with pytest.raises(UserError) as caught:
        check_masker(masker, 16)
    assert says in str(caught.value)
    assert "[B, C, H, W]" in str(caught.value)
