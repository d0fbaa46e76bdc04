"""The command line, read by tyro: settings and commands; what is wrong is said in one line."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import inspect
import io
import itertools
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from seamask.base.documents import parse_yaml
from seamask.base.errors import UserError, shown, unknown
from seamask.base.output import fitted
from seamask.base.papers import papers_in
from seamask.base.settings import (
    Within,
    check_digits,
    flag,
    get,
    hints,
    is_group,
    leaves,
    override,
    required,
    short_names,
)  # fmt: skip

T = TypeVar("T")


def parse(start: T, arguments: list[str], prog: str, description: str) -> T:
    """Return settings changed by `--NAME VALUE` arguments.

    Args:
        start: a dataclass of settings; its values are the defaults.
        arguments: of the command line.
        prog: the command, for the help and for errors.
        description: of the command, for the help.

    Raises:
        UserError: an unknown name or a value that does not fit, in one line.
        SystemExit: with code 0, after printing the help that was asked for.
    """
    see = f"see `{prog.partition(' [')[0]} --help`"
    form = _form(start, type(start), see, helps=bool({"-h", "--help"} & set(arguments)))
    try:
        asked, rest = _ask(
            type(form), arguments, see, default=form, prog=prog, description=description
        )
    except SystemExit:  # after the help
        print("\n".join(["", *papers_in(" ".join(documented(type(start)).values()))]))
        raise
    if rest:
        raise _unexpected(rest[0], arguments, type(start), see)
    given = {path: get(asked, path) for path, _ in leaves(type(start))}
    return override(start, {p: value for p, value in given.items() if value != get(start, p)})


def command(function: Callable[..., None]) -> Callable[[list[str]], None]:
    """Decorate a command that takes what its signature says; its docstring is its help.

    Positional-only parameters are words, the others options. Where there is a parameter
    `settings`, it gets all words that belong to none, as they are.

    Raises:
        UserError: of the command that is made: a word that is missing or wrong, in one line.
        SystemExit: with code 0, after printing the help that was asked for.
    """

    prog = f"seamask {function.__name__.replace('_', ' ')}"
    see = f"see `{prog} --help`"
    parameters = inspect.signature(function).parameters
    options = [n for n, p in parameters.items() if p.kind is not p.POSITIONAL_ONLY]

    @functools.wraps(function)
    def bind(*words: Any, **given: Any) -> Callable[..., None]:
        return functools.partial(function, *words, **given)

    @functools.wraps(function)
    def run(arguments: list[str]) -> None:
        description = _description(function)
        for name, parameter in parameters.items():
            if parameter.annotation in ("int", "float"):
                _check_number(_option(name), arguments, parameter.annotation.upper(), see)
        call, rest = _ask(bind, arguments, see, prog=prog, description=description)
        if "settings" in parameters:
            call(settings=tuple(rest))
        elif rest and options and rest[0].startswith("--"):
            name = rest[0].partition("=")[0]
            raise UserError(f"{unknown('option', name, map(_option, options))}; {see}")
        elif rest:
            raise UserError(f"unexpected {rest[0]!r}; {see}")
        else:
            call()

    return run


def _check_number(option: str, arguments: list[str], kind: str, see: str) -> None:
    """Refuse a number after an option of a command that is written as nobody else would."""
    for before, word in itertools.pairwise(words_of(arguments)):
        try:
            check_digits(*[word] * (before == option))
        except ValueError:
            raise UserError(f"{option} is {shown(word)}: expected {kind}; {see}") from None


def words_of(arguments: Iterable[str]) -> list[str]:
    """Return arguments with `--NAME=VALUE` as two words."""
    return [part for a in arguments for part in (a.split("=", 1) if a[:2] == "--" else [a])]


def take(option: str, arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the values of an option, given any number of times, and the other arguments.

    Raises:
        UserError: it has no value.
    """
    values, rest = [], []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name != option:
            rest.append(word)
            continue
        values.append(value if equals else next(words, ""))
        if not values[-1]:
            raise UserError(f"{option} needs the name of a file")
    return values, rest


