"""How well learned masks find objects: all of an image's masks, and one of them, beside rivals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from seamask.base.errors import UserError
from seamask.base.progress import Progress, amount
from seamask.base.settings import Within
from seamask.data import VOID, Images
from seamask.data.files.decode import BadImage
from seamask.data.whole import Whole, WholeImages
from seamask.evaluate.following import Following, blocks_like, predict, resized
from seamask.evaluate.one_map import AUTO, BORDER, check_rule, chosen, fix_rule, in_words
from seamask.evaluate.published import published
from seamask.evaluate.rivals import activation_maps, centre_prior, colour_clusters, slic_clusters
from seamask.evaluate.saliency import MEASURES, Scores, averaged, best_of, score_map
from seamask.evaluate.task import TASKS, Context, EvaluationConfig, Metric, Task
from seamask.masks.signs import effective_rank, mask_grams, mask_signs
from seamask.show.figures import coloured, comparison_figure

CHUNK = 64  # images at once
RULED = 128  # training images that the rule is fixed on, at most
RANKED = 1000  # images over which the rank of masks is taken, at most
SHOWN = 2  # images of each kind in the figure: the best, from the middle, the worst
CELL = 112  # side in pixels of a picture in it


@dataclass(frozen=True)
class MasksEvaluationConfig(EvaluationConfig):
    """How well learned masks find objects.

    All N masks of an image, on squares at the size that the masker sees (of others, the centre):
    iou (of each object with the best of N: an oracle), ari (FG-ARI), covering, mean_covering (mBO).
    One map an image, on whole images at their own sizes where there are files: saliency_iou, F
    (best threshold of each image, or one for all), accuracy, MAE, S-measure, CorLoc.
    """

    threshold: Annotated[float, Within(0, 1)] = 0.5
    """A pixel counts as removed from here on."""
    empty: Annotated[float, Within(0, 1)] = 0.01
    """A mask that removes less than this share of the image counts as empty."""
    rule: str = AUTO
    """Which one map of an image is measured, chosen without its truth: `border` (the mask that
    touches the border least), `union` (of all masks) or a mask's number; `auto`: of these what does
    best on training images that have object masks (shapes), else `border`. Rivals have the same
    choice. `oracle`: the best of N, for comparison."""

    def check(self) -> None:
        """Refuse what is no rule."""
        check_rule(self.rule)


RIVALS = ("oracle", "centre", "random", "colour", "slic", "untrained", "activation")
FOLLOWING = ("iou", "ari", "covering", "mean_covering")
STATISTICS = ("coverage_*", "empty", "binary", "overlap", "from_image", "rank")


def run(context: Context) -> dict[str, float]:
    """Return the measures of the masks and of their rivals, and `statistics`."""
    config: MasksEvaluationConfig = context.config
    data, size = context.data, context.size
    squares = data.probe_test if data.probe_test is not None else data.train
    masks = predict(context.masker, squares.pixels, size, *data.normalization)
    if config.rule.isdecimal() and int(config.rule) > masks.shape[1]:
        raise UserError(f"--rule {config.rule}: an image has {amount(masks.shape[1], 'mask')}")
    methods = Methods(context)
    board = Board(methods, methods.fix_rules())
    if squares.objects is not None:
        _check_objects(data.name, squares.objects)
        _measure_squares(board, squares, masks, data.whole is None)
    if data.whole is not None:
        _measure_whole(board, data.whole)
    for line in published(data.name):
        context.note(line)
    if context.keep is not None:
        context.keep(board.draw)
    return board.metrics() | statistics(masks, config.threshold, config.empty)


TASKS.register("masks")(
    Task(
        "how learned masks find objects: shapes, ecssd, duts-te, dut-omron, voc2007-trainval, "
        "voc2012-trainval, voc2012 or a folder in Pascal VOC layout",
        MasksEvaluationConfig,
        run,
        (
            *map(Metric, (*FOLLOWING, *MEASURES)),
            *(Metric(f"{name}_{rival}") for rival in RIVALS for name in (*FOLLOWING, *MEASURES)),
            *map(Metric, STATISTICS),
        ),
        needs=("objects", "masker"),
        draws=True,
        rivals=RIVALS,
    )
)


class Methods:
    """The masks that are measured, and those of each rival.

    Args:
        context: of the evaluation.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config: MasksEvaluationConfig = context.config
        self._untrained = context.subject.untrained_masker().to(context.device)

    def predict(self, pixels: Tensor) -> Tensor:
        """Return the masks `[n, N, S, S]` of squares, uint8 `[n, S, S, 3]`."""
        context = self.context
        return predict(context.masker, pixels, context.size, *context.data.normalization)

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
        yield "untrained", predict(self._untrained, pixels, size, *context.data.normalization)
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
    """

    def __init__(self, methods: Methods, rules: dict[str, str]) -> None:
        self.methods, self.rules, self.config = methods, rules, methods.config
        self.pictures = methods.context.keep is not None
        self._following: dict[str, Following] = {}
        self._scores: dict[str, list[Scores]] = defaultdict(list)
        self._maps: dict[str, list[Tensor]] = defaultdict(list)
        self._images: list[Callable[[], Whole]] = []

    def add(
        self,
        pixels: Tensor,
        masks: Tensor,
        blocks: Tensor,
        objects: Tensor | None,
        images: Sequence[Callable[[], Whole]],
    ) -> None:
        """Measure some images.

        Args:
            pixels: as of `Methods.maps`; so are the next two.
            masks: see there.
            blocks: see there.
            objects: integer `[n, S, S]`, for what is measured of all masks; None: that is not.
            images: n, for what is measured of one map an image; none: that is not.
        """
        whole = [image() for image in images]
        self._images += images
        for name, maps in self.methods.maps(pixels, masks, blocks):
            if objects is not None:
                kind = self._following.setdefault(name, Following(self.config.threshold))
                kind.add(maps, objects)
            if whole:
                one = chosen(maps, self.rules[name], self.config.threshold, self.config.empty)
                self._score(name, one, whole)
        if whole:
            pairs = zip(masks, whole, strict=True)
            best = [best_of(mask, image, self.config.threshold) for mask, image in pairs]
            self._score("oracle", masks[torch.arange(len(masks)), best], whole)

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
        parts = {"best": order[:n], "middle": order[middle : middle + n], "worst": order[-n:]}
        rows, captions = {}, {}
        for kind, shown in parts.items():
            for k, i in enumerate(shown, start=1):
                image = self._images[i]()
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


def _measure_squares(board: Board, images: Images, masks: Tensor, whole: bool) -> None:
    """Measure all masks `[n, N, S, S]` of the squares of a store; `whole`: and one of each, too."""
    assert images.objects is not None
    objects = resized(images.objects, masks.shape[-1])
    blocks = blocks_like(masks >= board.config.threshold)
    rows = torch.arange(len(masks)).split(CHUNK)
    with Progress("measuring masks", len(masks), "images") as bar:
        for part in rows:
            pixels = images.pixels[part]
            read = [
                partial(Whole.of_map, image.numpy(), thing.byte().numpy())
                for image, thing in zip(pixels, objects[part], strict=True)
            ]
            board.add(pixels, masks[part], blocks[part], objects[part], read if whole else ())
            bar.advance(len(part))


def _measure_whole(board: Board, images: WholeImages) -> None:
    """Measure one map of each whole image; those that cannot be read are left out."""
    size = board.methods.context.size

    def read(index: int) -> npt.NDArray[np.uint8] | None:
        try:
            return images.read(index).square(size)
        except BadImage:  # the store has left it out, too, and named it
            return None

    with Progress("measuring whole images", len(images), "images") as bar:
        for seed, part in enumerate(torch.arange(len(images)).split(CHUNK)):
            found = {i: square for i in part.tolist() if (square := read(i)) is not None}
            if found:
                pixels = torch.from_numpy(np.stack(list(found.values())))
                masks = board.methods.predict(pixels)
                blocks = blocks_like(masks >= board.config.threshold, seed)
                board.add(pixels, masks, blocks, None, [partial(images.read, i) for i in found])
            bar.advance(len(part))


def _check_objects(name: str, objects: Tensor) -> None:
    """Refuse maps that hold no object."""
    if not ((objects > 0) & (objects != VOID)).any():
        raise UserError(
            f"--data {name}: its label images hold no object, only 0 = background and "
            f"{VOID} = void: write 1 for the first object, 2 for the second"
        )


def statistics(masks: Tensor, threshold: float, empty: float) -> dict[str, float]:
    """Return what masks are like, whatever the objects.

    Args:
        masks: `[n, N, H, W]` in [0, 1].
        threshold: of a removed pixel.
        empty: a mask that removes less than this share of its image counts as empty.

    Returns:
        `coverage_k`: mean of mask k; `empty`: share of empty masks; `binary`: share of pixels below
        0.1 or above 0.9; `overlap`: share of the pixels removed by any mask that several remove;
        means over masks of `from_image` (see `mask_signs`) and of their effective `rank` over up to
        1,000 images.
    """
    removed = masks >= threshold
    times = removed.sum(1)
    found = {f"coverage_{k + 1}": float(masks[:, k].mean()) for k in range(masks.shape[1])}
    found["empty"] = float((removed.float().mean((2, 3)) < empty).float().mean())
    found["binary"] = float(((masks < 0.1) | (masks > 0.9)).float().mean())
    found["overlap"] = float((times > 1).sum() / (times > 0).sum().clamp(min=1))
    if len(masks) > 1:
        found["from_image"] = float(mask_signs(masks)["from_image"].mean())
        found["rank"] = float(effective_rank(mask_grams(masks[:RANKED])).mean())
    return found
