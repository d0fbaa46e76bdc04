"""ViTs without their masked patches: against the literal shorter sequence, and their gradients."""

import pytest
import timm
import torch
from torch.autograd import gradcheck

from seamask.base.errors import UserError
from seamask.networks.tokens import check_drops, encode_kept


def build(name, pool):
    torch.manual_seed(0)
    vit = timm.create_model(
        name, num_classes=0, img_size=16, patch_size=4, global_pool=pool, embed_dim=12,
        depth=2, num_heads=2,
    )  # fmt: skip
    for parameter in vit.parameters():  # biases and positions are zero or tiny at first
        torch.nn.init.normal_(parameter, std=0.3)
    return vit.double()


def draw(batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, 16, 16, generator=generator, dtype=torch.float64)
    gone = torch.rand(batch, 1, 4, 4, generator=generator) < 0.4  # of each of 16 patches
    return images, gone.double().repeat_interleave(4, 2).repeat_interleave(4, 3)


models = pytest.mark.parametrize(
    ("name", "pool"), [("vit_tiny_patch16_224", "token"), ("test_vit2", "avg")]
)


def literally(vit, image, kept):
    """Run the blocks on the tokens of the patches that are kept, image by image."""
    tokens = vit._pos_embed(vit.patch_embed(image[None]))
    prefix = vit.num_prefix_tokens
    x = torch.cat([tokens[:, :prefix], tokens[:, prefix:][:, kept]], dim=1)
    x = vit.norm(vit.blocks(vit.norm_pre(x)))
    return vit.forward_head(x)[0]


@models
def test_nothing_masked_is_the_whole_vit(name, pool):
    vit = build(name, pool)
    images, _ = draw()
    nothing = torch.zeros(3, 1, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(encode_kept(vit, images, nothing, 0.5), vit(images))


@models
@pytest.mark.parametrize("wanted", [False, True], ids=["dropped", "gated"])
def test_masked_patches_are_as_if_they_had_never_been(name, pool, wanted):
    vit = build(name, pool)
    images, mask = draw()
    lengths = []
    vit.blocks[0].register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    found = encode_kept(vit, images, mask.requires_grad_(wanted), 0.5)
    kept = mask.detach()[:, 0, ::4, ::4].flatten(1) == 0  # [B, 16]
    longest = 16 if wanted else int(kept.sum(1).max())
    assert lengths == [longest + vit.num_prefix_tokens]
    expected = torch.stack([literally(vit, x, k) for x, k in zip(images, kept, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)  # weights of 1e-6 remain


@models
def test_the_gradient_of_the_mask_is_that_of_finite_differences(name, pool):
    vit = build(name, pool)
    images, _ = draw(batch=1)
    mask = torch.rand(1, 1, 16, 16, dtype=torch.float64) * 0.8 + 0.1
    assert gradcheck(lambda m: encode_kept(vit, images, m, 0.99), mask.requires_grad_())


@models
def test_a_patch_that_is_gone_is_told_what_it_would_bring_to_see_it_again(name, pool):
    vit = build(name, pool)
    images, mask = draw(batch=1)
    to = torch.randn(12, dtype=torch.float64)

    def seen(mask):  # as the step shows it
        return encode_kept(vit, images * (1 - mask), mask, 0.9999) @ to

    mask.requires_grad_()
    (gradient,) = torch.autograd.grad(seen(mask).sum(), mask)
    cells = gradient.unflatten(3, (4, 4)).unflatten(2, (4, 4)).sum((3, 5)).flatten()  # [16]
    less = 2e-4  # of a patch that is seen again
    for k in torch.nonzero(mask.detach()[0, 0, ::4, ::4].flatten()).flatten().tolist():
        row, column = 4 * (k // 4), 4 * (k % 4)
        again = mask.detach().clone()
        again[..., row : row + 4, column : column + 4] -= less
        literal = (seen(again.requires_grad_()) - seen(mask)).item() / -less
        assert cells[k].item() == pytest.approx(literal, rel=0.02, abs=1e-3)


@models
def test_both_players_see_one_loss_also_under_soft_masks(name, pool):
    vit = build(name, pool)
    images, _ = draw()
    mask = torch.rand(3, 1, 4, 4, dtype=torch.float64).repeat_interleave(4, 2)
    mask = mask.repeat_interleave(4, 3)
    learning = encode_kept(vit, images, mask.clone().requires_grad_(), 0.5)
    torch.testing.assert_close(learning, encode_kept(vit, images, mask, 0.5), rtol=1e-3, atol=1e-4)


@models
def test_an_image_that_is_masked_wholly_stays_finite(name, pool):
    vit = build(name, pool)
    images, mask = draw()
    mask[0] = 1
    found = encode_kept(vit, images, mask, 0.5)
    assert found.isfinite().all()
    others = encode_kept(vit, images[1:], mask[1:], 0.5)
    torch.testing.assert_close(found[1:], others)
    assert encode_kept(vit, images[:1], mask[:1], 0.5).isfinite().all()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit3", "swin_tiny_patch4_window7_224"])
def test_what_has_no_tokens_to_leave_out_is_refused(name):
    with pytest.raises(UserError, match=f"--masks.drop: {name} has no tokens"):
        check_drops(timm.create_model(name, num_classes=0), name)