def check_names(names: Iterable[str], kind: type) -> None:
    """Refuse a `--NAME` that no setting of a dataclass has, in the spelling of the command line.

    Raises:
        UserError: an unknown name, with the nearest known one.
    """
    known = _options(kind)
    for name in names:
        if _option(name) not in known:
            raise unknown("setting", _option(name), known)


def free_settings(arguments: Iterable[str], kind: type) -> dict[str, Any]:
    """Return `--NAME VALUE ...` arguments as {name: value}, typed as in YAML.

    Args:
        arguments: from the command line.
        kind: of the settings: those of it that are texts stay as they are written.

    Raises:
        UserError: a value without a name.
    """
    arguments = list(arguments)
    refuse_empty(arguments)
    texts = {path for path, hint in leaves(kind) if required(hint)[0] is str}
    texts |= {name for name, path in short_names(kind).items() if path in texts}

    def typed(name: str, text: str) -> Any:
        return text if name in texts else _typed(text)

    found: dict[str, Any] = {}
    name = None
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            name = name.replace("-", "_")
            found[name] = [typed(name, value)] if equals else []
        elif name is None:
            raise UserError(f"unexpected {argument!r}: settings are given as --NAME VALUE")
        else:
            found[name].append(typed(name, argument))
    # A name alone switches something on; several values make a list.
    return {n: v[0] if len(v) == 1 else v or True for n, v in found.items()}


def refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an option whose value is empty, as that of a shell's variable that is not set.

    Raises:
        UserError: the option is named.
    """
    for option, value in itertools.pairwise(words_of(arguments)):
        if option[:2] == "--" and not value:
            raise UserError(
                f"{option} is empty: give it a value, or leave it out (is a variable not set?)"
            )


def _typed(text: str) -> Any:
    try:
        return parse_yaml(text, "a setting")
    except UserError:
        return text


def _ask(what: Any, arguments: list[str], see: str, **more: Any) -> tuple[Any, list[str]]:
    """Let tyro read `arguments`; return what it made of them, and those that it does not know."""
    refuse_empty(arguments)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            made, rest = tyro.cli(what, args=arguments, return_unknown_args=True, **more)
    except _SaidError as error:
        raise error.said from None
    except SystemExit as stop:
        if not stop.code:
            raise
        # tyro's own words, the few times that it has some, stand below a title, between two rules.
        lines = [line.strip(" │╭╮╰╯─") for line in said.getvalue().splitlines()[1:]]
        lines = [line if line.strip("-") else "" for line in lines]
        content = itertools.takewhile(bool, itertools.dropwhile(lambda line: not line, lines))
        raise UserError(f"{' '.join(' '.join(content).split()).rstrip('.')}; {see}") from None
    return made, rest


def _description(function: Callable[..., None]) -> str:
    """Return what a docstring says before its arguments, as wide as the terminal."""
    text = (inspect.getdoc(function) or "").partition("\n\nArgs:")[0]
    head, _, body = text.partition("\n\n")
    # Indented, since tyro joins lines that begin with a letter, and does not wrap them again.
    head = fitted(head, less=2).replace("\n", "\n  ")
    return f"{head}\n\n{textwrap.indent(fitted(body, less=2), '  ')}".rstrip()


def _form(start: Any, root: type, see: str, helps: bool, prefix: str = "") -> Any:
    """Return settings as tyro is to ask for them: each with its help, its range and our errors."""
    kind = type(start)
    docstrings = _docstrings(kind) if helps else {}  # slow to find
    fields: list[tuple[str, Any, Any]] = []
    for name, hint in hints(kind).items():
        value = getattr(start, name)
        if is_group(type(value)):
            value = _form(value, root, see, helps, f"{prefix}{name}.")
            hint = type(value)
            about = [tyro.conf.arg(help=docstrings.get(name) or hint.__doc__)]
        else:
            about = [tyro.conf.arg(help=docstrings.get(name, ""))]
            about.append(tyro.conf.arg(help_behavior_hint=functools.partial(_default, hint)))
            if hint is not bool:
                about.append(_reader(flag(f"{prefix}{name}", root), hint, see))
                hint = _without_reader(hint)
        fields.append((name, Annotated[(hint, *about)], dataclasses.field(default=value)))
    about_all = {"__doc__": " ".join((kind.__doc__ or "").split())}
    return dataclasses.make_dataclass(kind.__name__, fields, frozen=True, namespace=about_all)()


def _reader(option: str, hint: Any, see: str) -> PrimitiveConstructorSpec[Any]:
    """Return how tyro reads the words after an option: as it would, but with our errors."""
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(hint, set()))
    assert isinstance(spec, PrimitiveConstructorSpec), hint

    def read(words: list[str]) -> Any:
        try:
            return taken(words)
        except UserError as error:
            raise _SaidError(error) from None

    def taken(words: list[str]) -> Any:
        for word in words:
            if spec.choices and word not in spec.choices:
                raise unknown(f"value for {option}:", word, spec.choices)
        if spec.nargs in ("*", len(words)):
            try:
                value = spec.instance_from_str(words)
                made = value if type(value) is tuple else (value,)
                if {int, float} & {*map(type, made)}:
                    check_digits(*words)
                return value
            except UserError:  # of a value that is written as text, in its own words
                raise
            except ValueError:
                pass
        found = f"is {shown(' '.join(words))}" if words else "has no value"
        raise UserError(f"{option} {found}: expected {spec.metavar}; {see}")

    # Any number of words is taken, for `read` to say what is wrong with them.
    return dataclasses.replace(spec, nargs="*", choices=None, instance_from_str=read)


def _without_reader(hint: Any) -> Any:
    """Return a type without the reader of `settings.written`, in whose place ours comes."""
    if not (metadata := getattr(hint, "__metadata__", ())):
        return hint
    kept = [m for m in metadata if type(m) is not PrimitiveConstructorSpec]
    return Annotated[(hint.__origin__, *kept)] if kept else hint.__origin__


class _SaidError(Exception):
    """Carries our words through tyro, which puts its own around every `ValueError`."""

    def __init__(self, said: UserError) -> None:
        super().__init__(str(said))
        self.said = said


def _default(hint: Any, default: str) -> str:
    """Return what the help says of a setting's default and range."""
    ranges = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Within)]
    return f"(default: {', '.join([default or 'none', *map(str, ranges)])})"


