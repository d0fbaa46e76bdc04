"""What a run has to show: scores, figures, the manifest, and a summary at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seamask.base.provenance import provenance
from seamask.evaluate import predict, probe, score
from seamask.export import loading_code
from seamask.masks import areas, clusters, superpixel_colours
from seamask.masks.signs import effective_rank, mask_grams, mask_signs
from seamask.objectives import build_objective
from seamask.runs import RunFolder
from seamask.show import coloured, curves_figure, mask_figure
from seamask.training.players import build_networks
from seamask.training.run import Run
from seamask.training.troubles import asked, troubles

FIGURE_IMAGES = 8
AVERAGED = 256  # images whose mean mask is drawn
JPEG = {
    "fast": "large ones decoded at a fraction of their size, within 2 to 4 of 255 of exact pixels",
    "exact": "decoded at their full size",
}
LOOKED_AT = 1000  # images whose masks are looked at in the end


@dataclass(frozen=True)
class Summary:
    """What a finished run has to say.

    Attributes:
        folder: of the run.
        seconds: spent training.
        images_per_second: while training.
        backbone: timm name.
        results: `probe/knn`, `probe/linear` (%), the same under `untrained/`, and `mask/iou`,
            `mask/iou_random`; as far as labels and object masks exist. Of learned masks the signs
            of `mask_health`, and of the last line of the log `mask/adds_<k>` and `embedding/…`.
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
    asked: float | None = None
    warnings: tuple[str, ...] = ()
    lead: bool = True


def finish(run: Run) -> Summary:
    """Score the trained encoder beside the untrained one, and write the manifest."""
    learned = bool(run.networks.masker.learned)
    results: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    if run.lead:
        results |= logged_scores(run)
        results |= {f"untrained/{n}": v for n, v in untrained_scores(run).items()}
        health = last_health(run.folder) | mask_health(run)
        results |= health
        warnings = tuple(t.text for t in troubles(health, run.config, learned).values())
        run.folder.write_manifest(manifest(run, results))
    run.processes.barrier()
    return Summary(
        folder=run.folder.path,
        seconds=run.seconds,
        images_per_second=run.step * run.config.batch_size / max(run.seconds, 1e-9),
        backbone=run.networks.backbone_name,
        results=results,
        skipped=run.data.skipped,
        load=loading_line(run, run.folder.encoder),
        asked=asked(run.config) if learned else None,
        warnings=warnings,
        lead=run.lead,
    )


def scores(run: Run) -> dict[str, float]:
    """Return probes of the encoder and object scores of the masks, as far as labels allow."""
    data, size = run.data, run.config.image_size
    found = probe(run.networks.encoder.backbone, data, size)
    return found | score(run.networks.masker, data.probe_test, size, *data.normalization)


def logged_scores(run: Run) -> dict[str, float]:
    """Return those of `scores` that the log has of the last step; empty: none yet."""
    lines = (line for line in run.folder.read_metrics() if line["step"] == run.step)
    found = {name: value for line in lines for name, value in line.items()}
    return {n: v for n, v in found.items() if n.startswith(("probe/", "mask/iou"))}


def untrained_scores(run: Run) -> dict[str, float]:
    """Return the probes of the same encoder before any training."""
    encoder = build_networks(run.config, build_objective(run.config.objective)).encoder
    return probe(encoder.backbone.to(run.processes.device), run.data, run.config.image_size)


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
    masks = learned_masks(run, LOOKED_AT)
    if masks is None or len(masks) < 2:
        return {}
    signs = mask_signs(masks) | {"rank": effective_rank(mask_grams(masks))}
    return {
        f"mask/{name}_{k}": float(value)
        for name, values in signs.items()
        for k, value in enumerate(values, start=1)
    }


def learned_masks(run: Run, most: int) -> Tensor | None:
    """Return learned masks `[n, N, S, S]` of up to `most` images; None where there are none."""
    masker, data = run.networks.masker, run.data
    budget = run.config.masks.budget
    clusters_asked = budget.exact and budget.of == "superpixels"  # which take long
    if not masker.learned or clusters_asked:
        return None
    images = data.probe_test or data.train
    chosen = torch.linspace(0, len(images) - 1, min(most, len(images))).long()
    return predict(masker, images.pixels[chosen], run.config.image_size, *data.normalization)


def draw_figures(run: Run) -> None:
    """Write the mask figure of the epoch, and the curves up to now."""
    draw_masks(run, run.folder.masks / f"epoch-{run.epoch:04d}.png")
    paid, target = run.players.penalty_weights, asked_so_far(run)
    curves_figure(run.folder.read_metrics(), run.folder.curves, paid, target)


def asked_so_far(run: Run) -> list[tuple[int, float]]:
    """Return what share each mask was asked to remove, as (step, share) of both ends of a line."""
    masks = run.config.masks
    free = masks.masker == "simultaneous" or masks.budget.of == "superpixels"
    if free or not run.networks.masker.learned:
        return []
    return [(step, masks.budget.at(step / run.total_steps)) for step in (0, run.step)]


def draw_masks(run: Run, path: Path) -> None:
    """Write the mask figure of some held-out (or training) images, spread over the classes.

    Beside them the mean of each mask over more of them: what does not come from the image.
    """
    data, config = run.data, run.config
    shown = data.probe_test or data.train
    if config.masks.masker == "given" and shown.objects is None:
        shown = data.train  # which has the object masks
    chosen = torch.linspace(0, len(shown) - 1, FIGURE_IMAGES).long()
    pixels = shown.pixels[chosen]
    objects = None if shown.objects is None else shown.objects[chosen]
    rows, budgets = {}, None
    c = config.masks
    if c.budget.of == "superpixels":
        followed = clusters(pixels, c.n_masks, c.superpixels)
        budgets = areas(followed, c.n_masks)
        painted = superpixel_colours(pixels, c.n_masks, c.superpixels)
        rows = {"superpixels": painted, "clusters": coloured(followed)}
    size = config.image_size
    masks = predict(run.networks.masker, pixels, size, *data.normalization, objects)
    more = learned_masks(run, AVERAGED)
    mean = None if more is None else more.mean(0, keepdim=True)
    if pixels.shape[1] != size:
        masks = F.interpolate(masks, pixels.shape[1:3], mode="bilinear")
        if mean is not None:
            mean = F.interpolate(mean, pixels.shape[1:3], mode="bilinear")
    mask_figure(
        pixels, masks, path, rows=rows, budgets=budgets, mean=None if mean is None else mean[0]
    )


def loading_line(run: Run, path: Path | str) -> str:
    """Return the Python line that loads the exported encoder at `path`."""
    return loading_code(run.networks.backbone_name, run.networks.backbone_arguments, path)


def manifest(run: Run, results: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what `manifest.json` says of a run as it stands."""
    data = run.data
    return {
        "recipe": run.config.recipe,
        "backbone": run.networks.backbone_name,
        "load": loading_line(run, run.folder.encoder.name),  # from inside the folder
        "image_size": run.config.image_size,
        "normalization": {n: list(values) for n, values in data.normalization._asdict().items()},
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "images": len(data.train),
            "classes": list(data.classes),
            "held_out": {"split": data.split, "images": len(data.probe_test or ())},
            "skipped": [list(pair) for pair in data.skipped],
            "notes": list(data.notes),
            "ranges": {kind: scale.plain() for kind, scale in data.ranges.items()},
            "jpeg": JPEG[run.config.data.jpeg],
        },
        "epochs_done": run.step / run.steps_per_epoch,
        "images_seen": run.step * run.config.batch_size,
        "seconds": round(run.seconds, 1),
        **provenance(),
        "results": results or {},
    }
