"""Whether numbers are of the same images, or of what each seed holds out of the same folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from seamask.data.registry import SOURCES
from seamask.data.sets.folder import OF_EACH_CLASS

NOTHING = "nothing"  # is held out: neither by a split of its own nor by a draw


class Seen(NamedTuple):
    """What is known of the images that a number is of.

    Attributes:
        seed: by which they were held out, if they were.
        name: of the data set or folder.
        fingerprint: of the images.
        split: what was held out, in words, `NOTHING` among them; empty: not known.
        counts: how many of what; empty: not known, or they differ because some cannot be read.
    """

    seed: int
    name: str
    fingerprint: str
    split: str = ""
    counts: tuple[Any, ...] = ()

    @classmethod
    def of(cls, seed: int, data: Mapping[str, Any]) -> Seen:
        """Return what is known of the images of a result, or of a manifest's `data`.

        Args:
            seed: of the result or run.
            data: `name`, `fingerprint`, `images`, and as far as known `split` or `held_out`, and
                `skipped`.
        """
        held, images = data.get("held_out"), data.get("images") or {}
        split = str(data.get("split") or "")
        if isinstance(images, int):  # a manifest
            split = str(held.get("split") or NOTHING) if held else ""
            images = {"learn": images} | ({"held_out": held.get("images")} if held else {})
        counts = () if data.get("skipped") else tuple(sorted(images.items()))
        return cls(seed, str(data["name"]), str(data.get("fingerprint", "")), split, counts)


def held_out_by_seed(images: Iterable[Seen]) -> bool:
    """Say whether fingerprints differ only because each seed holds out other images of a folder.

    Then a share of each class is held out, the images of one seed are the same and those of no two
    seeds are, and there are as many. Named data sets have splits of their own, as folders with
    `val/` have: where their fingerprints differ, their images do.
    """
    found = list(images)
    marks: dict[int, set[str]] = defaultdict(set)
    for one in found:
        marks[one.seed].add(one.fingerprint)
    drawn = all(
        one.name not in SOURCES and (not one.split or one.split.endswith(OF_EACH_CLASS))
        for one in found
    )
    as_many = len({one.counts for one in found if one.counts}) <= 1
    different = len({one.fingerprint for one in found})
    apart = different == len(marks) > 1 and all(len(m) == 1 for m in marks.values())
    return drawn and as_many and apart
