import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seamask.data import Images, Loader, is_resident, permutation
from seamask.data.store import loader as loader_module


@pytest.fixture
def pixels(tmp_path):
    array = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=(50, 8, 8, 3))
    array[:] = np.random.default_rng(0).integers(0, 256, array.shape)
    return torch.from_numpy(array)


@given(n=st.integers(1, 300), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_permutation_holds_each_once_and_repeats(n, seed, epoch):
    order = permutation(n, seed, epoch)
    assert order.dtype == torch.int64
    assert order.sort().values.tolist() == list(range(n))
    assert torch.equal(order, permutation(n, seed, epoch))


def test_permutation_differs_by_seed_and_epoch():
    orders = {tuple(permutation(50, s, e).tolist()) for s in range(5) for e in range(5)}
    assert len(orders) == 25


def test_permutation_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    permutation(10, 0, 0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 12])
def test_batches_come_in_the_order_asked_for(pixels, resident, steps):
    indices = torch.randint(50, (steps, 4))
    loader = Loader(pixels, "cpu", resident)
    found = list(loader.batches(indices))
    assert len(found) == steps
    for rows, batch in zip(indices, found, strict=True):
        assert batch.shape == (4, 3, 8, 8)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch, pixels[rows].permute(0, 3, 1, 2))
    assert loader.waited >= 0


def test_resident_and_streamed_batches_are_the_same(pixels):
    parts = list(permutation(50, 0, 0).split(16))  # the last one is smaller
    both = [list(Loader(pixels, "cpu", resident).batches(parts)) for resident in (True, False)]
    assert all(torch.equal(a, b) for a, b in zip(*both, strict=True))


@pytest.mark.parametrize("resident", [True, False])
def test_errors_reach_the_consumer(pixels, resident):
    loader = Loader(pixels, "cpu", resident)
    with pytest.raises((IndexError, RuntimeError)):
        list(loader.batches(torch.tensor([[0, 1], [2, 50]])))


def test_stopping_early_stops_the_thread(pixels):
    running = loader_threads()
    stream = Loader(pixels, "cpu", False).batches(torch.zeros(1000, 4, dtype=torch.int64))
    next(stream)
    assert running < loader_threads() <= running + loader_module.THREADS
    stream.close()
    assert loader_threads() == running


def test_indices_are_asked_for_only_a_little_ahead(pixels):
    asked = []

    def indices():
        for step in range(100):
            asked.append(step)
            yield torch.tensor([step % 50])

    stream = Loader(pixels, "cpu", False).batches(indices())
    next(stream)
    assert len(asked) == loader_module.AHEAD + 1
    stream.close()


def test_resident_when_it_fits(pixels, monkeypatch):
    images, cpu = Images(pixels), torch.device("cpu")
    assert loader_module.memory_free(cpu) > 1e6
    assert is_resident(images, "auto", cpu)
    monkeypatch.setattr(loader_module, "memory_free", lambda device: pixels.nbytes * 2 - 1)
    assert not is_resident(images, "auto", cpu)
    assert is_resident(images, "yes", cpu)
    assert not is_resident(images, "no", cpu)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(pixels):
    assert is_resident(Images(pixels), "auto", torch.device("cuda"))
    indices = torch.randint(50, (8, 4))
    for resident in (True, False):
        for rows, batch in zip(
            indices, Loader(pixels, "cuda", resident).batches(indices), strict=True
        ):
            assert batch.device.type == "cuda"
            assert torch.equal(batch.cpu(), pixels[rows].permute(0, 3, 1, 2))


def loader_threads():
    return sum(t.name.startswith("seamask-batches") for t in threading.enumerate())
