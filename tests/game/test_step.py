"""The two-player step against a readable one, and the promises of its docstring."""

import copy

import pytest
import torch
from torch import nn

import seamask.networks
from players import WEIGHTS, as_views, build_players, same, state, views
from seamask.base.errors import UserError
from seamask.game.held import held_still
from seamask.game.plain import plain_step
from seamask.game.players import TwoPlayers, View, masked_share
from seamask.game.step import two_player_step
from seamask.masks import (
    NoMasker,
    RandomBlockMasker,
    RandomPatchMasker,
    Role,
    SequentialMasker,
    SimultaneousMasker,
    all_penalties,
)
from seamask.masks.budget import Budget
from seamask.objectives import build_objective
from seamask.objectives.settings import ObjectiveConfig
from seamask.views.fill import fill


@pytest.mark.parametrize(("n_masks", "reduction", "role"), [
    (1, "mean", "1"), (3, "mean", "-1->1"), (3, "sum", "1"), (1, "sum", "0.5"),
])  # fmt: skip
def test_equals_the_readable_step(n_masks, reduction, role):
    rules = {"reduction": reduction, "role": Role.parse(role), "done": 0.2}
    fast = build_players(n_masks=n_masks, optimizer="lars", **rules)
    plain = copy.deepcopy(fast)
    for seed in range(3):
        a, b = as_views(seed=seed)
        b = b._replace(fill=fill("other" if n_masks > 1 else "mean", b.images))
        metrics = two_player_step(fast, [(a, b)])
        written = plain_step(plain, a, b)
        for name, value in written.items():
            assert metrics[name].item() == pytest.approx(value.item(), rel=1e-6), name
    for a, b in ((fast.encoder, plain.encoder), (fast.masker, plain.masker)):
        found, expected = a.state_dict(), b.state_dict()
        for name in [name for name in found if name.endswith("num_batches_tracked")]:
            assert found.pop(name) == 3  # steps; the plain step counts passes
            expected.pop(name)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("budget", [Budget(0.25, exact=True), Budget(0.1, 0.5, exact=True)])
def test_equals_the_readable_step_with_exact_budgets(budget):
    fast = build_players(budget=budget, done=0.5)
    plain = copy.deepcopy(fast)
    a, b = as_views()
    metrics = two_player_step(fast, [(a, b)])
    for name, value in plain_step(plain, a, b).items():
        assert metrics[name].item() == pytest.approx(value.item(), rel=1e-6), name
    torch.testing.assert_close(fast.masker.state_dict(), plain.masker.state_dict())


def test_a_partner_lowers_the_loss_that_an_adversary_raises():
    def gradients(role, done=0.0):
        players = build_players(role=Role.parse(role), done=done, penalty_weights={}, lr=0.0)
        a, b = as_views()
        metrics = two_player_step(players, [(a, b)])
        return [metrics["loss/mask"], *(p.grad.clone() for p in players.masker.parameters())]

    adversary = gradients("1")
    for role, done, factor in (("-1", 0, -1), ("0.5", 0, 0.5), ("-1->1", 0, -1), ("-1->1", 1, 1)):
        for found, one in zip(gradients(role, done), adversary, strict=True):
            torch.testing.assert_close(found, factor * one, check_dtype=False)


@pytest.mark.parametrize(
    ("compare", "passes"),
    [
        (("one",), 3 + 1),
        (("each",), 2 * 3 + 2),
        (("both",), 2 * 3),
        (("one", "none"), 3 + 2),
        (("each", "none", "both"), 2 * 3 + 2),
    ],
)
def test_what_is_compared(compare, passes):
    # Each comparison written out, all graphs at once: the mean over pairs of views.
    players = build_players(compare=compare, penalty_weights={"budget": 1.0})
    x_a, x_b = views()
    plain = copy.deepcopy(players)
    count = []
    players.encoder.register_forward_hook(lambda *_: count.append(1))
    metrics = two_player_step(players, [(View(x_a), View(x_b))])
    assert len(count) == 2 * passes

    def loss_of_masks(masks_a, masks_b):
        encode, compared = plain.encoder, plain.objective
        z_a, z_b = encode(x_a), encode(x_b)
        total = 0.0
        for k in range(3):
            z_ma = encode(x_a * (1 - masks_a[:, k : k + 1]))
            z_mb = encode(x_b * (1 - masks_b[:, k : k + 1]))
            pairs = {
                "one": [compared(z_a, z_mb)],
                "each": [compared(z_ma, z_b), compared(z_a, z_mb)],
                "both": [compared(z_ma, z_mb)],
                "none": [compared(z_a, z_b)],
            }
            terms = [term for name in compare for term in pairs[name]]
            total = total + sum(terms) / len(terms) / 3
        return total

    loss = loss_of_masks(plain.masker(x_a).detach(), plain.masker(x_b).detach())
    plain.encoder_optimizer.zero_grad()
    loss.backward()
    plain.encoder_optimizer.step()
    masks_a, masks_b = plain.masker(x_a), plain.masker(x_b)
    masked = [masks_b] if compare in (("one",), ("one", "none")) else [masks_a, masks_b]
    price = sum(all_penalties([(m, 0.25)])["budget"] for m in masked) / len(masked)
    plain.masker_optimizer.zero_grad()
    (price - loss_of_masks(masks_a, masks_b)).backward()
    plain.masker_optimizer.step()

    assert metrics["loss/encoder"].item() == pytest.approx(loss.item(), rel=1e-6)
    assert metrics["penalty/budget"].item() == pytest.approx(price.item(), rel=1e-6)
    for a, b in ((players.encoder, plain.encoder), (players.masker, plain.masker)):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("compare", [("each", "none", "both"), ("each", "none"), ("each",)])
