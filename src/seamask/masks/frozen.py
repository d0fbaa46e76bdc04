"""A trained masker, frozen: what it has learned in one pretraining drives another.

Its file says all that is needed to build it again: `about` writes that, `build.read_trained` reads
it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any

import torch
from torch import Generator, Tensor, nn

from seamask.base.settings import MOST_PIXELS, Within, to_dict
from seamask.masks.masker import MASKERS, masks_of
from seamask.masks.settings import MaskerSettings

PREFIX = "run:"  # of `--masker run:PATH`
KEY = "masker"  # of the metadata


@dataclass(frozen=True)
class About:
    """What the file of a masker says of it."""

    settings: dict[str, Any]
    image_size: Annotated[int, Within(8, MOST_PIXELS)]
    mean: tuple[float, ...]
    std: Annotated[tuple[float, ...], Within(0, above=True)]

    def metadata(self) -> dict[str, str]:
        """Return it as metadata of the file."""
        return {KEY: json.dumps(asdict(self))}

    def made_hard(self, patch: int) -> About:
        """Return the same with masks that are binary, of cells of so many pixels."""
        return replace(self, settings={**self.settings, "hard": True, "hard_patch": patch})


def about(
    settings: MaskerSettings, image_size: int, mean: Sequence[float], std: Sequence[float]
) -> dict[str, str]:
    """Return the metadata of a masker's file, of which it is built again.

    Args:
        settings: of the group `masks`.
        image_size: side of its images in pixels.
        mean: that they are normalised by, of each channel.
        std: the same.
    """
    known = {f.name for kind in (MaskerSettings, *MASKERS.settings) for f in fields(kind)}
    own = {name: value for name, value in to_dict(settings).items() if name in known}
    return About(own, image_size, (*mean,), (*std,)).metadata()


def is_frozen(name: str) -> bool:
    """Say whether the name of a masker, `run:PATH`, is that of a trained one."""
    return name.startswith(PREFIX)


class FrozenMasker(nn.Module):
    """A trained masker as it is: its masks depend on the image, and nobody trains them.

    Args:
        trained: the masker.
        said: what its file says; its images were normalised by these numbers.
    """

    learned = False
    said: About
    scale: Tensor
    shift: Tensor

    def __init__(self, trained: nn.Module, said: About) -> None:
        super().__init__()
        self.trained = trained.requires_grad_(False)
        self.n_masks: int = trained.n_masks  # type: ignore[assignment]
        self.disjoint = bool(getattr(trained, "disjoint", False))
        self.said = said
        self.register_buffer("scale", torch.ones(len(said.std), 1, 1))
        self.register_buffer("shift", torch.zeros(len(said.std), 1, 1))
        self.eval()

    def normalized_by(self, mean: Sequence[float], std: Sequence[float]) -> FrozenMasker:
        """Say what the images that it will be given are normalised by: it sees them by its own."""
        own_mean, own_std = torch.tensor(self.said.mean), torch.tensor(self.said.std)
        self.scale.copy_((torch.tensor(std) / own_std)[:, None, None])
        self.shift.copy_(((torch.tensor(mean) - own_mean) / own_std)[:, None, None])
        return self

    def train(self, mode: bool = True) -> FrozenMasker:
        """Stay as it is."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, images: Tensor, generator: Generator | None = None, objects: Tensor | None = None
    ) -> Tensor:
        """Map images `[B, C, H, W]` to masks `[B, N, H, W]` in [0, 1], without gradient."""
        seen = images * self.scale + self.shift
        return masks_of(self.trained, seen, generator=generator, objects=objects)
