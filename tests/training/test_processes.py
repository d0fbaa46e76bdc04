"""Another number of processes is the same run: several (gloo) against one."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from runs import config_of, lines_of, weights_of
from torch import nn

import seamask
from players import state
from seamask.base.errors import UserError
from seamask.config import Config
from seamask.networks.sync_batchnorm import synchronise_batchnorm
from seamask.runs import RunFolder
from seamask.training.cluster import Place
from seamask.training.launch import TCPStore, joined, resume_run
from seamask.training.processes import Processes
from seamask.training.run import Run
from seamask.training.signals import StopSignal
from seamask.training.spawn import spawn

STEPS = 4  # of an epoch of 3 and the next
SMALL = {
    "batch_size": 16, "n_masks": 2, "encoder.backbone": "test_resnet",
    "objective.hidden": (16,), "objective.out_dim": 8, "objective.predictor": 8,
}  # fmt: skip
GAMES = {
    "SimCLR, in parts": {"accumulate": 2, "penalties.overlap": 1e-3},
    "cross-view, exact budgets that move, both at once": {
        "objective.form": "cross-view", "budget": "exact:0.1->0.4", "updates": "simultaneous",
        "stack": True,
    },
    "ADIOS-s": {
        "masker": "simultaneous", "n_masks": 3, "masks.single": True, "masks.compare": ("both",),
        "penalties.entropy": 0.1,
    },
    "BYOL, random patches, batch norm with activations inside": {
        "objective": "byol", "masker": "random-patch", "encoder.backbone": "test_efficientnet",
    },
    "SimSiam, random blocks": {"objective": "simsiam", "masker": "random-block", "stack": True},
    "VICReg, budgets of superpixels": {"objective": "vicreg", "budget": "superpixel"},
    "MoCo, given masks, in parts": {
        "objective": "moco", "objective.queue": 24, "masker": "given", "accumulate": 2,
        "masks.fill": "other",
    },
    "MSN, colour noise": {
        "objective": "msn", "objective.prototypes": 12, "masker": "colour-noise",
        "masks.fill": "noise",
    },
    "pixels predicted, several blocks": {
        "objective": "reconstruct", "objective.decoder": 1, "objective.decoder_width": 32,
        "masker": "multi-block",
    },
    "the hardest of drawn grids": {"masker": "hardest", "masks.among": "grid"},
    "hints of attention": {  # of a ViT: where the last map is a point, all places are alike
        "masker": "attention", "masks.single": True, "encoder.backbone": "test_vit",
        "encoder.patch": 8,
    },
    "a ViT without its masked patches": {
        "encoder.backbone": "test_vit", "masker": "random-block", "masks.drop": 0.4,
    },
}  # fmt: skip


def play(processes: Processes, tiny: dict, changed: dict) -> dict:
    """Return all weights and statistics of a run in float64, after `STEPS` steps."""
    config = config_of(tiny, "", **{**SMALL, **changed, "devices": processes.world_size})
    run = Run(processes, config, RunFolder("nowhere"))
    for network in (run.networks.encoder, run.networks.masker):
        network.double()
    see = run.stepper.see
    run.stepper.see = lambda *batch: [
        tuple(view._replace(images=view.images.double()) for view in pair) for pair in see(*batch)
    ]
    while run.step < STEPS:
        for images, maps in run.batches():
            run.take_step(images, maps)
            if run.step == STEPS:
                break
    return {**state(run.networks.encoder), **state(run.networks.masker)}


def play_all(processes: Processes, tiny: dict) -> dict[str, dict]:
    return {name: play(processes, tiny, changed) for name, changed in GAMES.items()}


def play_among_others(place: Place, tiny: dict, path: Path) -> None:
    torch.set_num_threads(1)
    store = TCPStore(place.address, place.port, is_master=False)
    with joined(Config(device="cpu"), place, store) as processes:
        torch.save(play_all(processes, tiny), path / f"{place.rank}")


@pytest.mark.ddp
@pytest.mark.slow
def test_four_processes_take_the_steps_of_one(tiny, tmp_path):
    alone = play_all(Processes(torch.device("cpu")), tiny)
    spawn(partial(play_among_others, tiny=tiny, path=tmp_path), 4, StopSignal())
    first, *others = (torch.load(tmp_path / f"{rank}") for rank in range(4))
    for game, expected in alone.items():
        for name in expected:
            for other in others:  # ranks agree bit for bit
                assert torch.equal(first[game][name], other[game][name]), f"{game}: {name}"
        torch.testing.assert_close(
            first[game], expected, rtol=1e-8, atol=1e-10, msg=lambda said, g=game: f"{g}: {said}"
        )


@pytest.mark.parametrize("norm", [nn.BatchNorm3d(4), nn.BatchNorm2d(4, momentum=None)])
def test_batch_norm_that_cannot_be_shared_is_refused(norm):
    with pytest.raises(UserError, match=f"{type(norm).__name__} cannot share"):
        synchronise_batchnorm(nn.Sequential(norm))


@pytest.mark.ddp
@pytest.mark.slow
def test_what_a_process_refuses_is_one_line(tiny, tmp_path):
    with pytest.raises(UserError, match="fewer than one batch of 64") as error:
        seamask.pretrain(out=tmp_path / "run", devices=2, **{**tiny, "batch_size": 64})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.ddp
@pytest.mark.slow
def test_a_run_goes_on_on_two_processes_as_it_would_on_one(uninterrupted, tmp_path):
    whole, _, _ = uninterrupted
    out = shutil.copytree(whole, tmp_path / "run")
    *_, last = RunFolder(out).all_checkpoints()
    last.unlink()
    resume_run(out, devices=2)
    # Adam makes much of roundings in single precision where gradients are small: the first loss is
    # what is sharp. Other views or masks would be in its first digit.
    for near, ours, theirs in zip(
        (0, 0, 0, 0, 1e-5, 1e-2, 1e-2, 0), lines_of(out), lines_of(whole), strict=True
    ):
        for name in ours.keys() & {"loss/encoder", "loss/mask", "mask/coverage_1"}:
            assert ours[name] == pytest.approx(theirs[name], rel=near), (name, ours["step"])
    ours = weights_of(out)
    for name, weight in weights_of(whole).items():
        assert torch.dist(ours[name].float(), weight.float()) <= 5e-3 * weight.float().norm(), name
