"""Batches as the players see them: two views of each image, with what belongs to them."""

from __future__ import annotations

from torch import Generator, Tensor

from seamask.config import Config
from seamask.game.players import View, terms
from seamask.training.stepper import Pairs
from seamask.views import Views, crop_masks
from seamask.views.fill import fill


def pairs_of(
    config: Config, views: Views, images: Tensor, maps: dict[str, Tensor], draw: Generator
) -> Pairs:
    """Return two views of each part of a batch.

    Args:
        config: of the run.
        views: draws them.
        images: uint8 `[B, C, S, S]`.
        maps: labels of their pixels, uint8 `[B, S, S]`, by their names in `View`.
        draw: a CPU generator.
    """
    n, size = config.accumulate, config.image_size
    compared = {name for term in terms(config.masks.compare) for name in term.views}

    def view(name: str, parts: dict[str, Tensor]) -> View:
        seen = View(**parts)
        if f"m{name}" not in compared:
            return seen
        return seen._replace(fill=fill(config.masks.fill, seen.images, draw))

    # All views before any fill: what stands in a hole does not decide what the next part sees.
    drawn = [views(part, draw, views=2) for part in images.chunk(n)]
    pairs = []
    for k, (seen, geometry) in enumerate(drawn):
        both = {"images": seen}
        for name, labels in maps.items():
            both[name] = crop_masks(labels.chunk(n)[k].repeat(2, 1, 1), geometry, size)
        a, b = ({name: x.chunk(2)[i] for name, x in both.items()} for i in range(2))
        pairs.append((view("a", a), view("b", b)))
    return pairs
