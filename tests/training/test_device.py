"""The step on a GPU: every combination runs there; none but those known waits for the device."""

import pytest
import torch
from test_golden import small

import seamask
from seamask.base.draws import generator
from seamask.base.settings import override
from seamask.game.players import View
from seamask.masks.unet import UNet
from seamask.recipes import RECIPES, recipe_config
from seamask.training.stepper import WARM_UP, Stepper
from seamask.training.workload import Workload
from seamask.views import crop_masks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning"),
]

SMALL = {
    "image_size": 32, "batch_size": 8, "masks.n_masks": 3, "masks.width": 8,
    "encoder.backbone": "test_resnet", "objective.hidden": (16,), "objective.out_dim": 8,
    "objective.predictor": 8, "objective.queue": 16, "masks.superpixels": 10,
    "objective.prototypes": 16, "objective.decoder_width": 32,
}  # fmt: skip
MASKERS = (
    "none", "random-patch", "random-block", "colour-noise", "multi-block", "grid", "superpixel",
    "hardest", "attention", "simultaneous", "sequential",
)  # fmt: skip
CASES = [
    *({"masks.masker": name} for name in MASKERS),
    *({"objective.name": name} for name in ("byol", "simsiam", "vicreg", "moco", "msn")),
    {"objective.name": "reconstruct", "encoder.backbone": "resnet18"},
    {"objective.name": "reconstruct", "encoder.backbone": "test_vit", "objective.decoder": 1},
    *(
        {"updates": updates, "masks.stack": stack, "masks.single": single}
        for updates in ("alternating", "simultaneous")
        for stack in (False, True)
        for single in (False, True)
    ),
    {"masks.masker": "hardest", "masks.among": "superpixel"},
    {"masks.masker": "attention", "masks.attend": "hint", "encoder.backbone": "test_vit"},
    {"masks.disjoint": True},
    {"masks.budget": "0.1->0.3", "masks.role": "-1->1"},
    {"masks.hard": True, "masks.disjoint": True},
    {"masks.hard": True, "masks.hard_patch": 8},
    {"masks.norm": "group", "masks.downscale": 2},
    {"masks.compare": ("each", "none", "both"), "masks.fill": "noise"},
    {"masks.fill": "blur"},
    {"masks.fill": "other"},
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
    {
        "encoder.backbone": "test_vit",
        "masks.drop": 0.5,
        "objective.name": "reconstruct",
        "objective.decoder": 1,
        "masks.hard": True,
        "masks.hard_patch": 4,
    },
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


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"masks.budget": "0.1->0.5", "masks.role": "-1->1"},
        {"masks.budget": "exact:0.25"},
        {"masks.single": True, "updates": "simultaneous"},
        {"masks.masker": "random-block"},
        {"masks.masker": "random-patch"},
        {"masks.masker": "colour-noise"},
        {"masks.masker": "multi-block"},
        {"masks.masker": "grid"},
        {"masks.masker": "hardest"},
        {"objective.name": "moco"},
        {"objective.name": "msn"},
        {"objective.name": "reconstruct"},
    ],
    ids=str,
)
def test_a_recorded_step_draws_anew(changed):
    """With rates of 0 nothing but the batch, draws, budgets and queues tells one step from the
    next; two parts a step, with labels of their pixels."""
    found = []
    for graph in (False, True):
        work = workload(changed | {"cuda_graph": "no"})
        for optimizer in filter(
            None, (work.players.encoder_optimizer, work.players.masker_optimizer)
        ):
            for group in optimizer.param_groups:
                group["lr"] = 0.0

        def see(images, maps, draw, work=work):
            pairs = []
            for part, labels in zip(images.chunk(2), maps["objects"].chunk(2), strict=True):
                seen = [work.views(part, draw) for _ in "ab"]
                pairs.append(tuple(View(x, crop_masks(labels, p, 32)) for x, p in seen))
            return pairs

        stepper = Stepper(work.players, see, graph)
        draw, losses = generator(1), []
        for step in range(8):
            images = torch.randint(256, (8, 3, 32, 32), generator=draw, dtype=torch.uint8).cuda()
            work.players.done = step / 10
            pairs, metrics = stepper.take(images, {"objects": images[:, 0]}, True, (0, step))
            work.objective.update(work.encoder, 0.5)
            metrics |= {"view": pairs[1][1].images.mean(), "map": pairs[1][0].objects.sum()}
            losses.append({name: value.item() for name, value in metrics.items()})
        assert stepper.graph == graph
        found.append(losses)
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


def asks(images):
    return images.float().mean().item()


def draws(images):
    return torch.rand(1).item()


@pytest.mark.parametrize("fault", [asks, draws])
@pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream:UserWarning")
def test_what_cannot_be_recorded_is_taken_as_before(fault, caplog):
    found = []
    for graph in (False, True):
        work = workload({"cuda_graph": "no"})

        def see(images, maps, draw, work=work):
            fault(images)
            return [tuple(map(View, work.views(images, draw, views=2)[0].chunk(2)))]

        stepper, stream = Stepper(work.players, see, graph), torch.cuda.current_stream()
        own_draws = torch.cuda.get_rng_state()
        losses = [
            stepper.take(work.images, {}, True, (0, step))[1]["loss/encoder"].item()
            for step in range(WARM_UP + 3)
        ]
        assert not stepper.graph
        assert torch.cuda.current_stream() == stream
        assert torch.equal(torch.cuda.get_rng_state(), own_draws)
        torch.rand(1, device="cuda")
        found.append(losses[: WARM_UP + 1])  # later ones magnify rounding
    assert found[0] == pytest.approx(found[1], rel=1e-2)
    assert "without a CUDA graph" in caplog.text


@pytest.mark.parametrize(("precision", "close"), [("fp32", 1e-3), ("bf16", 3e-2)])
def test_the_first_step_is_that_of_the_cpu(precision, close):
    changed = {"precision": precision, "encoder.backbone": "resnet18", "objective.out_dim": 64}
    changed |= {"updates": "simultaneous"}  # else masks answer an update that magnifies rounding
    changed |= {"cuda_graph": "no"}  # else it has warmed up: the first step is its fourth
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


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_the_mask_network_stays_in_bf16(norm):
    unet = UNet(32, width=8, norm=norm).cuda()
    seen = []
    for module in unet.modules():
        module.register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    with torch.autocast("cuda", torch.bfloat16):
        unet(torch.rand(2, 3, 32, 32, device="cuda", dtype=torch.bfloat16))
    assert set(seen) == {torch.bfloat16}
