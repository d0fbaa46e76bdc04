"""Takes steps on batches; on a GPU from a CUDA graph, recorded once.

On a GPU the host asks for every operation, some thousands a step at 5 to 20 µs each, and the GPU
waits for it. A graph asks for all of them at once. What changes from step to step goes through
memory that stays where it is: the batch, what is drawn (`seamask.base.draws.drawn`), gradients and
metrics. Optimisers stay outside, so that any will do.
"""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seamask.base.draws import BatchGenerator, Tape, derive_seed
from seamask.config import Config
from seamask.game.players import TwoPlayers, View
from seamask.game.step import Turn, take, turns, two_player_step
from seamask.masks.frozen import FrozenMasker
from seamask.masks.penalties import PENALTIES
from seamask.plugins import is_ours

WARM_UP = 3  # steps, in which libraries choose their algorithms and optimisers make their memory
Pairs = list[tuple[View, View]]
See = Callable[[Tensor, dict[str, Tensor], torch.Generator], Pairs]
Taken = tuple[Pairs, dict[str, Tensor]]


def can_record(config: Config, device: str) -> bool:
    """Say whether the step of a run could be recorded as a CUDA graph, on a type of device.

    Left-out patches make sequences as long as the masks leave them, which no graph can hold; what
    several processes send each other is not recorded.
    """
    return device == "cuda" and config.devices == 1 and not config.masks.drop


def records(config: Config, players: TwoPlayers, device: torch.device) -> bool:
    """Say whether the step of a run is recorded as a CUDA graph.

    Parts from elsewhere may count in Python, which would stand still: they are recorded only if
    that is asked for.
    """
    if config.cuda_graph == "no" or not can_record(config, device.type):
        return False
    paid = [PENALTIES[name].cost for name in players.penalty_weights]
    masker = players.masker
    masker = masker.trained if isinstance(masker, FrozenMasker) else masker
    parts = [type(masker), type(players.objective), *paid]
    return config.cuda_graph == "yes" or all(map(is_ours, parts))


class Stepper:
    """Takes steps of two players, each a function of its batch and of what `draw` says.

    Args:
        players: who plays.
        see: makes the pairs of views of a batch of images, of its maps by name, with a generator.
        graph: record the step on the GPU and replay it.
        rank: of this process, which has a part of the batch.
        processes: that have one.
    """

    def __init__(
        self, players: TwoPlayers, see: See, graph: bool, rank: int = 0, processes: int = 1
    ) -> None:
        self.players, self.see, self.graph = players, see, graph
        self.views, self.masks = (BatchGenerator(rank, processes) for _ in range(2))
        self.recordings: dict[bool, _Recording] = {}
        self.pool = torch.cuda.graph_pool_handle() if graph else None  # of all: they take turns

    def take(
        self,
        images: Tensor,
        maps: dict[str, Tensor],
        move_masks: bool,
        draw: tuple[int, ...],
    ) -> Taken:
        """Take one step.

        Args:
            images: uint8 `[B, 3, S, S]`.
            maps: labels of their pixels, uint8 `[B, S, S]`, by their names in `View`.
            move_masks: see `two_player_step`.
            draw: what all draws of this step depend on.

        Returns:
            The views, one pair or several, which the next step may overwrite; metrics, which it
            does not.
        """
        self.views.manual_seed(derive_seed(*draw, "views"))  # anew for each step
        self.masks.manual_seed(derive_seed(*draw, "masks"))
        if not self.graph:
            return self.at_once(images, maps, move_masks)
        recording = self.recordings.setdefault(move_masks, _Recording(self, move_masks))
        try:
            return recording.take(images, maps)
        except _NotRecordedError as error:
            reason = str(error)
        self._give_up(reason)  # outside, since the error holds what was recorded so far
        return self.take(images, maps, move_masks, draw)

    def _give_up(self, reason: str) -> None:
        """Take steps operation by operation from now on; free what was recorded."""
        self.graph = False
        self.recordings.clear()
        for network in (self.players.encoder, self.players.masker):
            network.zero_grad(set_to_none=True)
        gc.collect()
        torch.cuda.empty_cache()
        logging.getLogger(__name__).warning("the step is taken without a CUDA graph: %s", reason)

    def at_once(self, images: Tensor, maps: dict[str, Tensor], move_masks: bool) -> Taken:
        """Take one step, operation by operation."""
        pairs = self.see(images, maps, self.views)
        return pairs, two_player_step(self.players, pairs, self.masks, move_masks)


