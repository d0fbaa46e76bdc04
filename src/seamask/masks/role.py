"""The role of a masker: adversary, partner, or one after the other (CL-MAE)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from seamask.base.errors import UserError
from seamask.masks.budget import moved, moving, numbers

GRAMMAR = "a factor such as 1, or -1->1: partner first, adversary later"


@dataclass(frozen=True)
class Role:
    """By what the loss is multiplied that the masker raises.

    Madan et al. (CL-MAE, WACV 2024) let the mask network help first and hinder later, by a factor
    that moves over the training (in their code, `curriculum_factor`, with the opposite sign).

    Penalties are paid as they are whatever the factor: a weight that holds against the loss holds
    against four times the loss four times less.

    Attributes:
        factor: 1: the masker raises the loss; −1: it lowers it; 0: it heeds its penalties alone.
        end: factor at the end of the training, to which it moves linearly; None: it stays.

    Raises:
        UserError: a factor that is not finite.
    """

    factor: float = 1.0
    end: float | None = None

    def __post_init__(self) -> None:
        if not all(math.isfinite(f) for f in (self.factor, self.end or 0.0)):
            raise UserError(f"role is {self}: expected {GRAMMAR}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1` or `-1->1`.

        Raises:
            UserError: it is neither.
        """
        try:
            return cls(*numbers(text))
        except ValueError:
            raise UserError(f"--masks.role is {text!r}: expected {GRAMMAR}") from None

    def __str__(self) -> str:
        """Return it as `parse` reads it."""
        return moving(self.factor, self.end)

    @property
    def moves(self) -> bool:
        """Whether the factor is another at the end of the training than at its start."""
        return self.end is not None and self.end != self.factor

    def at(self, done: float) -> float:
        """Return the factor after a share `done` in [0, 1] of the training."""
        return moved(self.factor, self.end, done)
