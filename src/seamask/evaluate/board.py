"""Masks and their rivals, measured beside each other, some images at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from seamask.base.channels import as_channels
from seamask.base.progress import Progress
from seamask.data import Images
from seamask.data.files.decode import BadImage
from seamask.data.whole import Whole, WholeImages
from seamask.evaluate.following import Following, blocks_like, predict, resized
from seamask.evaluate.one_map import AUTO, BORDER, chosen, fix_rule, in_words
from seamask.evaluate.rivals import activation_maps, centre_prior, colour_clusters, slic_clusters
from seamask.evaluate.saliency import Scores, averaged, best_of, score_map
from seamask.evaluate.task import Context
from seamask.show.figures import coloured, comparison_figure

# The oracle is no rival: the best of an image's masks, by the truth.
RIVALS = ("oracle", "centre", "random", "colour", "slic", "untrained", "activation")
CHUNK = 64  # images at once
RULED = 128  # training images that the rule is fixed on, at most
SHOWN = 2  # images of each kind in the figure: the best, from the middle, the worst
CELL = 112  # side in pixels of a picture in it


class Methods:
    """The masks that are measured, and those of each rival.

    Args:
        context: of the evaluation.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self._untrained = context.subject.untrained_masker().to(context.device)

    def predict(self, pixels: Tensor) -> Tensor:
        """Return the masks `[n, N, S, S]` of squares, uint8 `[n, S, S, 3]`."""
        context = self.context
        return predict(context.masker, pixels, context.size, context.data.normalization)

    def maps(self, pixels: Tensor, masks: Tensor, blocks: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield by name the masks and those of each rival, `[n, N, S, S]`, or one an image.

        Args:
            pixels: uint8 `[n, S, S, 3]`.
            masks: `[n, N, S, S]`, those of the masker; their name is empty.
            blocks: bool, random ones of the same areas.
        """
        context, n_masks, size = self.context, masks.shape[1], self.context.size
        yield "", masks
        yield "centre", centre_prior(len(pixels), size)
        yield "random", blocks.float()
        yield "colour", colour_clusters(pixels, n_masks).float()
        yield "slic", slic_clusters(pixels, n_masks).float()
        yield "untrained", predict(self._untrained, pixels, size, context.data.normalization)
        backbone = context.subject.backbone
        activation = activation_maps(backbone, pixels, size, context.data.normalization)
        if activation is not None:
            yield "activation", activation

    def fix_rules(self) -> dict[str, str]:
        """Return by which rule one map of an image is chosen, of the masks and of each rival."""
        config, train = self.config, self.context.data.train
        if config.rule != AUTO or train.objects is None:
            rule = BORDER if config.rule == AUTO else config.rule
            self.context.note(f"one map an image: {in_words(rule)}")
            return dict.fromkeys(("", *RIVALS), rule)
        shown = torch.linspace(0, len(train) - 1, min(RULED, len(train))).long()
        pixels, objects = train.pixels[shown], resized(train.objects[shown], self.context.size)
        masks = self.predict(pixels)
        rules = {
            name: fix_rule(maps, objects, config.threshold, config.empty)
            for name, maps in self.maps(pixels, masks, blocks_like(masks >= config.threshold))
        }
        told = "; ".join(
            f"{name or 'masks'}: {in_words(rules[name])}"
            for name in rules
            if name not in ("centre", "activation")  # they have one
        )
        self.context.note(f"one map an image, the best on {len(shown)} training images: {told}")
        return rules


class Board:
    """Gathers what masks and rivals achieve, some images at a time.

    Args:
        methods: whose.
        rules: see `Methods.fix_rules`.
        images: that one map of is measured.
    """

    def __init__(self, methods: Methods, rules: dict[str, str], images: WholeImages) -> None:
        self.methods, self.rules, self.images = methods, rules, images
        self.config = methods.config
        self.pictures = methods.context.keep is not None
        self._following: dict[str, Following] = {}
        self._scores: dict[str, list[Scores]] = defaultdict(list)
        self._maps: dict[str, list[Tensor]] = defaultdict(list)
        self._numbers: list[int] = []  # of the images that were measured

    def add(
        self,
        pixels: Tensor,
        masks: Tensor,
        blocks: Tensor,
        objects: Tensor | None,
        whole: Mapping[int, Whole],
    ) -> None:
        """Measure some images.

        Args:
            pixels: as of `Methods.maps`; so are the next two.
            masks: see there.
            blocks: see there.
            objects: integer `[n, S, S]`, for what is measured of all masks; None: that is not.
            whole: n of `images` by number, for what is measured of one map an image, where there
                is an object; empty: that is not.
        """
        rows = [row for row, image in enumerate(whole.values()) if len(image.boxes)]
        seen = [image for image in whole.values() if len(image.boxes)]
        self._numbers += [number for number, image in whole.items() if len(image.boxes)]
        if objects is None and not seen:
            return
        threshold = self.config.threshold
        for name, maps in self.methods.maps(pixels, masks, blocks):
            if objects is not None:
                self._following.setdefault(name, Following(threshold)).add(maps, objects)
            if seen:
                one = chosen(maps[rows], self.rules[name], threshold, self.config.empty)
                self._score(name, one, seen)
        if seen:
            pairs = zip(masks[rows], seen, strict=True)
            best = [best_of(mask, image, threshold) for mask, image in pairs]
            self._score("oracle", masks[rows, best], seen)

    def _score(self, name: str, maps: Tensor, images: Sequence[Whole]) -> None:
        """Score one map `[n, S, S]` an image."""
        for found, image in zip(maps, images, strict=True):
            self._scores[name].append(score_map(found, image, self.config.threshold))
        if self.pictures:
            side = min(CELL, maps.shape[-1])
            shades = F.interpolate(maps[:, None], (side, side), mode="bilinear")[:, 0]
            self._maps[name] += (shades.clamp(0, 1) * 255).round().byte()

    def metrics(self) -> dict[str, float]:
        """Return all measures, those of the masks first."""
        found = {name: following.metrics() for name, following in self._following.items()}
        ones = {name: averaged(scores) for name, scores in self._scores.items()}
        return {
            f"{measure}_{name}".rstrip("_"): value
            for part in (found, ones)
            for name, measures in part.items()
            for measure, value in measures.items()
        }

    def draw(self, path: Path) -> None:
        """Write a picture of images where the masks do best, middling and worst."""
        columns = {"": "chosen mask"} | {name: name for name in RIVALS if name in self._maps}
        scores = self._scores[""]
        order = sorted(range(len(scores)), key=lambda i: -scores[i].main)
        n, middle = min(SHOWN, len(order)), max(0, len(order) // 2 - SHOWN // 2)
        parts = {"best": order[:n], "middle": order[middle : middle + n], "worst": order[::-1][:n]}
        rows, captions = {}, {}
        for kind, shown in parts.items():
            for k, i in enumerate(shown, start=1):
                image = self.images.read(self._numbers[i])
                maps = [self._maps[name][i].numpy() for name in columns]
                rows[f"{kind} {k}"] = [
                    image.pixels,
                    _drawn_truth(image),
                    *(np.stack([m] * 3, axis=-1) for m in maps),
                ]
                captions[f"{kind} {k}"] = [
                    "",
                    "",
                    *(f"{self._scores[name][i].main:.2f}" for name in columns),
                ]
        comparison_figure(rows, ["image", "objects", *columns.values()], captions, path)


def _drawn_truth(image: Whole) -> npt.NDArray[np.uint8]:
    """Return what is known of an image's objects as a picture `[H, W, 3]`: their map or boxes."""
    if image.objects is not None:
        return coloured(torch.from_numpy(image.objects.astype(np.int64))[None])[0].numpy()
    sheet = Image.fromarray(np.zeros_like(image.pixels))
    draw = ImageDraw.Draw(sheet)
    for left, top, right, bottom in image.boxes.tolist():
        draw.rectangle((left, top, right - 1, bottom - 1), outline="white", width=3)
    return np.asarray(sheet)


def whole_squares(images: Images) -> WholeImages:
    """Return the squares of a store, with objects, as whole images."""

    def read(index: int) -> Whole:
        assert images.objects is not None
        pixels = as_channels(images.pixels[index], 3)
        return Whole.of_map(pixels.numpy(), images.objects[index].numpy())

    return WholeImages(len(images), read)


def measure_squares(board: Board, images: Images, masks: Tensor, one: bool) -> None:
    """Measure all masks of the squares of a store.

    Args:
        board: gathers it.
        images: with objects.
        masks: `[n, N, S, S]`.
        one: measure one map of each, too.
    """
    assert images.objects is not None
    objects = resized(images.objects, masks.shape[-1])
    blocks = blocks_like(masks >= board.config.threshold)
    with Progress("measuring masks", len(masks), "images") as bar:
        for part in torch.arange(len(masks)).split(CHUNK):
            whole = {i: board.images.read(i) for i in part.tolist()} if one else {}
            board.add(images.pixels[part], masks[part], blocks[part], objects[part], whole)
            bar.advance(len(part))


def measure_whole(board: Board, images: WholeImages) -> None:
    """Measure one map of each whole image; those that cannot be read are left out."""
    with Progress("measuring whole images", len(images), "images") as bar:
        for seed, part in enumerate(torch.arange(len(images)).split(CHUNK)):
            whole = {}
            for number in part.tolist():
                with suppress(BadImage):  # the store has left it out, too, and named it
                    whole[number] = images.read(number)
            if whole:
                squares = [image.square(board.methods.context.size) for image in whole.values()]
                pixels = torch.from_numpy(np.stack(squares))
                masks = board.methods.predict(pixels)
                blocks = blocks_like(masks >= board.config.threshold, seed)
                board.add(pixels, masks, blocks, None, whole)
            bar.advance(len(part))