def test_simsiam_steps_are_those_of_adios(compare, symmetric):
    """Written out after ADIOS's code: directed terms, one mean over them, sums over masks."""
    sparsity, entropy, batch, n = 0.2, 0.286, 8, 3
    objective = build_objective(ObjectiveConfig("simsiam", hidden=(16,), out_dim=8, predictor=16))
    masker = SimultaneousMasker(n, 16, 4)
    players = build_players(
        masker, objective=objective, compare=compare, reduction="sum",
        one_way=None if symmetric else objective.from_one,
        penalty_weights={"sparsity": sparsity, "entropy": entropy * batch},
    )  # fmt: skip
    x_a, x_b = views(batch)
    plain = copy.deepcopy(players)
    metrics = two_player_step(players, [(View(x_a), View(x_b))])

    def distance(p, z):
        return -nn.functional.cosine_similarity(p, z.detach(), dim=1).mean()

    def encode(x):
        z = plain.encoder.head(plain.encoder.backbone(x))
        return plain.encoder.predictor(z), z

    def forward(masks_a, masks_b):
        total = 0.0
        for k in range(n):
            (p_a, z_a), (p_b, z_b) = encode(x_a), encode(x_b)
            p_ma, z_ma = encode(x_a * (1 - masks_a[:, k : k + 1]))
            p_mb, z_mb = encode(x_b * (1 - masks_b[:, k : k + 1]))
            terms = [distance(p_ma, z_b), distance(p_mb, z_a)]
            if symmetric:
                terms += [distance(p_b, z_ma), distance(p_a, z_mb)]
            if "none" in compare:
                terms += [distance(p_a, z_b), distance(p_b, z_a)]
            if "both" in compare:
                terms += [distance(p_ma, z_mb), distance(p_mb, z_ma)]
            total = total + torch.stack(terms).mean()
        return total

    loss = forward(plain.masker(x_a).detach(), plain.masker(x_b).detach())
    plain.encoder_optimizer.zero_grad()
    loss.backward()
    plain.encoder_optimizer.step()
    masks_a, masks_b = plain.masker(x_a), plain.masker(x_b)
    gain = forward(masks_a, masks_b)
    areas = torch.cat([masks_a, masks_b], dim=1).mean((2, 3))  # [B, 2N]
    gain = gain - sparsity * (1 / torch.sin(areas * torch.pi)).mean(0).sum()
    p = areas.softmax(dim=1)
    gain = gain + entropy * (p * p.log()).sum()  # over the batch too
    plain.masker_optimizer.zero_grad()
    (-gain).backward()
    plain.masker_optimizer.step()

    assert metrics["loss/encoder"].item() == pytest.approx(loss.item(), rel=1e-6)
    assert metrics["loss/mask"].item() == pytest.approx(-gain.item(), rel=1e-6)
    for a, b in ((players.encoder, plain.encoder), (players.masker, plain.masker)):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["simsiam", "byol", "moco"])