def documented(kind: type, prefix: str = "") -> dict[str, str]:
    """Return {dotted path: docstring, in one line} of all settings of a dataclass of settings."""
    found = {f"{prefix}{name}": text for name, text in _docstrings(kind).items()}
    for name, hint in hints(kind).items():
        if is_group(hint):
            found |= documented(hint, f"{prefix}{name}.")
    return found


def _docstrings(kind: type) -> dict[str, str]:
    """Return {field: its docstring, in one line}, also of the fields that are inherited."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError):  # made by `dataclasses.make_dataclass`, or not in Python
            continue
        assert isinstance(tree, ast.ClassDef)
        for field, below in itertools.pairwise(tree.body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                found[ast.unparse(field.target)] = " ".join(ast.literal_eval(below.value).split())
    return found


def _unexpected(word: str, arguments: list[str], kind: type, see: str) -> UserError:
    """Build the error for a word that belongs to no setting."""
    known = _options(kind)
    if word.startswith("--"):
        return unknown("setting", _option(word.partition("=")[0][2:]), known)
    words = [part for a in arguments for part in (a.split("=", 1) if a[:2] == "--" else [a])]
    before = words[max(0, words.index(word) - 1)]
    if before[:2] == "--" != before:  # a switch, or its value would have been taken
        return UserError(f"{before} is {word!r}: expected no value; {see}")
    return UserError(f"unexpected {word!r}: settings are given as --NAME VALUE; {see}")


def _options(kind: type) -> set[str]:
    """Return all options of a dataclass of settings: by dotted path and by short name."""
    paths = [path for path, _ in leaves(kind) if path != "recipe"]  # given as a word
    return {_option(name) for name in (*paths, *short_names(kind))}


def _option(name: str) -> str:
    return "--" + name.lstrip("-").replace("_", "-")
