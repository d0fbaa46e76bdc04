"""The budget of a mask: how much it may remove, fixed or moving, paid for or met exactly."""

from __future__ import annotations

from dataclasses import dataclass

from seamask.base.errors import UserError

GRAMMAR = "0.25, exact:0.25, 0.1->0.5, exact:0.1->0.5, superpixel or exact:superpixel"
SUPERPIXEL = "superpixel"


@dataclass(frozen=True)
class Budget:
    """The share of pixels that each mask should remove.

    Attributes:
        start: b at the beginning of training, in (0, 1).
        end: b at its end; it moves linearly.
        exact: every mask of every image removes exactly b, instead of paying for missing it.
        superpixel: b of mask k of an image is the area of cluster k of its superpixels (`start` and
            `end` mean nothing).
    """

    start: float
    end: float
    exact: bool = False
    superpixel: bool = False

    def at(self, done: float) -> float:
        """Return b after a share `done` in [0, 1] of the training."""
        return self.start + (self.end - self.start) * min(max(done, 0.0), 1.0)


def parse_budget(text: str) -> Budget:
    """Read a budget: `0.25`, `exact:0.25`, `0.1->0.5`, `exact:0.1->0.5`, `[exact:]superpixel`.

    Raises:
        UserError: it is none of these, or a share is not within 0 and 1.
    """
    kind, colon, shares = text.strip().rpartition(":")
    if shares.strip() == SUPERPIXEL and kind.strip() in ("", "exact"):
        return Budget(0.0, 0.0, exact=bool(colon), superpixel=True)
    parts = [part.strip() for part in shares.split("->")]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if (colon and kind.strip() != "exact") or len(numbers) not in (1, 2):
        raise UserError(f"--budget is {text!r}: expected {GRAMMAR}")
    for number in numbers:
        if not 0 < number < 1:
            raise UserError(f"--budget is {text!r}: shares must be above 0 and below 1")
    return Budget(numbers[0], numbers[-1], exact=bool(colon))
