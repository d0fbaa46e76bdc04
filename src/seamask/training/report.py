"""What a run has to show: scores, figures, the manifest, and a summary at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seamask.base import settings
from seamask.base.errors import UserError
from seamask.base.progress import amount
from seamask.base.provenance import provenance
from seamask.evaluate import predict, probe, score
from seamask.evaluate.following import mean_best_iou
from seamask.evaluate.rivals import colour_clusters
from seamask.export import loading_code
from seamask.masks import areas, clusters, superpixel_colours
from seamask.masks.signs import effective_rank, mask_grams, mask_signs
from seamask.objectives import build_objective
from seamask.report.page import write_report
from seamask.report.troubles import asked, asked_until, troubles
from seamask.runs import RunFolder, finite
from seamask.show.curves import curves_figure
from seamask.show.figures import coloured, mask_figure
from seamask.training.players import build_networks
from seamask.training.run import Run
from seamask.training.start import read_start
from seamask.views.fill import filled_pixels

FIGURE_IMAGES = 8
JPEG = {
    "fast": "large ones decoded at a fraction of their size, within 2 to 4 of 255 of exact pixels",
    "exact": "decoded at their full size",
}
CLUSTERED = 256  # images, at most, whose colours are clustered
LOOKED_AT = 1000  # images, at most, that what is said and drawn of masks is a mean over


@dataclass(frozen=True)
class Summary:
    """What a finished run has to say.

    Attributes:
        folder: of the run.
        seconds: spent training.
        images_per_second: while training.
        backbone: timm name.
        results: `probe/knn`, `probe/linear` (%), the same under `untrained/` (or `start/`, of an
            encoder that did not begin with random weights), `probe/chance`, and
            `mask/iou`, `mask/iou_random`, `mask/iou_colour`; as far as labels and object masks
            exist. Of learned masks
            the signs of `mask_health`, and of the last line of the log `mask/adds_<k>` and
            `embedding/…`.
        held_out: how many images that is of.
        looked_at: the images that `mask/<sign>_<k>` are of, in words.
        asked: the share that each mask was to remove, if it is one number.
        warnings: what is wrong with the game as it ended, in words.
        skipped: unreadable images and why.
        load: the line of Python that loads the weights.
        lead: of the process that speaks for all; others have no results.
    """

    folder: Path
    seconds: float
    images_per_second: float
    backbone: str
    results: dict[str, float]
    skipped: tuple[tuple[str, str], ...]
    load: str
    held_out: int = 0
    looked_at: str = ""
    asked: float | None = None
    warnings: tuple[str, ...] = ()
    lead: bool = True


def finish(run: Run) -> Summary:
    """Score the trained encoder beside the untrained one; write the manifest and the report."""
    learned = bool(run.networks.masker.learned)
    results: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    if run.lead:
        results |= logged_scores(run)
        results |= colour_score(run) if "mask/iou" in results else {}
        results |= scores_before(run)
        if "probe/knn" in results and (chance := run.data.chance) is not None:
            results["probe/chance"] = chance
        health = last_health(run.folder) | mask_health(run)
        results |= health
        warnings = tuple(t.text for t in troubles(health, run.config, learned).values())
        little = run.config.too_little(len(run.data.train))
        warnings = (little, *warnings) if warnings and little else warnings
        results = finite(results)
        run.folder.write_manifest(manifest(run, results))
        write_report(run.folder.path)
    run.processes.barrier()
    held_out = len(run.data.probe_test or ())
    return Summary(
        folder=run.folder.path,
        seconds=run.seconds,
        images_per_second=run.step * run.config.batch_size / max(run.seconds, 1e-9),
        backbone=run.networks.backbone_name,
        results=results,
        skipped=run.data.skipped,
        load=loading_line(run, run.folder.encoder),
        held_out=held_out,
        looked_at=amount(len(looked_at(run)), f"{'held-out' if held_out else 'training'} image"),
        asked=asked(run.config) if learned else None,
        warnings=warnings,
        lead=run.lead,
    )


def scores(run: Run) -> dict[str, float]:
    """Return probes of the encoder and object scores of the masks, as far as labels allow."""
    data, size = run.data, run.config.image_size
    found = probe(run.networks.encoder.backbone, data, size)
    share = exact_share(run)
    return found | score(run.networks.masker, data.probe_test, size, data.normalization, share)


def exact_share(run: Run) -> float | None:
    """Return what each mask removes at this step of the training; None: the same all the time."""
    budget = run.config.masks.budget
    return budget.at(run.step / run.total_steps) if budget.exact and budget.moves else None


def colour_score(run: Run) -> dict[str, float]:
    """Return `mask/iou_colour`: how clusters of colours, as many as masks, follow objects.

    Of held-out images with objects, spread evenly, `CLUSTERED` at most: k-means takes long.
    """
    images = run.data.probe_test
    if images is None or images.objects is None:
        return {}
    chosen = looked_at(run, CLUSTERED)
    regions = colour_clusters(images.pixels[chosen], run.config.masks.n_masks)
    return {"mask/iou_colour": mean_best_iou(regions, images.objects[chosen].long())}


def logged_scores(run: Run) -> dict[str, float]:
    """Return those of `scores` that the log has of the last step; empty: none yet."""
    lines = (line for line in run.folder.read_metrics() if line["step"] == run.step)
    found = {name: value for line in lines for name, value in line.items()}
    return {n: v for n, v in found.items() if n.startswith(("probe/", "mask/iou"))}


def scores_before(run: Run) -> dict[str, float]:
    """Return the probes of the encoder as the run began.

    `untrained/…` of random weights; `start/…` of those that `--encoder.init` named, unless they
    cannot be read any more or are others by now.
    """
    config = run.config
    try:
        start = read_start(config)
    except UserError:
        return {}
    if (start.source if start else None) != (run.started["source"] if run.started else None):
        return {}
    encoder = build_networks(config, build_objective(config.objective), start).encoder
    found = probe(encoder.backbone.to(run.processes.device), run.data, config.image_size)
    return {f"{'start' if start else 'untrained'}/{name}": value for name, value in found.items()}


def last_health(folder: RunFolder) -> dict[str, float]:
    """Return what the last line of the log says of embeddings, and what each mask adds."""
    lines = [line for line in folder.read_metrics() if "embedding/spread" in line]
    return {
        name: value
        for name, value in (lines[-1] if lines else {}).items()
        if name.startswith(("embedding/", "mask/adds"))
    }


def mask_health(run: Run) -> dict[str, float]:
    """Return what learned masks are like on whole held-out (or training) images.

    `mask/<sign>_<k>` of `mask_signs` and `mask/rank_<k>`; nothing where masks are drawn or given.
    """
    masks = learned_masks(run)
    if masks is None or len(masks) < 2:
        return {}
    signs = mask_signs(masks) | {"rank": effective_rank(mask_grams(masks))}
    return {
        f"mask/{name}_{k}": float(value)
        for name, values in signs.items()
        for k, value in enumerate(values, start=1)
    }


def looked_at(run: Run, most: int = LOOKED_AT) -> Tensor:
    """Return the rows of the held-out (or training) images whose masks are looked at."""
    count = len(run.data.probe_test or run.data.train)
    return torch.linspace(0, count - 1, min(most, count)).long()


def learned_masks(run: Run, most: int = LOOKED_AT) -> Tensor | None:
    """Return learned masks `[n, N, S, S]` of the images `looked_at`; None where there are none."""
    masker, data = run.networks.masker, run.data
    budget = run.config.masks.budget
    clusters_asked = budget.exact and budget.of == "superpixels"  # which take long
    if not masker.learned or clusters_asked:
        return None
    pixels = (data.probe_test or data.train).pixels[looked_at(run, most)]
    size, share = run.config.image_size, exact_share(run)
    return predict(masker, pixels, size, data.normalization, share=share)


def draw_figures(run: Run) -> None:
    """Write the mask figure of the epoch, and the curves up to now."""
    draw_masks(run, run.folder.masks / f"epoch-{run.epoch:04d}.png")
    learned = run.networks.masker.learned
    target = asked_until(run.config, run.step, run.total_steps) if learned else []
    paid = run.players.penalty_weights
    curves_figure(run.folder.read_metrics(), run.folder.curves, paid, target)


def draw_masks(run: Run, path: Path) -> None:
    """Write the mask figure of some held-out (or training) images, spread over the classes.

    Beside them the mean of each mask over all that are `looked_at`: what does not come from the
    image.
    """
    config, (pixels, _) = run.config, shown_images(run)
    rows, budgets = {}, None
    c = config.masks
    if c.budget.of == "superpixels":
        followed = clusters(pixels, c.n_masks, c.superpixels)
        budgets = areas(followed, c.n_masks)
        painted = superpixel_colours(pixels, c.n_masks, c.superpixels)
        rows = {"superpixels": painted, "clusters": coloured(followed)}
    masks, size = shown_masks(run), config.image_size
    more = learned_masks(run)
    mean = None if more is None else more.mean(0, keepdim=True)
    if pixels.shape[1] != size:
        masks = F.interpolate(masks, pixels.shape[1:3], mode="bilinear")
        if mean is not None:
            mean = F.interpolate(mean, pixels.shape[1:3], mode="bilinear")
    mask_figure(
        pixels,
        masks,
        path,
        rows=rows,
        budgets=budgets,
        mean=None if mean is None else mean[0],
        averaged=0 if more is None else len(more),
        fills=[filled_pixels(c.fill, pixels, *run.data.normalization)] * masks.shape[1],
    )


def shown_images(run: Run) -> tuple[Tensor, Tensor | None]:
    """Return some held-out (or training) images, and their object masks if there are any.

    uint8 `[n, S, S, 3]`, spread over the classes, and integer `[n, S, S]`.
    """
    shown = run.data.probe_test or run.data.train
    if run.config.masks.masker == "given" and shown.objects is None:
        shown = run.data.train  # which has the object masks
    chosen = torch.linspace(0, len(shown) - 1, FIGURE_IMAGES).long()
    return shown.pixels[chosen], None if shown.objects is None else shown.objects[chosen]


def shown_masks(run: Run) -> Tensor:
    """Return the masks `[n, N, size, size]` of the images that are shown, as they now are."""
    pixels, objects = shown_images(run)
    masker, encoder = run.networks.masker, run.networks.encoder
    size, normalization = run.config.image_size, run.data.normalization
    return predict(masker, pixels, size, normalization, objects, encoder, exact_share(run))


def loading_line(run: Run, path: Path | str) -> str:
    """Return the Python line that loads the exported encoder at `path`."""
    return loading_code(run.networks.backbone_name, run.networks.backbone_arguments, path)


def manifest(run: Run, results: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what `manifest.json` says of a run as it stands."""
    data = run.data
    return {
        "recipe": run.config.recipe,
        "precision": run.config.precision,
        "deterministic": run.config.deterministic,
        "backbone": run.networks.backbone_name,
        "load": loading_line(run, run.folder.encoder.name),  # from inside the folder
        "init": run.started,
        "image_size": run.config.image_size,
        "normalization": settings.to_dict(data.normalization),
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "images": len(data.train),
            "classes": list(data.classes),
            "held_out": {"split": data.split, "images": len(data.probe_test or ())},
            # Of a folder without `val/`; see `RunFolder.read_held_out`.
            "held_out_by": {n: getattr(data.held_out, n) for n in ("seed", "share", "size")},
            "skipped": [list(pair) for pair in data.skipped],
            "notes": list(data.notes),
            "ranges": {kind: scale.plain() for kind, scale in data.ranges.items()},
            "jpeg": JPEG[data.jpeg],
        },
        "epochs_done": run.step / run.steps_per_epoch,
        "images_seen": run.step * run.config.batch_size,
        "seconds": round(run.seconds, 1),
        **provenance(),
        "results": results or {},
    }
