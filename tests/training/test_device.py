"""The step on a GPU: every combination runs there; none but those known waits for the device."""

import pytest
import torch
from test_golden import small

import seamask
from seamask.base.draws import generator
from seamask.base.settings import override
from seamask.game.players import View
from seamask.recipes import RECIPES, recipe_config
from seamask.speed.workload import Workload
from seamask.training.stepper import WARM_UP, Stepper

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning"),
]

SMALL = {
    "image_size": 32, "batch_size": 8, "masks.n_masks": 3, "masks.width": 8,
    "encoder.backbone": "test_resnet", "objective.hidden": (16,), "objective.out_dim": 8,
    "objective.predictor": 8, "objective.queue": 16, "masks.superpixels": 10,
}  # fmt: skip
MASKERS = ("none", "random-patch", "random-block", "simultaneous", "sequential")
CASES = [
    *({"masks.masker": name} for name in MASKERS),
    *({"objective.name": name} for name in ("byol", "simsiam", "vicreg", "moco")),
    *(
        {"updates": updates, "masks.stack": stack, "masks.single": single}
        for updates in ("alternating", "simultaneous")
        for stack in (False, True)
        for single in (False, True)
    ),
    {"masks.disjoint": True},
    {"masks.budget": "0.1->0.3"},
    {"masks.norm": "group", "masks.downscale": 2},
    {"masks.compare": ("each", "none", "both")},
    {"precision": "bf16"},
    {"encoder.backbone": "resnet18"},
    {"encoder.backbone": "resnet18", "encoder.stem": "standard"},
    {"encoder.backbone": "vit_tiny_patch16_224"},
    {"optim.encoder.optimizer": "lars", "optim.masker.optimizer": "sgd"},
]
# What asks the device for a number, and why: the steps of a solver; the length of a sequence.
WAITS = [
    {"masks.budget": "exact:0.25", "cuda_graph": "no"},
    {"encoder.backbone": "vit_tiny_patch16_224", "masks.drop": 0.5},
]


def workload(changed, device="cuda"):
    config = override(recipe_config("shapes-sequential"), SMALL | changed)
    return Workload(config, torch.device(device))


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("changed", CASES, ids=str)
def test_a_step_never_waits_for_the_device(changed, graph):
    work = workload(changed | {"cuda_graph": "auto" if graph else "no"})
    for _ in range(WARM_UP + 1):
        work.step()
    assert work.stepper.graph == graph  # it was recorded
    torch.cuda.set_sync_debug_mode("error")
    try:
        work.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(value) for value in work.metrics.values())
    assert {value.device.type for value in work.metrics.values()} == {"cuda"}


@pytest.mark.parametrize("changed", WAITS, ids=str)
def test_what_waits_runs(changed):
    work = workload(changed)
    for _ in range(3):
        work.step()
    assert all(torch.isfinite(value) for value in work.metrics.values())


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_recorded_step_is_the_step(recipe):
    """Losses of steps taken one by one, then from the graph, with a step between that moves no
    masks, against all taken one by one; rates move as in a training."""
    found = []
    for graph in (False, True):
        objective, networks, players, rng = small(recipe, "cuda")
        stepper = Stepper(players, lambda images, maps, draw: [tuple(
            View(x.double()) for x in images.chunk(2, dim=1))], graph)  # fmt: skip
        losses = []
        for step in range(10):
            noise = torch.from_numpy(rng.standard_normal((8, 6, 16, 16))).cuda()
            for optimizer in filter(None, (players.encoder_optimizer, players.masker_optimizer)):
                for group in optimizer.param_groups:
                    group["lr"] = 1e-3 * (step + 1)
            _, metrics = stepper.take(noise, {}, step % 2 == 0, (0, step))
            objective.update(networks.encoder, step / 10)
            losses.append({name: value.item() for name, value in metrics.items()})
        assert stepper.graph == graph
        found.append(losses)
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("precision", "close"), [("fp32", 1e-3), ("bf16", 3e-2)])
def test_the_first_step_is_that_of_the_cpu(precision, close):
    changed = {"precision": precision, "encoder.backbone": "resnet18", "objective.out_dim": 64}
    changed |= {"updates": "simultaneous"}  # else masks answer an update that magnifies rounding
    cpu, gpu = workload(changed | {"precision": "fp32"}, "cpu"), workload(changed)
    gpu.images = cpu.images.cuda()
    for work in (cpu, gpu):
        work.draw = generator(0)
        work.step()
    for name, value in cpu.metrics.items():
        torch.testing.assert_close(gpu.metrics[name].cpu(), value, rtol=close, atol=close)


@pytest.mark.parametrize("resident", ["yes", "no"])
def test_a_run_on_a_gpu(tiny, tmp_path, resident):
    changed = {"device": "cuda", "precision": "bf16", "data.resident": resident}
    summary = seamask.pretrain(out=tmp_path / "run", **tiny | changed)
    assert 0 < summary.results["probe/knn"] <= 100
    assert (tmp_path / "run" / "encoder.safetensors").exists()
