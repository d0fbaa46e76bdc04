"""What is wrong with a game, and what a line of the log says of it: from its signs, in words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from seamask.config import Config

# Weight of budget and equipartition, in units of the loss's range (docs/results/game-choices.md).
HOLDS = 5


class Trouble(NamedTuple):
    """What is wrong: how far beyond what is healthy, in units of its own; and in words."""

    size: float
    text: str


def troubles(line: Mapping[str, float], config: Config, learned: bool) -> dict[str, Trouble]:
    """Return what is wrong, in words and with what to change, by kind.

    Args:
        line: metrics by name, of `Health.examine` and `ranks`.
        config: of the run.
        learned: whether masks are; nothing is said of drawn ones.
    """
    found = {}
    spread = line.get("embedding/spread", 1.0)
    if spread < 0.2:
        found["collapse"] = Trouble(
            1 - spread,
            f"embeddings collapse: their spread is {spread:.2f} of a healthy 1; "
            f"take a lower --optim.encoder.lr (now {config.optim.encoder.lr:g})",
        )
    signs = partial(_of_masks, line)
    coverage, empty, full = signs("coverage"), signs("empty"), signs("full")
    n = len(full)
    if not learned or not n:
        return found
    removed = " ".join(f"{100 * share:.0f} %" for share in coverage)
    more = _how_to_hold(config)
    extreme = max(max(full), (sum(empty) + sum(full)) / n)
    share = asked(config)
    missed = 0.0 if share is None else sum(abs(c - share) for c in coverage) / (n * share)
    if n > 2 and sum(e > 0.9 for e in empty) >= n - 1 and max(full) < 0.5:
        found["empty"] = Trouble(
            sum(empty), f"all masks but one are empty: they remove {removed}; {more}"
        )
    elif max(full) > 0.5 or sum(empty) + sum(full) > 0.7 * n:
        found["extremes"] = Trouble(
            extreme,
            f"masks are all or nothing, whatever the image: they remove {removed}; {more}",
        )
    elif missed > 0.5 and share is not None:
        found["budget"] = Trouble(
            missed,
            f"masks miss their budget: they remove {removed} on average, asked are "
            f"{100 * share:g} %; {more}",
        )
    some = [k for k in range(n) if 0.02 < coverage[k] < 0.98]
    now, rate = config.penalties.equipartition, config.optim.masker.lr
    if now < HOLDS:
        remedy = f"raise --penalties.equipartition (now {now:g}; {HOLDS} holds)"
    elif max(signs("binary"), default=1.0) > 0.05 or max(signs("adds"), default=1.0) > 0.01:
        remedy = f"raise --penalties.equipartition further (now {now:g}), or --optim.masker.lr"
    else:  # an even grey costs nothing, and teaches nothing
        remedy = f"the mask network stands still: lower --optim.masker.lr (now {rate:g})"
    if fixed := {k: signs("from_image")[k] for k in some if signs("from_image")[k] < 0.25}:
        names = ", ".join(str(k + 1) for k in fixed)
        found["place"] = Trouble(
            1 - min(fixed.values()),
            f"{f'masks {names} ignore' if len(fixed) > 1 else f'mask {names} ignores'} the image: "
            f"as little as {100 * min(fixed.values()):.0f} % of what varies in a mask comes from "
            f"it, the rest is a fixed pattern of places; {remedy}",
        )
    if outside := {k: signs("border")[k] for k in some if signs("border")[k] > 0.75}:
        worst = max(outside, key=outside.__getitem__)
        found["border"] = Trouble(
            outside[worst],
            f"masks sit at the border: {100 * outside[worst]:.0f} % of what mask {worst + 1} "
            f"removes lies in the outer eighth, 44 % would be even; {remedy}",
        )
    return found


def in_short(line: Mapping[str, float]) -> str:
    """Return what masks remove and how much of them comes from the image, for a line of
    progress."""
    shares = _of_masks(line, "coverage")
    if len(_of_masks(line, "from_image")) < len(shares) or not shares:
        return ""
    removed = " ".join(f"{100 * share:.0f}" for share in shares)
    least = min(_of_masks(line, "from_image"))
    return f", masks {removed} %, {100 * least:.0f} % or more from the image"


def _of_masks(line: Mapping[str, float], sign: str) -> list[float]:
    found: list[float] = []
    while (name := f"mask/{sign}_{len(found) + 1}") in line:
        found.append(line[name])
    return found


def asked(config: Config) -> float | None:
    """Return the share that each mask is to remove, paid for or not, if it is one number."""
    budget = config.masks.budget
    if config.masks.masker == "simultaneous":
        return None
    return budget.fixed


def asked_until(config: Config, end: float, total: float) -> list[tuple[float, float]]:
    """Return what share each learned mask is asked to remove, where that is one number at a time.

    Args:
        config: of the run.
        end: step up to which.
        total: steps of the whole run.

    Returns:
        (step, share) of both ends of a line, or nothing.
    """
    masks = config.masks
    if masks.masker == "simultaneous" or masks.budget.of == "superpixels":
        return []
    return [(step, masks.budget.at(min(1.0, step / total))) for step in (0.0, end)]


def _how_to_hold(config: Config) -> str:
    if config.masks.masker == "simultaneous":
        return (
            f"raise --penalties.sparsity (now {config.penalties.sparsity:g}) or lower "
            f"--penalties.entropy (now {config.penalties.entropy:g})"
        )
    now = config.penalties.budget
    if now < HOLDS and not config.masks.budget.exact:
        return f"raise --penalties.budget (now {now:g}; {HOLDS} holds)"
    return f"give masks more time, or raise --optim.masker.lr (now {config.optim.masker.lr:g})"