@pytest.mark.parametrize("compare", [("one",), ("each",)])
def test_one_sided_steps_are_the_same_stacked_and_looped(name, compare):
    # A clean view that is only a target gets no gradient.
    config = ObjectiveConfig(name, hidden=(16,), out_dim=8, predictor=16, queue=32)
    states = []
    for stack in (False, True):
        objective = build_objective(config)
        players = build_players(
            objective=objective, one_way=objective.from_one, compare=compare, stack=stack
        )
        start = state(players.encoder)  # the same each time
        two_player_step(players, [as_views()])
        assert not same(start, state(players.encoder))
        states.append((state(players.encoder), state(players.masker)))
    for looped, stacked in zip(*states, strict=True):
        for key, value in looped.items():
            torch.testing.assert_close(stacked[key], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("compare", "one_sided", "share"),
    [
        (("one",), False, 1), (("each",), True, 1), (("one", "none"), False, 1 / 2),
        (("each", "none", "both"), False, 3 / 4), (("each", "none", "both"), True, 4 / 6),
    ],
)  # fmt: skip
def test_the_share_of_the_loss_that_masks_have(compare, one_sided, share):
    assert masked_share(compare, one_sided) == pytest.approx(share)


def test_moco_remembers_the_keys_of_every_part():
    config = ObjectiveConfig("moco", hidden=(16,), out_dim=8, queue=32)
    objective = build_objective(config)
    players = build_players(objective=objective, remember=objective.remember)
    parts = [as_views(seed=seed) for seed in range(2)]
    two_player_step(players, parts)
    queue = players.encoder.queue
    before = queue.clone()
    keys = torch.cat(objective.keys)
    assert len(keys) == 16  # two parts of 8: each image once, however many masks and players
    objective.update(players.encoder, 0.0)
    torch.testing.assert_close(queue[:16], nn.functional.normalize(keys, dim=1))
    assert torch.equal(queue[16:], before[16:])
    assert players.encoder.oldest.item() == 16
    assert objective.keys == []


@pytest.mark.parametrize(
    ("masker", "passes"),
    [
        (SequentialMasker(3, 16, 4), 2 * (3 + 1)),
        (SimultaneousMasker(4, 16, 4), 2 * (4 + 1)),
        (RandomBlockMasker(3, 0.25), 3 + 1),
        (RandomPatchMasker(2, 0.5, 4), 2 + 1),
        (NoMasker(), 1 + 1),
    ],
)
def test_counts_of_encoder_and_masker_passes(masker, passes):
    players = build_players(masker)
    seen = {"encoder": 0, "masker": 0}
    players.encoder.register_forward_hook(
        lambda *_: seen.__setitem__("encoder", seen["encoder"] + 1)
    )
    players.masker.register_forward_hook(lambda *_: seen.__setitem__("masker", seen["masker"] + 1))
    two_player_step(players, [as_views()], torch.Generator().manual_seed(0))
    assert seen == {"encoder": passes, "masker": 1}


def test_single_mask_takes_one_masked_pass_for_every_masker():
    for masker in (SequentialMasker(3, 16, 4), RandomBlockMasker(3, 0.25), NoMasker()):
        players = build_players(masker, single=True)
        count = []
        players.encoder.register_forward_hook(lambda *_, count=count: count.append(1))
        metrics = two_player_step(players, [as_views()], torch.Generator().manual_seed(0))
        assert len(count) == (4 if masker.learned else 2)
        assert torch.isfinite(metrics["loss/encoder"])


# The faster ways to take the same step, and the one that is another


