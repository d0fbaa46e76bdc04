"""The command: what it prints, and one line with exit code 2 for every mistake."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

import seamask
from command import call
from seamask.base import settings
from seamask.base.devices import uses_gpu
from seamask.base.errors import UserError
from seamask.base.options import free_settings, parse
from seamask.base.settings import Within, override, to_dict
from seamask.commands import parse_pretrain
from seamask.config import Config, check
from seamask.recipes import DEFAULT, RECIPES, default_recipe, recipe_config
from seamask.runs import ONE_START
from seamask.study.shipped import shipped
from seamask.training.snapshot import MAY_CHANGE


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


def complaint(capsys, *arguments):
    """Return the one line that the command says about a mistake."""
    assert call(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("seamask: error: ")
    assert said.err.endswith("\n")
    assert said.err.count("\n") == 1
    assert not set(said.err) & set("╭╮╰╯│─\x1b")  # nothing is left of tyro's box
    return said.err.removeprefix("seamask: error: ").strip()


# What it prints


def test_what_needs_no_torch_does_not_wait_for_it():
    code = """if True:
        import sys
        from seamask.cli import main
        for code, line in ((0, ""), (0, "--version"), (0, "recipes"), (0, "pretrain --help"),
                           (0, "masks --help"), (2, "pretrain --epochs x"), (2, "resume")):
            try:
                main(line.split())
            except SystemExit as stop:
                assert stop.code == code, line
            assert "torch" not in sys.modules, line
    """
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_the_module_is_the_command():
    done = python("-m", "seamask", "pretrian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "seamask: error: unknown command 'pretrian': did you mean 'pretrain'?\n"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help(arguments, capsys):
    assert call(*arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    for command in ("pretrain", "resume", "masks", "recipes"):
        assert f"seamask {command}" in said.out


def test_version(capsys):
    assert call("--version") == 0
    assert capsys.readouterr().out == f"seamask {seamask.__version__}\n"


def test_recipes(capsys):
    assert call("recipes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    assert [line.split()[0] for line in lines if line.endswith("(the default)")] == [DEFAULT]


@pytest.mark.parametrize("name", ["stl10-adios", "imagenet100s-adios-byol", "shapes-seamask"])
def test_recipe_prints_settings_that_start_it_again_with_their_sources(name, capsys, tmp_path):
    assert call("recipes", name) == 0
    said = capsys.readouterr().out
    (tmp_path / "own.yaml").write_text(said)
    assert parse_pretrain(["--config", str(tmp_path / "own.yaml")]) == recipe_config(name)
    assert "optim.encoder.momentum: 0.9 " in said
    assert "# default; [Seq] table 3\n" in said
    assert "# [Seq] Sam et al. 2022" in said


def test_recipe_tells_what_a_number_was_taken_from(capsys):
    def source(recipe, setting):
        assert call("recipes", recipe) == 0
        (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith(f"{setting}:"))
        return line.partition("# ")[2]

    assert source("stl10-adios", "masks.n_masks") == "recipe: [Seq] table 4"
    assert source("stl10-seamask", "masks.n_masks") == "recipe"  # ours, of the same value
    assert source("stl10-adios-byol", "optim.encoder.lr") == "recipe: [ADIOS] script"
    assert source("stl10-adios", "epochs") == "recipe: [Seq] table 3; [ADIOS] script 400"
    assert source("stl10-adios", "seed") == "default"


@pytest.mark.parametrize(("words", "names"), [
    ("pretrain --help", "Seq ADIOS SimCLR MSN"),
    ("evaluate x segment --help", "FCN torchvision"),
])  # fmt: skip
def test_help_says_what_its_sources_are(words, names, capsys):
    assert call(*words.split()) == 0
    said = capsys.readouterr().out
    last = said.rpartition("\n\n")[2].splitlines()
    assert [line.partition("]")[0] for line in last] == [f"[{name}" for name in names.split()]


@pytest.mark.parametrize(
    "command", ["resume", "masks", "recipes", "evaluate", "study", "bench", "data", "data pack"]
)
def test_help_of_a_command(command, capsys):
    assert call(*command.split(), "--help") == 0
    assert f"usage: seamask {command}" in capsys.readouterr().out


def test_help_of_resume_names_all_that_may_change(capsys):
    assert call("resume", "--help") == 0
    said = capsys.readouterr().out
    names = [settings.flag(name, Config) for name in MAY_CHANGE if name not in ONE_START]
    assert set(names) <= set(re.findall(r"--[a-z.-]*[a-z]", said))


@pytest.mark.parametrize("recipe", [None, "stl10-adios"])
def test_pretrain_help_lists_every_setting_with_its_default(recipe, capsys):
    assert call("pretrain", *([recipe] if recipe else []), "--help") == 0
    said = capsys.readouterr().out
    config = recipe_config(recipe or DEFAULT)
    entries = " ".join(said.split()).split(" --")  # wrapped lines joined; one piece per flag
    for path, _ in settings.leaves(Config):
        if path == "recipe":  # given as a word, not as a flag
            continue
        flag = path.replace("_", "-")
        # A flag with a short name comes second: its piece holds the help and the default.
        piece = next(i for i, e in enumerate(entries) if e.split()[0].rstrip(",") == flag)
        while "(default:" not in entries[piece]:
            piece += 1
        value = settings.get(config, path)
        words = value if isinstance(value, tuple) else (value,)
        assert f"(default: {shlex.join(map(str, words)) or 'none'}" in entries[piece], path


def test_help_gives_ranges_and_docstrings_that_are_inherited(capsys):
    assert call("pretrain", "--help") == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--batch-size INT Images per step, over all devices" in said
    assert "(default: 64, at least 2)" in said
    assert "Optimisers and their schedule" in said
    assert "The mask network." in said

    @dataclass(frozen=True)
    class More(Config):
        """Settings with one more."""

        mine: Annotated[int, Within(1, 5)] = 2
        """Mine."""

    with pytest.raises(SystemExit):
        parse(More(), ["--help"], prog="x", description="")
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--mine INT Mine. (default: 2, between 1 and 5)" in said
    assert "--epochs INT Passes over the training images" in said
    assert parse(More(), ["--mine", "4"], prog="x", description="") == More(mine=4)


def test_help_of_a_study_names_all_that_are_shipped(capsys):
    assert call("study", "--help") == 0
    said = capsys.readouterr().out.replace(",", " ").split()
    assert set(shipped()) <= set(said)


# What it takes


@pytest.mark.parametrize(("arguments", "changed"), [
    ([], {}),
    (["--epochs", "3", "--n-masks", "2"], {"epochs": 3, "masks.n_masks": 2}),
    (["--masks.n-masks", "2"], {"masks.n_masks": 2}),
    (["--optim.encoder.lr=1e-3"], {"optim.encoder.lr": 1e-3}),
    (["--views.scale", "0.2", "1"], {"views.scale": (0.2, 1.0)}),
    (["--objective.hidden", "64", "32"], {"objective.hidden": (64, 32)}),
    (["--objective.hidden"], {"objective.hidden": ()}),
    (["--compile", "--encoder.no-channels-last"],
     {"compile": True, "encoder.channels_last": False}),
    (["--data", "some/folder", "--image_size", "32"],
     {"data.source": "some/folder", "image_size": 32}),
])  # fmt: skip
@pytest.mark.parametrize("recipe", [None, "cifar10-adios"])
def test_flags_are_settings(arguments, changed, recipe):
    start = recipe or default_recipe(changed.get("data.source"), lambda: uses_gpu("auto"))
    expected = override(recipe_config(start), changed)
    assert parse_pretrain([*([recipe] if recipe else []), *arguments]) == expected


@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_settings_come_from_a_file_and_flags_go_over_them(form, tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("epochs: 7\nmasks:\n  n_masks: 2\n")
    arguments = [*form.format(file).split(), "--n-masks", "3"]
    assert parse_pretrain(arguments) == override(
        recipe_config(DEFAULT), {"epochs": 7, "n_masks": 3}
    )


def test_a_file_may_name_the_recipe_that_it_changes(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("recipe: imagenet100s-adios\nepochs: 7\n")
    expected = override(recipe_config("imagenet100s-adios"), {"epochs": 7})
    assert parse_pretrain(["--config", str(file)]) == expected


@pytest.mark.parametrize("source", ["cifar10", "some/folder"])
@pytest.mark.parametrize("said", ["data: {{source: {}}}", "data: {}", "data.source: {}"])
def test_a_file_that_names_data_has_their_recipe(tmp_path, source, said):
    file = tmp_path / "my.yaml"
    file.write_text(f"{said.format(source)}\nepochs: 7\n")
    recipe = default_recipe(source, lambda: uses_gpu("auto"))
    expected = override(recipe_config(recipe), {"data": source, "epochs": 7})
    assert parse_pretrain(["--config", str(file)]) == expected
    asked = ["--data", "shapes", "--data", source, "--epochs", "7"]  # the last one counts
    assert parse_pretrain(asked) == expected


@pytest.mark.parametrize("text", ["My photos #2", "1.10", "&a b", "a: b", "[x]", "no"])
def test_texts_of_free_settings_stay_as_they_are_written(text):
    given = ["--data", text, "--data.cache=" + text, "--epochs", "3", "--data.limit", "7"]
    found = free_settings(given, Config)
    assert found == {"data": text, "data.cache": text, "epochs": 3, "data.limit": 7}


# What it refuses


@pytest.mark.parametrize(("arguments", "says"), [
    ("pretrian", "unknown command 'pretrian': did you mean 'pretrain'?"),
    ("--verbose", "unknown command '--verbose': choose from: bench, data, "),
    ("pretrain stl10-adio", "unknown recipe 'stl10-adio': did you mean 'stl10-adios'?"),
    ("pretrain --epoch 3", "unknown setting '--epoch': did you mean '--epochs'?"),
    ("pretrain --EPOCHS 3", "unknown setting '--EPOCHS': did you mean '--epochs'?"),
    ("pretrain --nmasks=3", "unknown setting '--nmasks': did you mean '--n-masks'?"),
    ("pretrain --no-epochs", "unknown setting '--no-epochs': did you mean '--epochs'?"),
    ("pretrain --epochs abc", "--epochs is 'abc': expected INT; see"),
    ("pretrain --epochs 1.5", "--epochs is '1.5': expected INT; see"),
    ("pretrain --epochs=", "--epochs is empty: give it a value"),
    ("pretrain --budget a", "--budget is 'a': expected 0.25, exact:0.25, "),
    ("pretrain --masks.role a", "--masks.role is 'a': expected a factor such as 1, or -1->1: "),
    ("pretrain --penalties.budget a", "--penalties.budget is 'a': expected FLOAT; see"),
    ("pretrain --epochs 3 4", "--epochs is '3 4': expected INT; see"),
    ("pretrain --views.scale 0.1", "--views.scale is '0.1': expected FLOAT FLOAT; see"),
    ("pretrain --objective.hidden 8 x", "--objective.hidden is '8 x': expected [INT [INT ...]]"),
    ("pretrain --epochs -3", "--epochs is -3: it must be at least 1"),
    ("pretrain --optim.encoder.lr -1e-3", "--optim.encoder.lr is -0.001: it must be at least 0"),
    ("pretrain --optim.encoder.lr nan", "--optim.encoder.lr is nan: it must be a finite number"),
    ("pretrain --masks.norm groop", "unknown value for --masks.norm: 'groop': did you mean"),
    ("pretrain --device gpu:0", "unknown value for --device: 'gpu:0': choose from: auto, c"),
    ("pretrain --device 7", "unknown value for --device: '7': choose from: auto, cpu, cuda"),
    ("pretrain --no-encoder.channels-last",
     "unknown setting '--no-encoder.channels-last': did you mean '--encoder.channels-last'?"),
    ("pretrain --encoder.no-channels-last 1", "--encoder.no-channels-last is '1': expected no v"),
    ("pretrain --no-compile x", "--no-compile is 'x': expected no value; see"),
    ("pretrain --epochs", "--epochs has no value: expected INT; see"),
    ("pretrain --data --epochs 3", "--data has no value: expected STR; see"),
    ("pretrain --device", "--device has no value: expected {auto,cpu,cuda,mps}; see"),
    ("pretrain --compile yes", "--compile is 'yes': expected no value; see"),
    ("pretrain -x", "unexpected '-x': settings are given as --NAME VALUE; see"),
    ("pretrain cifar10-adios more", "unexpected 'more': settings are given as --NAME VALUE; see"),
    ("pretrain --config", "--config needs the name of a file"),
    ("pretrain cifar10-adios --config x.yaml", "give a recipe or --config, not both"),
    ("pretrain --batch-size 1", "--batch-size is 1: it must be at least 2"),
    ("recipes all", "unknown recipe 'all': there are "),
    ("recipes stl10-adios x", "unexpected 'x'; see `seamask recipes --help`"),
    ("pretrain --compile=x", "--compile is 'x': expected no value; see"),
    ("pretrain --masks.n_mask 3", "unknown setting '--masks.n-mask': did you mean '--masks.n-m"),
    ("pretrain --width 3", "unknown setting '--width': did you mean '--masks.width'?"),
    ("pretrain --masks.zqxwj 3", "unknown setting '--masks.zqxwj': there are "),
    ("pretrain --log.zqxwj 3", "unknown setting '--log.zqxwj': choose from: --log.chec"),
    ("resume", "Missing from seamask resume: RUN its folder (required); see `seamask resume --h"),
    ("resume a b", "unexpected 'b': settings are given as --NAME VALUE"),
    ("masks", "Missing from seamask masks: RUN a run's folder (required); see `seamask masks --h"),
    ("masks run", "no run at run: no such folder"),
    ("masks run a.png --oout x", "unknown option '--oout': did you mean '--out'?; see `seamask ma"),
    ("masks run a.png --out", "Missing value for argument '--out'. Expected 1 values"),
    ("study table1 --masks.n_mask 3", "unknown setting '--masks.n-mask': did you mean '--masks.n"),
    ("study table1 --seeds x", "Error parsing --seeds: invalid literal for int() with base 10"),
    ("bench --second 3", "unknown setting '--second': did you mean '--seed'?"),
    ("data pack --data x", "Missing from seamask data pack: --size INT side in pixels at which "),
    ("data imagenet --imagenet x", "invalid choice 'imagenet' for argument 'name'. Expected one"),
    ("data imagenet100s --imagenet x --size y", "Error parsing --size: invalid literal for int()"),
])  # fmt: skip
def test_mistakes_of_the_command_line(arguments, says, capsys):
    message = complaint(capsys, *arguments.split())
    if says.endswith("; see"):
        says += " `seamask pretrain"
    assert message.startswith(says)
    assert len(message) < 220


@pytest.mark.parametrize("word", ["--zqxwj", "--backbone zqxwj"])
def test_a_name_like_no_other_gets_a_few_examples_not_all(word, capsys, tmp_path):
    message = complaint(capsys, "pretrain", *word.split(), "--out", tmp_path / "run")
    assert "zqxwj" in message
    assert "e.g." in message
    assert len(message) < 250


@pytest.mark.parametrize(("arguments", "says"), [
    ("--masker sequental", "unknown masker 'sequental': did you mean 'sequential'?"),
    ("--backbone resnet81", "unknown backbone 'resnet81': did you mean 'resnet18'?"),
    ("--image-size 100", "100×100 pixels"),
    ("--objective bjol", "unknown objective 'bjol': did you mean 'byol'?"),
    ("--masker random-patch --masks.patch 7", "patch 7 does not divide"),
    ("--masker colour-noise --masks.patch 7", "patch 7 does not divide"),
    ("--masker attention --masks.patch 7", "patch 7 does not divide"),
    ("--masker hardest --masks.among attention", "attention"),
    ("--masks.hard --masks.hard-patch 7", "patch 7 does not divide"),
    ("--masks.role partner", "--masks.role is 'partner': expected a factor such as 1, or -1->1"),
    ("--masks.role -1->1 --masker grid", "--masks.role -1->1: --masker grid learns nothing"),
    ("--masker simultaneous --n-masks 1", "take 2 or more"),
    ("--objective reconstruct --masker none", "--masker none removes nothing"),
    ("--objective reconstruct --backbone vit_tiny_patch16_224 --masks.drop 0.5",
     "take --objective.decoder 1 or more"),
    ("--objective reconstruct --objective.decoder 1 --objective.decoder-width 40",
     "it must be a multiple of 32"),
    ("--objective reconstruct --masks.one-sided", "not reconstruct"),
    ("--data no/such/folder", "no/such/folder"),
    ("--device cuda", "cuda"),
    ("--precision tf32", "--precision tf32: only a GPU of NVIDIA has it; take --precision fp32"),
])  # fmt: skip
def test_what_cannot_be_built_is_refused_and_leaves_no_folder(arguments, says, capsys, tmp_path):
    if "cuda" in arguments:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
    out = tmp_path / "run"
    message = complaint(
        capsys, "pretrain", "--device", "cpu", "--data.cache", tmp_path / "cache",
        "--data.shapes-train", 32, "--batch-size", 16, "--out", out, *arguments.split(),
    )  # fmt: skip
    assert says in message
    assert not out.exists()


@pytest.mark.parametrize(("content", "says"), [
    (None, "cannot read the settings in"),
    (b"\xff\xfe\x00", "cannot read the settings in"),
    (b"a: [1,", "cannot read the settings in"),
    (b"just words", "expected `name: value` lines"),
    (b"epoch: 3", "unknown setting 'epoch': did you mean 'epochs'?"),
    (b"masks: {nmasks: 3}", "unknown setting 'masks.nmasks': did you mean 'masks.n_masks'?"),
    (b"epochs: many", "--epochs is 'many': expected int"),
    (b"epochs: 0", "--epochs is 0: it must be at least 1"),
    (b"precision: fp8", "unknown value for --precision: 'fp8'"),
])  # fmt: skip
def test_files_of_settings_that_cannot_be_used(content, says, capsys, tmp_path):
    file = tmp_path / "my.yaml"
    if content is not None:
        file.write_bytes(content)
    assert says in complaint(capsys, "pretrain", "--config", file)


@pytest.mark.parametrize("make", [
    lambda folder: None,
    lambda folder: folder.mkdir(),
    lambda folder: folder.write_text("a file"),
], ids=["missing", "empty", "file"])  # fmt: skip
@pytest.mark.parametrize("command", ["resume", "masks"])
def test_a_folder_that_is_no_run(command, make, capsys, tmp_path):
    folder = tmp_path / "run"
    make(folder)
    rest = ["a.png"] if command == "masks" else []
    assert str(folder) in complaint(capsys, command, folder, *rest)


def test_a_run_that_has_not_got_far(capsys, tmp_path):
    import yaml

    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_dict(Config())))
    assert str(tmp_path) in complaint(capsys, "masks", tmp_path, "a.png")


OPTIONS = [settings.flag(path, Config) for path, _ in settings.leaves(Config)]
WORDS = st.one_of(
    st.sampled_from(OPTIONS),
    st.sampled_from(OPTIONS).map(lambda option: f"{option}=3"),
    st.sampled_from(["3", "-1", "0.5", "nan", "auto", "", "a b", "-x", "--no-compile", "é─"]),
    # `--` ends the options and `-h` asks for help: neither is a mistake.
    st.text(alphabet="-=ab1.", max_size=6).filter(lambda word: word not in ("--", "-h")),
)


@examples(max_examples=30)
@given(st.lists(WORDS, min_size=1, max_size=4))
def test_any_words_are_settings_or_one_line(words):
    try:
        config, said = parse_pretrain(words), ""
    except UserError as error:
        config, said = None, str(error)
    assert (config is None) != (said == "")
    assert not set(said) & set("\n╭╮╰╯│")
    assert len(said) < 300
    assert config is None or check(config) is config