class _NotRecordedError(Exception):
    """A step that asks the device for a number, say."""


def _states(*generators: torch.Generator) -> list[object]:
    """Return where generators stand, and those of the host: what they draw while a step is recorded
    would be the same in every replay."""
    ours = (g.get_state().tolist() for g in (*generators, torch.default_generator))
    return [*ours, random.getstate(), str(np.random.get_state())]


@contextmanager
def _own_draws_kept(device: int) -> Generator[None, None, None]:
    """Within, a capture that fails leaves PyTorch's own draws on a GPU as they were.

    PyTorch 2.11's would fail from then on, as if still captured: they get a new state.
    """
    draws = torch.cuda.default_generators[device]
    before = draws.get_state()
    try:
        yield
    except BaseException:
        fresh = torch.Generator(draws.device)
        fresh.set_state(before)
        draws.graphsafe_set_state(fresh)
        raise


class _Segment(NamedTuple):
    """What is computed up to a player's turn, and where its gradients then are."""

    graph: torch.cuda.CUDAGraph
    turn: Turn | None
    gradients: list[Tensor | None]


class _Recording:
    """A step that is taken operation by operation a few times, then recorded, then replayed."""

    def __init__(self, stepper: Stepper, move_masks: bool) -> None:
        self.stepper, self.move_masks = stepper, move_masks
        self.stream = torch.cuda.Stream()
        self.tape = Tape()
        self.warm = 0
        self.segments: list[_Segment] = []
        self.images: Tensor
        self.maps: dict[str, Tensor]
        self.pairs: Pairs
        self.metrics: dict[str, Tensor] = {}
        self.values: Tensor

    def take(self, images: Tensor, maps: dict[str, Tensor]) -> Taken:
        """Take one step; see `Stepper.take`."""
        if self.warm < WARM_UP:
            return self._warm_up(images, maps)
        if not self.segments:
            self._record(images, maps)
        return self._replay(images, maps)

    def _warm_up(self, images: Tensor, maps: dict[str, Tensor]) -> Taken:
        self.warm += 1
        outside = torch.cuda.current_stream()
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream), self.tape.recording():
            taken = self.stepper.at_once(images, maps, self.move_masks)
        outside.wait_stream(self.stream)
        return taken

    def _record(self, images: Tensor, maps: dict[str, Tensor]) -> None:
        self.images, self.maps = images.clone(), {name: m.clone() for name, m in maps.items()}
        drawn = _states(self.stepper.views, self.stepper.masks)
        steps = self._turns()
        turn: Turn | None
        collecting = gc.isenabled()
        gc.disable()  # what a collection frees could be a graph, which ends the recording
        try:
            # A capture that fails leaves its stream the current one.
            with (
                self.tape.playing(),
                torch.cuda.stream(torch.cuda.current_stream()),
                _own_draws_kept(images.get_device()),
            ):
                while True:
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(
                        graph, self.stepper.pool, self.stream, capture_error_mode="thread_local"
                    ):
                        turn = next(steps, None)
                    parameters = [*turn.network.parameters()] if turn else []
                    self.segments.append(_Segment(graph, turn, [p.grad for p in parameters]))
                    if turn is None:
                        break
            if _states(self.stepper.views, self.stepper.masks) != drawn:
                raise RuntimeError("a part draws by itself, not with seamask.base.draws.drawn")
        except RuntimeError as error:
            self.segments = []
            steps.close()
            raise _NotRecordedError(str(error).splitlines()[0]) from error
        finally:
            if collecting:
                gc.enable()

    def _turns(self) -> Generator[Turn, None, None]:
        stepper = self.stepper
        self.pairs = stepper.see(self.images, self.maps, stepper.views)
        yield from turns(stepper.players, self.pairs, stepper.masks, self.move_masks, self.metrics)
        self.values = torch.stack(list(self.metrics.values()))

    def _replay(self, images: Tensor, maps: dict[str, Tensor]) -> Taken:
        self.images.copy_(images)
        for name, labels in maps.items():
            self.maps[name].copy_(labels)
        self.tape.draw()
        for graph, turn, gradients in self.segments:
            graph.replay()
            if turn is not None:
                for parameter, gradient in zip(turn.network.parameters(), gradients, strict=True):
                    parameter.grad = gradient
                take(self.stepper.players, turn)
        return self.pairs, dict(zip(self.metrics, self.values.clone().unbind(), strict=True))
