"""What is drawn in a step, recorded and given anew to its replays."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from seamask.base.draws import Tape, derive_seed, drawn, generator

CPU = torch.device("cpu")


def step(draw, sizes):
    return [drawn(lambda n=n: torch.rand(n, generator=draw), CPU) for n in sizes]


@given(st.lists(st.integers(1, 5), max_size=4), st.integers(0, 9))
def test_a_replay_finds_what_would_be_drawn(sizes, seed):
    tape, draw = Tape(), torch.Generator()
    draw.manual_seed(derive_seed(0))
    with tape.recording():
        first = step(draw, sizes)
    with tape.playing():
        places = step(draw, sizes)
    assert all(a is b for a, b in zip(first, places, strict=True))
    draw.manual_seed(derive_seed(seed))
    tape.draw()
    for place, expected in zip(places, step(generator(seed), sizes), strict=True):
        assert torch.equal(place, expected)


def test_what_is_drawn_outside_is_no_part_of_a_tape():
    tape, draw = Tape(), generator(0)
    with tape.recording():
        step(draw, [2])
    step(draw, [3])
    assert len(tape.entries) == 1
