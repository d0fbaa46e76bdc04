"""What images are normalised by: their own mean and deviation, ImageNet's, or given ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from seamask.base.errors import UserError
from seamask.base.settings import Within

NAMES = ("auto", "own", "imagenet")
EXAMPLE = "0.5,0.4,0.4/0.2,0.2,0.3"


@dataclass(frozen=True)
class Normalization:
    """Statistics of the channels, red, green, blue or grey, of values in [0, 1].

    It unpacks: `Views(config, size, *normalization)`.

    Attributes:
        mean: of each channel.
        std: standard deviation of each channel, above 0.

    Raises:
        UserError: neither one number nor three, or not as many of both.
    """

    mean: tuple[float, ...]
    std: Annotated[tuple[float, ...], Within(0, above=True)]

    def __post_init__(self) -> None:
        if len(self.mean) not in (1, 3):
            raise UserError(f"mean is {[*self.mean]}: expected one number, or three")
        if len(self.std) != len(self.mean):
            raise UserError(f"std is {[*self.std]}: expected as many numbers as of the mean")

    def __iter__(self) -> Iterator[tuple[float, ...]]:
        return iter((self.mean, self.std))


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_IMAGENET_GREY = Normalization((0.449,), (0.226,))  # their means, as torchvision's of one channel


def imagenet(channels: int) -> Normalization:
    """Return ImageNet's statistics, of 3 channels or 1."""
    return IMAGENET if channels == 3 else _IMAGENET_GREY


@dataclass(frozen=True)
class Normalize:
    """What is asked for.

    Attributes:
        by: `auto`: what the source says.
        mean: of each channel, or one for all, of values in [0, 1]; where they are given.
        std: the same.
    """

    by: Literal["auto", "own", "imagenet", "given"] = "auto"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `auto`, `own`, `imagenet` or `MEAN/STD`, each one number or three.

        Raises:
            UserError: it is none of these.
        """
        if text in NAMES:
            return cls(text)  # type: ignore[arg-type]
        try:
            mean, std = (tuple(map(float, part.split(","))) for part in text.split("/"))
        except ValueError:
            mean, std = (), ()
        counts = {len(mean), len(std)}
        if (
            not counts <= {1, 3}
            or not all(math.isfinite(v) for v in mean)
            or not all(0 < v < math.inf for v in std)
        ):
            raise UserError(
                f"--data.normalize is {text!r}: expected own, imagenet, or mean and standard "
                f"deviation of red, green, blue in [0, 1], such as {EXAMPLE}"
            )
        return cls("given", mean, std)

    def check_channels(self, channels: int) -> None:
        """Refuse numbers of more channels than images have.

        Raises:
            UserError: they are of colours, and the images are grey.
        """
        if max(len(self.mean), len(self.std)) > channels:
            raise UserError(
                f"--data.normalize {self}: is of red, green, blue, and --data.channels is "
                f"{channels}: give one mean and one standard deviation"
            )

    def __str__(self) -> str:
        if self.by != "given":
            return self.by
        return "/".join(",".join(map(str, values)) for values in (self.mean, self.std))
