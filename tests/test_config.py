"""Settings: every one goes round through dicts and YAML, and what cannot work is refused."""

import dataclasses
import math
import typing

import pytest
import yaml

from seamask.base import settings
from seamask.base.errors import UserError
from seamask.base.settings import from_dict, override, read_yaml, to_dict
from seamask.config import Config, check
from seamask.data.normalize import Normalize
from seamask.masks.budget import Budget
from seamask.masks.role import Role
from seamask.objectives import build_objective
from seamask.recipes import DEFAULT, RECIPES, default_recipe, recipe_config, sourced
from seamask.training.players import penalty_weights

WRITTEN = {  # settings that are written as text, and another value
    Budget: Budget(0.1, 0.5, exact=True),
    Role: Role(-1, 1),
    Normalize: Normalize("given", (0.1, 0.2, 0.3), (0.5,)),
}


def leaves(kind=Config, prefix=""):
    """{dotted path: its type}, found here again."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and hint not in WRITTEN:
            found |= leaves(hint, f"{prefix}{name}.")
        else:
            found[prefix + name] = hint
    return found


LEAVES = leaves()


def value_of(config, path):
    for part in path.split("."):
        config = getattr(config, part)
    return config


def another(path):
    """A value that differs from the default and is of the right type."""
    hint, now = LEAVES[path], value_of(Config(), path)
    if hint in WRITTEN:
        return WRITTEN[hint]
    if typing.get_origin(hint) is typing.Literal:
        return next(v for v in typing.get_args(hint) if v != now)
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        if kind is float:
            return tuple(v / 2 for v in now)
        return typing.get_args(kind)[::-1] or {int: (7, 5, 3), str: ("a=1", "b=0.5")}[kind]
    return {bool: not now, int: 17, float: 0.123, str: "some/where else: ü"}[hint]


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_all_settings_are_here():
    assert len(LEAVES) > 60
    assert {"epochs", "masks.n_masks", "optim.encoder.lr", "optim.masker.lr"} <= set(LEAVES)


@pytest.mark.parametrize("path", LEAVES)
def test_a_setting_goes_round(path, tmp_path):
    value = another(path)
    config = override(Config(), {path: value})
    assert value_of(config, path) == value != value_of(Config(), path)
    others = [p for p in LEAVES if value_of(config, p) != value_of(Config(), p)]
    assert others == [path]
    assert from_dict(to_dict(config), Config()) == config
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(to_dict(config)))
    assert read_yaml(file, Config()) == config


def test_all_settings_at_once_go_round_and_stay_plain(tmp_path):
    config = override(Config(), {path: another(path) for path in LEAVES})
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(to_dict(config)))  # refuses anything that is not plain
    assert read_yaml(file, Config()) == config
    assert all(value_of(config, path) == another(path) for path in LEAVES)


def test_missing_keys_keep_the_start(tmp_path):
    start = override(Config(), {"epochs": 3, "masks.n_masks": 2})
    assert from_dict({"masks": {"width": 8}}, start) == override(start, {"masks.width": 8})
    file = tmp_path / "part.yaml"
    file.write_text("optim:\n  encoder: {lr: 1e-4}\n")  # YAML reads 1e-4 as text
    assert read_yaml(file, start) == override(start, {"optim.encoder.lr": 1e-4})


@pytest.mark.parametrize(("name", "path", "value"), [
    ("masker", "masks.masker", "none"),
    ("n_masks", "masks.n_masks", 7),
    ("budget", "masks.budget", Budget(0.1, exact=True)),
    ("data", "data.source", "cifar10"),
    ("backbone", "encoder.backbone", "resnet50"),
    ("on_bad_image", "data.on_bad_image", "stop"),
])  # fmt: skip
def test_short_names_are_the_dotted_ones(name, path, value):
    assert override(Config(), {name: value}) == override(Config(), {path: value})
    assert settings.short_names(Config)[name] == path
    assert settings.flag(path, Config) == f"--{name.replace('_', '-')}"
    assert value_of(override(Config(), {name: value}), path) == value


def test_no_short_name_hides_a_setting():
    assert not set(settings.short_names(Config)) & set(LEAVES)


@pytest.mark.parametrize(("name", "near"), [
    ("epoch", "epochs"), ("masks.n_mask", "masks.n_masks"), ("nmasks", "n_masks"),
    ("penalties.overlp", "penalties.overlap"),
    ("maskr", "masker"), ("optim.lr", "optim."),
])  # fmt: skip
def test_unknown_names_give_the_nearest(name, near):
    with pytest.raises(UserError) as caught:
        override(Config(), {name: 1})
    assert f"unknown setting {name!r}: did you mean '{near}" in one_line(caught)


def test_unknown_keys_in_nested_settings_are_refused():
    with pytest.raises(UserError, match=r"unknown setting 'views.bluur': did you mean 'views.blur"):
        from_dict({"views": {"bluur": 1}}, Config())
    with pytest.raises(UserError, match=r"unknown setting 'epochs.x'"):
        from_dict({"epochs": {"x": 1}}, Config())


@pytest.mark.parametrize(("path", "value"), [
    ("epochs", "3"), ("epochs", 1.5), ("epochs", True), ("epochs", None), ("epochs", [3]),
    ("optim.encoder.lr", "fast"), ("optim.encoder.lr", True), ("optim.encoder.lr", None),
    ("compile", 1), ("compile", "yes"), ("data.root", True), ("data.root", None),
    ("views.scale", 0.5), ("views.scale", (0.1, 0.5, 1.0)), ("views.scale", ("a", "b")),
    ("objective.hidden", 2048), ("objective.hidden", (1.5,)), ("objective.hidden", "2048"),
    ("masks", {"n_masks": "many"}), ("masks.norm", 3), ("precision", "fp8"),
])  # fmt: skip
def test_values_of_another_type_are_refused_with_flag_and_value(path, value):
    with pytest.raises(UserError) as caught:
        from_dict({path: value}, Config())
    if isinstance(value, dict):
        ((key, value),) = value.items()
        path = f"{path}.{key}"
    bad = value
    if path in ("views.scale", "objective.hidden") and isinstance(value, tuple) and len(value) < 3:
        bad = value[0]
    message = one_line(caught)
    assert settings.flag(path, Config) in message
    assert str(bad) in message


@pytest.mark.parametrize(("path", "value", "expected"), [
    ("optim.encoder.lr", 1, 1.0), ("optim.encoder.lr", "3e-4", 3e-4),
    ("views.scale", [0.1, 1], (0.1, 1.0)), ("objective.hidden", [], ()),
])  # fmt: skip
def test_values_are_taken_as_the_type_they_stand_for(path, value, expected):
    found = value_of(override(Config(), {path: value}), path)
    assert found == expected
    assert type(found) is type(expected)


NAN, INF = float("nan"), float("inf")
REFUSED = [
    *((path, 0) for path in (
        "epochs", "accumulate", "devices", "masks.n_masks", "masks.patch", "masks.width",
        "objective.out_dim", "log.every", "log.keep_checkpoints", "data.shapes_train",
    )),
    *((path, -1) for path in (
        "seed", "data.size", "data.limit", "data.shapes_test", "optim.warmup_epochs",
        "log.probe_every", "log.masks_every", "log.checkpoint_every", "epochs", "masks.n_masks",
    )),
    *((path, -0.1) for path in (
        "penalties.budget", "penalties.overlap", "penalties.consistency", "penalties.sparsity",
        "penalties.entropy", "optim.warmup_start", "optim.min_lr", "optim.encoder.lr",
        "optim.masker.lr", "optim.encoder.weight_decay", "optim.masker.weight_decay",
        "views.brightness", "views.contrast", "views.saturation", "views.hue",
        "objective.temperature", "optim.trust",
    )),
    *((path, value) for value in (-0.1, 1.1, NAN) for path in (
        "views.flip", "views.jitter", "views.grayscale", "views.blur", "views.solarize",
        "masks.ratio", "data.holdout", "optim.encoder.momentum",
        "optim.masker.momentum",
    )),
    ("batch_size", 1), ("image_size", 7), ("views.hue", 0.6),
    ("optim.encoder.momentum", 1.0), ("optim.masker.momentum", 1.0),
    ("objective.temperature", 0.0), ("optim.trust", 0.0), ("objective.temperature", NAN),
    ("views.scale", (0.0, 1.0)), ("views.scale", (0.5, 0.2)), ("views.scale", (0.5, 1.5)),
    ("views.ratio", (0.0, 1.0)), ("views.ratio", (2.0, 1.0)), ("views.blur_sigma", (0.0, 2.0)),
    ("views.blur_sigma", (2.0, 1.0)), ("masks.downscale", 3), ("masks.downscale", 0),
    ("objective.hidden", (128, 0)),
    *((path, value) for value in (NAN, INF) for path in (
        "optim.encoder.lr", "optim.masker.lr", "penalties.budget", "penalties.overlap",
        "optim.encoder.weight_decay", "optim.warmup_start", "optim.min_lr", "views.brightness",
    )),
    ("objective.temperature", INF), ("optim.trust", INF), ("views.blur_sigma", (0.1, NAN)),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), REFUSED)
def test_out_of_range_is_refused_with_flag_and_value(path, value):
    with pytest.raises(UserError) as caught:
        check(override(Config(), {path: value}))
    message = one_line(caught)
    assert message.startswith(f"{settings.flag(path, Config)} is ")
    assert str(value[-1] if isinstance(value, tuple) else value) in message


@pytest.mark.parametrize(("changed", "says"), [
    ({"batch_size": 10, "accumulate": 4}, "take 8"),
    ({"batch_size": 3, "accumulate": 2, "devices": 2}, "take 8"),
    ({"batch_size": 4, "devices": 4}, "at least 2"),
])  # fmt: skip
def test_batches_that_do_not_divide_are_refused(changed, says):
    with pytest.raises(UserError, match=f"--batch-size {changed['batch_size']} .*{says}"):
        check(override(Config(), changed))


@pytest.mark.parametrize("changed", [
    {"masks.ratio": 0.0}, {"masks.ratio": 1.0}, {"views.hue": 0.5}, {"views.scale": (1.0, 1.0)},
    {"batch_size": 2}, {"batch_size": 8, "accumulate": 2, "devices": 2}, {"image_size": 8},
    {"optim.encoder.lr": 0.0}, {"optim.encoder.momentum": 0.0}, {"objective.hidden": ()},
    {"masks.downscale": 4}, {"data.shapes_test": 0}, {"optim.warmup_epochs": 0},
])  # fmt: skip
def test_the_ends_of_ranges_are_allowed(changed):
    config = override(Config(), changed)
    assert check(config) is config


@pytest.mark.parametrize(
    "text", ["just words", "- a\n- b\n", "", "a: [1,\n", "\x00", "epochs: 3: 4"]
)
def test_files_that_are_no_settings_are_refused(text, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match="cannot read the settings in") as caught:
        read_yaml(file, Config())
    assert str(file) in one_line(caught)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00bad"])
def test_files_that_cannot_be_read_are_refused(content, tmp_path):
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match="cannot read the settings in") as caught:
        read_yaml(file, Config())
    assert str(file) in one_line(caught)


# Recipes


def test_recipes_are_these():
    policies = ("simclr", "random-block", "adios", "sequential", "seamask")
    data = ("shapes", "folder", "imagenet100s", "stl10", "cifar10")
    expected = {f"{d}-{p}" for d in data for p in policies}
    scripts = {
        f"{d}-adios-{w}" for d in ("imagenet100s", "stl10") for w in ("byol", "simsiam", "vit")
    }
    assert set(RECIPES) == expected | scripts | {"folder-small"}
    assert DEFAULT == "shapes-seamask"


def test_the_recipe_follows_the_data_where_none_is_named():
    assert default_recipe(None) == default_recipe("shapes") == DEFAULT
    assert default_recipe("stl10") == "stl10-seamask"
    assert default_recipe("my/images") == "folder-seamask"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_complete_and_sound(name):
    config = recipe_config(name)
    assert check(config).recipe == name
    assert from_dict(to_dict(config), Config()) == config
    line, changed = RECIPES[name]
    assert line
    assert "\n" not in line
    plain = {path: sourced.value_of(value) for path, value in changed.items()}
    assert all(value_of(config, path) == value for path, value in plain.items())


@pytest.mark.parametrize("data", ["imagenet100s", "stl10", "cifar10"])
def test_recipes_hold_the_published_numbers(data):
    adios, sequential = recipe_config(f"{data}-adios"), recipe_config(f"{data}-sequential")
    for config in (adios, sequential):  # [Seq] table 3
        assert (config.epochs, config.batch_size) == (500, 256)
        assert (config.optim.encoder.optimizer, config.optim.masker.optimizer) == ("lars", "lars")
        assert (config.optim.encoder.lr, config.optim.encoder.momentum) == (0.11, 0.9)
        assert config.objective.temperature == 0.2
        assert (config.optim.warmup_epochs, config.optim.warmup_start) == (10, 0.003)
        assert config.optim.masker.lr == {"stl10": 0.0195}.get(data, 0.0145)
    masks, costs = sequential.masks, sequential.penalties  # [Seq] table 4
    assert (masks.masker, masks.n_masks, masks.budget) == ("sequential", 5, Budget(0.25))
    assert (costs.overlap, costs.consistency) == (1e-4, 1e-4)
    assert (costs.sparsity, costs.entropy) == (0, 0)
    masks, costs = adios.masks, adios.penalties
    assert (masks.masker, masks.n_masks, masks.reduction) == ("simultaneous", 4, "sum")
    assert (costs.sparsity, costs.entropy) == (0.93, 0.71)
    assert (costs.budget, costs.overlap, costs.consistency) == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "row"),
    [  # the table of scripts: epochs, lr, mask lr, weight decay, N, width, sparsity, entropy, out
        ("imagenet100s-adios-byol", (500, 0.2414, 0.0660, 1e-5, 6, 16, 0.404, 0, 256)),
        ("imagenet100s-adios-simsiam", (500, 0.8471, 0.0802, 1e-5, 4, 16, 0.2, 0.286, 2048)),
        ("imagenet100s-adios-vit", (300, 0.1157, 0.0334, 1e-4, 6, 16, 0.889, 0, 128)),
        ("stl10-adios-byol", (400, 0.2920, 0.0928, 9.9e-6, 6, 64, 1.719, 0, 256)),
        ("stl10-adios-simsiam", (400, 0.4436, 0.0383, 7.2e-6, 6, 32, 1.0, 0, 256)),
        ("stl10-adios-vit", (200, 0.1025, 0.0941, 1e-4, 4, 32, 0.391, 0, 128)),
    ],
)
def test_recipes_of_adios_hold_the_numbers_of_its_scripts(name, row):
    c = recipe_config(name)
    costs = c.penalties
    found = (
        c.epochs, c.optim.encoder.lr, c.optim.masker.lr, c.optim.masker.weight_decay,
        c.masks.n_masks, c.masks.width, costs.sparsity, costs.entropy, c.objective.out_dim,
    )  # fmt: skip
    assert found == pytest.approx(row)
    assert (c.batch_size, c.masks.norm, c.masks.masker) == (128, "group", "simultaneous")
    assert c.encoder.backbone.startswith("vit_tiny" if name.endswith("vit") else "resnet18")
    simsiam = name.endswith("simsiam")
    assert (c.masks.one_sided, c.optim.constant_predictor) == (simsiam, simsiam)
    assert c.masks.blocks == (4 if name == "imagenet100s-adios-simsiam" else 0)
    assert not c.encoder.zero_init_last


def test_one_default_holds_for_all_objectives_and_batches():
    # In units of the loss's range; what the authors' code sums over the batch follows the batch.
    def weights(recipe, **changed):
        config = override(recipe_config(recipe), changed)
        return penalty_weights(config, build_objective(config.objective))

    assert weights("cifar10-sequential")["budget"] == pytest.approx(5 * math.log(511))
    half = weights("cifar10-sequential", batch_size=128)["budget"]
    assert half == pytest.approx(5 * math.log(255))
    assert weights("cifar10-sequential", accumulate=2)["budget"] == half  # negatives of one part
    assert weights("cifar10-sequential", objective="byol")["budget"] == 20
    assert weights("cifar10-seamask", objective="simsiam")["equipartition"] == 5
    summed = weights("cifar10-sequential", **{"masks.reduction": "sum"})  # over five masks
    assert summed["budget"] == pytest.approx(25 * math.log(511))
    assert weights("cifar10-adios")["entropy"] == pytest.approx(0.71 * 256)
    assert weights("cifar10-adios", batch_size=128)["entropy"] == pytest.approx(0.71 * 128)


@pytest.mark.parametrize("data", ["imagenet100s", "stl10", "cifar10"])
def test_policies_of_a_data_set_differ_in_masks_and_penalties_only(data):
    def rest(policy):
        config = to_dict(recipe_config(f"{data}-{policy}"))
        return {k: v for k, v in config.items() if k not in ("recipe", "masks", "penalties")}

    assert rest("simclr") == rest("random-block") == rest("adios") == rest("sequential")


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'cifar10-sequential'"):
        recipe_config("cifar10-sequental")


@pytest.mark.parametrize("value", ["nine tenths", "exact:", "1.0", "0", "exact:2"])
def test_a_budget_that_is_none_is_refused(value):
    with pytest.raises(UserError) as caught:
        check(override(Config(), {"budget": value}))
    assert one_line(caught).startswith(f"--budget is '{value}': ")


def test_a_folder_may_be_named_by_a_number(tmp_path):
    file = tmp_path / "part.yaml"
    file.write_text("data: {source: 2024}\n")
    assert read_yaml(file, Config()).data.source == "2024"


def test_a_budget_may_be_a_number():
    assert override(Config(), {"budget": 0.1}).masks.budget == Budget(0.1)


@pytest.mark.parametrize(("changed", "says"), [
    ({"budget": "exact:0.25"}, "--budget exact:0.25 needs --masker sequential, not simultaneous"),
    ({"masks.disjoint": True}, "--masks.disjoint needs --masker sequential, not simultaneous"),
])  # fmt: skip
def test_what_only_sequential_masks_can_is_refused_elsewhere(changed, says):
    with pytest.raises(UserError, match=says):
        check(override(Config(), {"masker": "simultaneous", **changed}))


def test_a_folder_on_a_cpu_gets_a_recipe_that_it_can_finish():
    assert default_recipe("my/images", lambda: False) == "folder-small"
    assert default_recipe("my/images", lambda: True) == "folder-seamask"
    for source in (None, "shapes", "stl10"):  # what is published stays
        assert default_recipe(source, lambda: False) == default_recipe(source)
