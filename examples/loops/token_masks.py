"""Frozen masks for a token objective: what an iBOT-like loss asks, a learned masker answers.

A student ViT sees images with masked patches replaced by a learned token and predicts, at those
patches, what a teacher (its moving average) says of the whole image.

python examples/loops/token_masks.py [RUN]
"""

from __future__ import annotations

import copy
import sys

import timm
import torch
from torch import Tensor, nn

import seamask
from seamask.data import DataConfig, load
from seamask.views import Views, ViewsConfig


def main(run: str = "", steps: int = 20, batch: int = 16, size: int = 32, patch: int = 8) -> float:
    """Train for some steps with the masker of a run (untrained without one); return the loss."""
    torch.manual_seed(0)
    masker = (
        seamask.load_masker(run)
        if run
        else seamask.SequentialMasker(n_masks=4, image_size=size, width=8)
    )
    masker.eval().requires_grad_(False)
    data = load(DataConfig(shapes_train=256, shapes_test=16), size)
    images = data.train.pixels.permute(0, 3, 1, 2)
    draw_view = Views(ViewsConfig(), size, *data.normalization)
    student = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=size, patch_size=patch, depth=2
    )
    blank = nn.Parameter(torch.zeros(student.embed_dim))
    head = nn.Linear(student.embed_dim, 256)
    teacher, teacher_head = (copy.deepcopy(m).requires_grad_(False) for m in (student, head))
    optimizer = torch.optim.AdamW([*student.parameters(), *head.parameters(), blank], lr=5e-4)

    def tokens(vit: nn.Module, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the patches' tokens `[B, T, D]`; those of `hidden` `[B, T]` are blank at first."""
        z = vit.patch_embed(x)
        if hidden is not None:
            z = torch.where(hidden[..., None], blank, z)
        z = vit.blocks(vit._pos_embed(z))
        return vit.norm(z)[:, vit.num_prefix_tokens :]

    loss = torch.zeros(())
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        part = images[torch.randint(len(images), (batch,), generator=generator)]
        x, _ = draw_view(part, generator)
        masks = masker(x)  # [B, N, H, W], soft
        one = torch.randint(masks.shape[1], (batch,), generator=generator)
        hidden = seamask.token_masks(masks, patch, keep=0.7)[torch.arange(batch), one]  # [B, T]
        with torch.no_grad():
            target = (teacher_head(tokens(teacher, x)) / 0.04).softmax(-1)
        said = (head(tokens(student, x, hidden)) / 0.1).log_softmax(-1)
        loss = -(target * said).sum(-1)[hidden].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in ((teacher, student), (teacher_head, head)):
                for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                    a.lerp_(b, 0.01)
        if step % 10 == 0:
            print(f"step {step}: loss {loss:.3f}, {hidden.float().mean():.0%} of patches hidden")
    return float(loss.detach())


if __name__ == "__main__":
    main(*sys.argv[1:2])