@pytest.mark.parametrize("objective", ["simclr", "byol", "moco"])
@pytest.mark.parametrize("rules", [
    {}, {"compare": ("each", "none", "both")}, {"simultaneous": True},
    {"single": True, "reduction": "sum"},
], ids=str)  # fmt: skip
def test_stacked_equals_looped(rules, objective):
    # Gradients through the weights after a step, running statistics, metrics: all of the state.
    config = ObjectiveConfig(objective, hidden=(16,), out_dim=8, predictor=16, queue=32)
    looped = build_players(objective=build_objective(config), **rules)
    both = [looped, build_players(objective=build_objective(config), stack=True, **rules)]
    both[1].encoder.load_state_dict(looped.encoder.state_dict())
    for seed in range(2):
        found = [
            two_player_step(p, [as_views(seed=seed)], torch.Generator().manual_seed(seed))
            for p in both
        ]
        assert found[0].keys() == found[1].keys()
        for name in found[0]:
            assert found[0][name].item() == pytest.approx(found[1][name].item(), rel=1e-5), name
    looped, stacked = both
    for a, b in ((looped.encoder, stacked.encoder), (looped.masker, stacked.masker)):
        for name, value in a.state_dict().items():
            torch.testing.assert_close(b.state_dict()[name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("rules", "passes"), [
    ({"stack": True}, 1 + 2),  # all views for the encoder; the anchor, then the rest for the masks
    ({"simultaneous": True}, 3 + 1),
    ({"simultaneous": True, "stack": True}, 1),
])  # fmt: skip
def test_faster_steps_take_fewer_passes(rules, passes):
    players = build_players(**rules)
    count = []
    players.encoder.register_forward_hook(lambda *_: count.append(1))
    two_player_step(players, [as_views()])
    assert len(count) == passes


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("rules", [{}, {"stack": True}, {"compare": ("each",)}], ids=str)
def test_simultaneous_masks_learn_as_alternating_ones_while_the_encoder_is_still(rules, parts):
    masks = []
    for simultaneous in (False, True):
        players = build_players(simultaneous=simultaneous, **rules)
        for group in players.encoder_optimizer.param_groups:
            group["lr"] = 0.0
        start = state(players.masker)
        two_player_step(players, [as_views(seed=seed) for seed in range(parts)])
        assert not same(start, state(players.masker))
        masks.append([p.grad for p in players.masker.parameters()])
    for alternating, simultaneous in zip(*masks, strict=True):
        torch.testing.assert_close(simultaneous, alternating, rtol=1e-12, atol=1e-12)


def test_simultaneous_moves_the_encoder_as_alternating_does():
    encoders = []
    for simultaneous in (False, True):
        players = build_players(simultaneous=simultaneous)
        two_player_step(players, [as_views()])
        encoders.append(state(players.encoder))
    assert same(*encoders)


def test_masks_may_rest():
    players = build_players(stack=True)
    before = state(players.masker)
    encoder = state(players.encoder)
    metrics = two_player_step(players, [as_views()], move_masks=False)
    assert same(before, state(players.masker))
    assert not same(encoder, state(players.encoder))
    assert "loss/mask" not in metrics
    assert "mask/coverage_1" in metrics


class Halting(Exception):
    pass


def test_encoder_step_leaves_the_masker_and_mask_step_leaves_the_encoder_bit_identical():
    players = build_players()
    x_a, x_b = views()
    encoder, masker = state(players.encoder), state(players.masker)
    after_encoder_step = {}
    take = players.encoder_optimizer.step

    def step_and_look(*arguments):
        take(*arguments)
        assert same(masker, state(players.masker))
        after_encoder_step.update(state(players.encoder))

    players.encoder_optimizer.step = step_and_look
    two_player_step(players, [(View(x_a), View(x_b))])
    assert not same(encoder, after_encoder_step)  # parameters and running statistics moved
    assert same(after_encoder_step, state(players.encoder))  # the mask step moved neither
    assert not same(masker, state(players.masker))
    assert all(p.requires_grad for p in players.encoder.parameters())
    assert players.encoder.training


def test_held_still_restores_the_encoder_after_an_error():
    encoder = build_players().encoder
    before = state(encoder)
    with pytest.raises(Halting), held_still(encoder):  # noqa: PT012
        encoder(views()[0])
        raise Halting
    assert same(before, state(encoder))
    assert all(p.requires_grad for p in encoder.parameters())


def loss_of(players, x_a, x_b):
    with torch.no_grad(), held_still(players.encoder):
        z_a, masks = players.encoder(x_a), players.masker(x_b)
        losses = [
            players.objective(z_a, players.encoder(x_b * (1 - m))) for m in masks.split(1, dim=1)
        ]
    return float(sum(losses) / len(losses))


def test_each_player_moves_the_loss_its_own_way():
    # Without penalties and with small steps, the encoder's step must lower the same loss that
    # the masker's step must then raise.
    players = build_players(lr=1e-3, penalty_weights={})
    x_a, x_b = views(batch=16)
    seen = [loss_of(players, x_a, x_b)]
    for optimizer in (players.encoder_optimizer, players.masker_optimizer):
        take = optimizer.step

        def step_and_look(take=take):
            take()
            seen.append(loss_of(players, x_a, x_b))

        optimizer.step = step_and_look
    two_player_step(players, [(View(x_a), View(x_b))])
    start, after_encoder, after_masker = seen
    assert after_encoder < start
    assert after_masker > after_encoder


def test_masker_pays_its_penalties():
    players = build_players(lr=1e-2, penalty_weights={"budget": 1e4}, budget=Budget(0.1))
    x_a, x_b = views()
    first = two_player_step(players, [(View(x_a), View(x_b))])["penalty/budget"]
    for _ in range(20):
        last = two_player_step(players, [(View(x_a), View(x_b))])["penalty/budget"]
    assert last < first / 2


def test_accumulated_parts_are_averaged():
    # Two equal parts give the gradients, hence the step, of either part alone.
    x_a, x_b = views()
    once, twice = build_players(), build_players()
    two_player_step(once, [(View(x_a), View(x_b))])
    metrics = two_player_step(twice, [(View(x_a), View(x_b))] * 2)
    for a, b in ((once.encoder, twice.encoder), (once.masker, twice.masker)):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11)
    assert set(metrics) >= {"loss/encoder", "loss/mask", "mask/binary", "mask/coverage_1"}


