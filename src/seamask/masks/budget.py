"""The budget of a mask: how much it may remove, fixed or moving, paid for or met exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from seamask.base.errors import UserError, check_choice, check_share

if TYPE_CHECKING:  # settings are read without torch
    from torch import Tensor

GRAMMAR = "0.25, exact:0.25, 0.1->0.5, exact:0.1->0.5, superpixel or exact:superpixel"
SHARES = "shares must be above 0 and below 1"
EXACT, SUPERPIXEL = "exact", "superpixel"


def numbers(text: str) -> list[float]:
    """Read a number, or two with an arrow between, `0.1->0.5`: what stays, or moves.

    Raises:
        ValueError: it is neither.
    """
    found = [float(part) for part in text.split("->")]
    if len(found) > 2:
        raise ValueError(text)
    return found


def moving(start: float, end: float | None) -> str:
    """Write one number, or two with an arrow, as `numbers` reads them: with all their digits."""
    shown = [f"{n:g}" if float(f"{n:g}") == n else repr(n) for n in (start, end) if n is not None]
    return "->".join(shown)


def moved(start: float, end: float | None, done: float) -> float:
    """Return a number that moves linearly, after a share `done` in [0, 1] of the training."""
    return start if end is None else start + (end - start) * min(max(done, 0.0), 1.0)


@dataclass(frozen=True)
class Budget:
    """What share of an image each mask should remove.

    Attributes:
        share: b, in (0, 1).
        end: b at the end of the training, to which it moves linearly; None: it stays.
        exact: every mask of every image removes exactly b, instead of paying for missing it.
        of: `superpixels`: b of mask k of an image is the area of cluster k of its superpixels
            ([Seq] §5), and `share` and `end` mean nothing.

    Raises:
        UserError: a share outside (0, 1).
    """

    share: float = 0.25
    end: float | None = None
    exact: bool = False
    of: Literal["image", "superpixels"] = "image"

    def __post_init__(self) -> None:
        check_share("share", self.share)
        if self.end is not None:
            check_share("end", self.end)
        check_choice("of", self.of, ("image", "superpixels"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `0.25`, `exact:0.25`, `0.1->0.5`, `exact:0.1->0.5`, `[exact:]superpixel`.

        Raises:
            UserError: it is none of these, or a share is outside (0, 1).
        """
        kind, colon, what = (part.strip() for part in text.rpartition(":"))
        if what == SUPERPIXEL and kind in ("", EXACT):
            return cls(exact=kind == EXACT, of="superpixels")
        try:
            share, *rest = numbers(what)
        except ValueError:
            raise UserError(f"--budget is {text!r}: expected {GRAMMAR}") from None
        if kind != EXACT * bool(colon):
            raise UserError(f"--budget is {text!r}: expected {GRAMMAR}")
        if not all(0 < number < 1 for number in (share, *rest)):
            raise UserError(f"--budget is {text!r}: {SHARES}")
        return cls(share, rest[0] if rest else None, exact=bool(colon))

    def __str__(self) -> str:
        """Return it as `parse` reads it."""
        what = SUPERPIXEL if self.of == "superpixels" else moving(self.share, self.end)
        return f"{EXACT}:{what}" if self.exact else what

    @property
    def moves(self) -> bool:
        """Whether b is another at the end of the training than at its start."""
        return self.of == "image" and self.end is not None and self.end != self.share

    @property
    def fixed(self) -> float | None:
        """The share that every mask should remove all the time; None: it moves, or differs."""
        return None if self.moves or self.of == "superpixels" else self.share

    def at(self, done: float) -> float:
        """Return b after a share `done` in [0, 1] of the training."""
        return moved(self.share, self.end, done)

    def target(
        self, images: Tensor, clusters: Tensor | None, n_masks: int, done: float = 1.0
    ) -> Tensor:
        """Return what each mask of some images should remove, `[B, 1]` or `[B, N]`.

        Args:
            images: `[B, 3, H, W]`, whose type and device it has.
            clusters: labels 1 … N of their pixels, integer `[B, H, W]`, the largest cluster first;
                only of superpixels.
            n_masks: N.
            done: share of the training that is over, in [0, 1].

        Raises:
            UserError: no clusters where they are needed.
        """
        if self.of == "image":
            return images.new_full((len(images), 1), self.at(done))
        if clusters is None:
            raise UserError(
                f"a budget of {self} goes by clusters of the images, integer [B, H, W]: in a step "
                "they are View(images, clusters=...)"
            )
        from seamask.masks.superpixels import areas

        return areas(clusters, n_masks)
