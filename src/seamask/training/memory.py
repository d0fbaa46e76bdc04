"""How much memory a step takes, before it is taken."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seamask.base.devices import kind_of, memory_total
from seamask.base.errors import UserError
from seamask.base.precision import chosen_precision
from seamask.base.settings import override
from seamask.config import Config
from seamask.game.step import two_player_step
from seamask.networks.products import as_layers
from seamask.training.players import Networks
from seamask.training.workload import Workload

GIB = 2**30
SMALL = (2, 4)  # images of the two steps that are followed
# A step takes up to so many times its images: a ResNet-18 50, with its views stacked 300. Where
# even that is there, nothing is followed, which takes seconds.
MOST = 400


def check_memory(config: Config, networks: Networks, here: int = 1) -> None:
    """Refuse settings that ask for more memory than a device has, by the least that they take.

    Args:
        config: all settings.
        networks: on any device, such as `meta`.
        here: processes on this machine.

    Raises:
        UserError: with both amounts.
    """
    weights, images = least_bytes(config, networks)
    each = images / config.micro_batch
    room = _room(config, here)
    if weights > room.there:
        raise UserError(
            f"these settings take {room.amounts('at least', weights + images)}, "
            f"of which networks and optimisers take {room.processes * weights / GIB:,.1f} GiB: "
            f"take a smaller --backbone {config.encoder.backbone}, --masks.width "
            f"{config.masks.width}, --masks.bottleneck {config.masks.bottleneck}, "
            "--objective.hidden, "
            f"--objective.out-dim {config.objective.out_dim} or --objective.queue "
            f"{config.objective.queue}"
        )
    _refuse_more(config, room, "at least", lambda n: weights + n * each)


def foretell_memory(config: Config, networks: Networks, here: int = 1) -> str:
    """Refuse settings that ask for more memory than a device has, by what two small steps take.

    Arguments and errors are those of `check_memory`.

    Returns:
        What a step takes, in words; empty where it is so little that nobody asks.
    """
    weights, images = least_bytes(config, networks)
    room = _room(config, here)
    if weights + MOST * images <= room.there:
        return ""
    taken = follow(config)
    _refuse_more(config, room, "about", taken.of)
    return f"a step takes {room.amounts('about', taken.of(config.micro_batch))}"


def least_bytes(config: Config, networks: Networks) -> tuple[int, int]:
    """Return what a process takes at least: for networks and optimisers, and for a part's images.

    Weights, their gradients and one momentum; two views of the images, and their masks.
    """
    weights = 0
    for network in (networks.encoder, networks.masker):
        for tensor in (*network.parameters(), *network.buffers()):
            weights += tensor.nbytes * (3 if tensor.requires_grad else 1)
    masks = 0 if config.masks.masker == "none" else config.masks.n_masks
    images = config.micro_batch * config.image_size**2 * 4 * (2 * config.data.channels + masks)
    return weights, images


@dataclass(frozen=True)
class _Room:
    """Memory that processes share.

    Attributes:
        processes: that share it.
        there: bytes for each of them.
        whose: it is, in words.
    """

    processes: int
    there: float
    whose: str

    def amounts(self, how: str, taken: float) -> str:
        """Say what all of them take, of which each takes `taken` bytes, and what there is."""
        takes, there = (self.processes * n / GIB for n in (taken, self.there))
        return f"{how} {takes:,.1f} GiB, and {self.whose} has {there:,.1f} GiB"


def _room(config: Config, here: int) -> _Room:
    on_gpu = kind_of(config.device) == "cuda"  # Apple's has the host's memory
    processes = 1 if on_gpu else here
    total = memory_total(torch.device("cuda" if on_gpu else "cpu"))
    return _Room(processes, total / processes, "the GPU" if on_gpu else "this machine")


def _refuse_more(config: Config, room: _Room, how: str, takes: Callable[[int], float]) -> None:
    """Refuse a batch that takes more than there is; name the parts in which it would fit.

    Args:
        config: all settings.
        room: what there is.
        how: exact the amounts are, in words.
        takes: bytes that a process takes, by the images of a part.
    """
    if takes(config.micro_batch) <= room.there:
        return
    share = config.batch_size // config.devices
    fitting = [
        parts
        for parts in range(config.accumulate + 1, share // 2 + 1)
        if share % parts == 0 and takes(share // parts) <= room.there
    ]
    larger = f", or --accumulate {fitting[0]} or more" if fitting else ""
    raise UserError(
        f"these settings take {room.amounts(how, takes(config.micro_batch))}: take a smaller "
        f"--batch-size {config.batch_size}, --image-size {config.image_size} or --n-masks "
        f"{config.masks.n_masks}{larger}"
    )


@dataclass(frozen=True)
class Taken:
    """What a step takes: after each of its operations, so many bytes and so many an image.

    Attributes:
        bytes: `[operations]`, float64.
        an_image: `[operations]`, float64.
    """

    bytes: npt.NDArray[np.float64]
    an_image: npt.NDArray[np.float64]

    def of(self, images: int) -> float:
        """Return the most that is taken at once, in bytes."""
        return float((self.bytes + images * self.an_image).max())


def follow(config: Config) -> Taken:
    """Take steps on two small batches on the CPU, and follow what their tensors take.

    A step has the same operations for any batch, and what is held after each grows with the batch
    along a line; so the highest of these lines tells the peak of any batch, which is a different
    one for a small batch (the optimiser's) than for a large one. Not in it: workspace of
    convolutions, what libraries take, messages between processes. See docs/performance.md.

    Args:
        config: all settings.
    """
    few, more = (_held(replace(config, batch_size=n, accumulate=1, devices=1)) for n in SMALL)
    if len(few) != len(more):  # operations that depend on what they are given
        few, more = few.max(keepdims=True), more.max(keepdims=True)
    slope = (more - few) / (SMALL[1] - SMALL[0])
    return Taken(few - SMALL[0] * slope, slope)


def _held(config: Config) -> npt.NDArray[np.float64]:
    """Return the bytes of all tensors of a step after each of its operations.

    In the precision and with the layers of the device that is asked for; not compiled, which would
    take minutes.
    """
    kind = kind_of(config.device)
    precision = chosen_precision(config.precision, kind)
    config = override(config, {"device": "cpu", "precision": precision, "compile": False})
    with _Held() as held:
        work = Workload(config, torch.device("cpu"))
        if kind != "cpu":
            as_layers(work.encoder)
        for _ in range(2):  # the first makes what optimisers remember
            start = len(held.after)
            two_player_step(work.players, [work.pair], work.draw)
    return np.array(held.after[start:], dtype=np.float64)


class _Held(TorchDispatchMode):
    """Follows the storages of tensors that operations make, from their making to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, int] = {}  # bytes of those that are held, by their address
        self.now = 0
        self.after: list[int] = []  # bytes held after each operation

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in (found,) if isinstance(found, Tensor) else tree_leaves(found):
            if isinstance(tensor, Tensor):
                self.add(tensor.untyped_storage())
        self.after.append(self.now)
        return found

    def add(self, storage: torch.UntypedStorage) -> None:
        address = storage._cdata
        if address not in self.storages:
            self.storages[address] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._end, address)

    def _end(self, address: int) -> None:
        self.now -= self.storages.pop(address)