def test_metrics_say_what_they_promise():
    players = build_players(n_masks=2)
    x_a, x_b = views()
    with torch.no_grad():
        masks = players.masker(x_b)
    metrics = two_player_step(players, [(View(x_a), View(x_b))])
    assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())
    for k in range(2):
        torch.testing.assert_close(metrics[f"mask/coverage_{k + 1}"], masks[:, k].mean())
    binary = ((masks < 0.1) | (masks > 0.9)).double().mean()
    assert metrics["mask/binary"].item() == pytest.approx(binary.item())
    for name, value in all_penalties([(masks, players.target(View(x_b)))]).items():
        torch.testing.assert_close(metrics[f"penalty/{name}"], value)
    gain = metrics["loss/mask"] - sum(w * metrics[f"penalty/{n}"] for n, w in WEIGHTS.items())
    assert gain < 0  # what is left is minus the contrastive loss


def test_removed_pixels_are_the_mean_colour():
    # 1 = removed: a masker that removes everything leaves an all-zero (mean colour) view.
    class Everything(nn.Module):
        learned = False

        def forward(self, images, generator=None, maps=None):
            return torch.ones_like(images[:, :1])

    players = build_players(Everything())
    inputs = []
    players.encoder.backbone.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    x_a, x_b = views()
    two_player_step(players, [(View(x_a), View(x_b))])
    assert torch.equal(inputs[0], x_a)
    assert not inputs[1].any()


def test_memory_does_not_grow_with_the_number_of_masks():
    """Graphs are freed mask by mask: at most two of the encoder's are alive at any time."""
    players = build_players(n_masks=6)
    alive = []

    class Count(torch.autograd.Function):
        """A node of the encoder's graph; it counts itself out when it is run backward."""

        @staticmethod
        def forward(ctx, x):
            alive.append(1)
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            alive.pop()
            return gradient

    most = []

    def on_output(module, given, output):
        if output.requires_grad:
            output = Count.apply(output)
        most.append(len(alive))
        return output

    players.encoder.register_forward_hook(on_output)
    two_player_step(players, [as_views()])
    assert max(most) == 2
    assert not alive


# What a user gets wrong


@pytest.mark.parametrize(("rules", "says"), [
    ({"penalty_weights": {"buget": 1}}, "unknown penalty in penalty_weights 'buget': did you mean"),
    ({"penalty_weights": {"budget": -1.0}}, "budget is -1.0: it must be finite and at least 0"),
    ({"compare": "one"}, "compare is 'one': expected names of"),
    ({"compare": ("onee",)}, "compare is 'onee': choose from 'one', "),
    ({"reduction": "max"}, "reduction is 'max': choose from 'mean', 'sum'"),
    ({"masker": SimultaneousMasker(2, 16, 4), "budget": Budget(0.2, exact=True)},
     "SimultaneousMasker cannot remove an exact share"),
])  # fmt: skip
def test_rules_that_do_not_fit_are_refused(rules, says):
    with pytest.raises(UserError) as caught:
        build_players(**rules)
    assert says in str(caught.value)


def test_players_that_do_not_fit_are_refused():
    whole = build_players()
    given = {name: getattr(whole, name) for name in ("encoder", "masker", "objective")}
    given |= {n: getattr(whole, n) for n in ("encoder_optimizer", "masker_optimizer")}
    with pytest.raises(ValueError, match=r"keep_views_apart\(encoder\)"):
        TwoPlayers(**given, stack=True)
    with pytest.raises(ValueError, match="SequentialMasker is learned and needs one"):
        TwoPlayers(**given | {"masker_optimizer": None})
    with pytest.raises(ValueError, match="RandomBlockMasker is not learned"):
        TwoPlayers(**given | {"masker": RandomBlockMasker()})
    seamask.networks.keep_views_apart(whole.encoder)
    assert TwoPlayers(**given, stack=True).stack


@pytest.mark.parametrize("batch", [
    [], views(), [(View(views()[0]),)], [views()], (View(views()[0]), View(views()[1])),
], ids=["empty", "tensors", "one", "pair of tensors", "pair alone"])  # fmt: skip
def test_a_batch_that_is_none_is_told_what_one_is(batch):
    with pytest.raises(ValueError, match="batch must be a list of pairs of views"):
        two_player_step(build_players(), batch)


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"given \[8, 3, 24, 24\]"):
        two_player_step(build_players(), [tuple(View(x) for x in views(size=24))])
