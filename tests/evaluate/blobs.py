"""Features of four classes."""

import torch


def blobs(n, seed, spread):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    centres = torch.eye(8)[:4] * 3
    return centres[labels] + spread * torch.randn(n, 8, generator=draw), labels
