"""What each of several processes takes and draws is its part of what one would."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seamask.base.draws import BLOCK, BatchGenerator, derive_seed, per_image
from seamask.data import shared_out
from seamask.masks.choice import draw_one
from seamask.masks.random import RandomBlockMasker, RandomPatchMasker
from seamask.views.parameters import draw
from seamask.views.settings import ViewsConfig

COUNT = st.integers(1, 4)


@given(COUNT, COUNT, COUNT, st.integers(0, 3), st.integers(0, 5))
def test_processes_share_each_part_of_each_batch(images, parts, processes, steps, rest):
    batch = images * parts * processes
    order = torch.randperm(steps * batch + min(rest, batch - 1))
    (one,) = shared_out(order, batch, parts, 1)
    assert torch.equal(one.flatten(), order[: steps * batch])
    several = shared_out(order, batch, parts, processes)
    assert several.shape == (processes, steps, batch // processes)
    for step in range(steps):
        whole = one[step].chunk(parts)
        for k, shares in enumerate(zip(*(rows[step].chunk(parts) for rows in several))):  # noqa: B905
            assert torch.equal(torch.cat(shares), whole[k])


DRAWN = {
    "views": lambda n, g: draw(n, 32, 48, ViewsConfig(), g).pack(),
    "patches": lambda n, g: RandomPatchMasker(2, patch=8)(torch.zeros(n, 3, 16, 16), g),
    "blocks": lambda n, g: RandomBlockMasker(2)(torch.zeros(n, 3, 8, 8), g),
    "choices": lambda n, g: draw_one(torch.zeros(n, 3, 1, 1), g),
}


@pytest.mark.parametrize("what", DRAWN)
def test_processes_draw_what_one_draws_for_their_images(what):
    def drawn(rank, processes):
        source = BatchGenerator(rank, processes)
        source.manual_seed(derive_seed(0))
        return torch.stack([DRAWN[what](12 // processes, source) for _ in range(3)])

    whole = drawn(0, 1)
    for processes in (2, 3):
        shares = [drawn(rank, processes) for rank in range(processes)]
        assert torch.equal(torch.cat(shares, dim=1), whole)


@given(st.integers(1, 3 * BLOCK), st.integers(1, 3))
def test_large_batches_are_drawn_in_blocks(n, processes):
    asked = []

    def count(images, source):
        asked.append(images)
        return torch.rand(images, generator=source)

    def drawn(rank, processes, n):
        source = BatchGenerator(rank, processes)
        source.manual_seed(derive_seed(0))
        return torch.stack([per_image(count, n, source) for _ in range(2)])

    shares = [drawn(rank, processes, n) for rank in range(processes)]
    assert max(asked) <= BLOCK
    assert sum(asked) <= 2 * processes * (n + 2 * BLOCK)
    whole = drawn(0, 1, n * processes)
    assert torch.equal(torch.cat(shares, dim=1), whole)
    assert len(whole.unique()) > 0.99 * whole.numel()  # no block is like another
