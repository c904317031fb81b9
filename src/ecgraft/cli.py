"""`ecgraft <verb>`: finds the verb's function, turns its signature into options, calls it and explains what went wrong.

A verb is a plain function in commands/: its positional parameters are arguments, its keyword-only ones are options,
`Annotated[type, "help"]` says what each is, and a `dict` parameter takes `name.key=value` words. A value comes from the
command line, else from `--config FILE.yaml`, else from the default. No verb is imported before it is called.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import itertools
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from . import __doc__ as about
from . import __version__

VERBS = {  # verb -> (module:function, what it does), in the order of `ecgraft --help`
    "demo": ("ecgraft.commands.demo:demo", "The whole story on simulated ECGs (or --data FOLDER); ends in a report."),
    "import": ("ecgraft.commands.ingest:ingest", "Your own files or a public database -> a store of records."),
    "simulate": ("ecgraft.commands.simulate:simulate", "12-lead ECGs with exact waves, labels, reports -> a store."),
    "info": ("ecgraft.commands.info:info", "What is in a file, a store, an encoder, a graft or a model."),
    "adapt": ("ecgraft.commands.adapt:adapt", "A task from few labels: trains a graft on an encoder."),
    "evaluate": ("ecgraft.commands.evaluate:evaluate", "Scores a model on a store: report.json, report.html."),
    "predict": ("ecgraft.commands.predict:predict", "What a model says about ECG files."),
    "embed": ("ecgraft.commands.embed:embed", "The features of every record, for an analysis of your own."),
}
_WORD = re.compile(r"([A-Za-z_][\w.-]*)=(.*)", re.DOTALL)
_EVERY = ("--config", "--debug", "--help", "-h")  # options that every verb has
_NO_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def main(argv: list[str] | None = None) -> None:
    """The entry point. Ends in SystemExit: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a console that cannot show a character gets "?", not a traceback
    with _explained(debug="--debug" in args):
        args = [arg for arg in args if arg != "--debug"]
        if args and args[0] in VERBS:
            _run(args[0], args[1:])
        elif args and not args[0].startswith("-"):
            raise _wrong(f"no verb {args[0]!r}", args[0], VERBS)
        else:
            _overview()(args or ["--help"], prog_name="ecgraft")


def parameters(verb: str) -> tuple[Any, dict[str, Parameter]]:
    """The function of a verb and what can be given to it."""
    module, _, name = VERBS[verb][0].partition(":")
    function = getattr(importlib.import_module(module), name)
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function).parameters.values()
    return function, {p.name: Parameter.of(p, hints[p.name]) for p in signature}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a verb's function."""

    name: str
    type: Any  # as annotated, without Annotated
    help: str
    default: Any  # inspect.Parameter.empty where it must be given
    positional: bool

    @classmethod
    def of(cls, parameter: inspect.Parameter, hint) -> Parameter:
        kind, text = get_args(hint) if get_origin(hint) is Annotated else (hint, "")
        return cls(parameter.name, kind, text, parameter.default, parameter.kind is not parameter.KEYWORD_ONLY)

    @property
    def shape(self) -> type:
        """How it looks on the command line: bool (a flag), list (many), dict (`name.key=value` words) or str."""
        union = get_origin(self.type) in (Union, UnionType)
        kinds = {get_origin(kind) or kind for kind in (get_args(self.type) if union else (self.type,))} - {NoneType}
        many = list if kinds & {list, tuple} else str
        return next((shape for shape in (bool, dict) if kinds == {shape}), many)

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def label(self) -> str:
        return self.name.upper() if self.positional else self.option

    @property
    def text(self) -> str:
        """The help, with the default."""
        if self.default is inspect.Parameter.empty:
            return f"{self.help} [required]"
        return self.help if self.default in (None, False, (), "") else f"{self.help} [default: {self.default}]"


def _run(verb: str, args: list[str]) -> None:
    function, known = parameters(verb)
    args, words = _split(verb, args, known)

    def call(config: str | None = None, **given):
        given = {name: value for name, value in given.items() if value not in (None, [], ())}
        for name in given.keys() & words.keys():
            raise _wrong(f"{verb}: {name} is given twice, as {known[name].label} and as {name}=")
        values = _merge(_read_config(verb, config, known), given | words)
        function(**_convert(verb, values, known))

    _app(function, known, call)(args, prog_name=f"ecgraft {verb}")


def _split(verb: str, args: list[str], known: dict[str, Parameter]) -> tuple[list[str], dict]:
    """The command line without its `key=value` words, and these as a nested mapping. Unknown names are UsageErrors."""
    flags = {p.option for p in known.values() if p.shape is bool and not p.positional}
    valued = {p.option for p in known.values() if p.shape in (str, list) and not p.positional} | {"--config"}
    options = {*flags, *(f"--no-{flag[2:]}" for flag in flags), *valued, *_EVERY}
    rest, words, tokens = [], {}, iter(args)
    for token in tokens:
        option, equals, _ = token.partition("=")
        if token.startswith("--") and token != "--":
            if option not in options:
                raise _wrong(f"{verb}: no option {option}", option, options)
            rest += [token, *itertools.islice(tokens, 1 if option in valued and not equals else 0)]
        elif match := _WORD.fullmatch(token):
            _merge(words, _nested(verb, *match.groups(), known))
        else:
            rest += [token, *(tokens if token == "--" else ())]
    return rest, words


def _nested(verb: str, key: str, value: str, known: dict[str, Parameter]) -> dict:
    """`a.b=1` -> {"a": {"b": 1}}; the value of a whole parameter stays text until its type is known."""
    import yaml

    head, *inner = key.replace("-", "_").split(".")
    _check(head, known, verb)
    if bool(inner) != (known[head].shape is dict):
        raise _wrong(f"{verb}: write {head}.KEY=VALUE" if not inner else f"{verb}: {head} has no keys; write {head}=")
    result = yaml.safe_load(value) if inner else value
    for name in reversed([head, *inner]):
        result = {name: result}
    return result


def _check(key: str, known: dict[str, Parameter], where: str) -> None:
    if key not in known:
        raise _wrong(f"{where}: unknown key {key!r}", key, known)


def _merge(under: dict, over: dict) -> dict:
    """Puts `over` into `under`, mapping by mapping."""
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(under.get(key), dict)
        under[key] = _merge(under[key], value) if both else value
    return under


def _read_config(verb: str, path: str | None, known: dict[str, Parameter]) -> dict:
    """The mapping in a YAML file, its keys checked."""
    if path is None:
        return {}
    import yaml

    from .record import InputError

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"--config {path}: cannot be read as YAML ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"--config {path}: it must hold `key: value` lines")
    values = {str(key).replace("-", "_"): value for key, value in values.items()}
    for key in values:
        _check(key, known, f"--config {path}")
    return values


def _convert(verb: str, values: dict, known: dict[str, Parameter]) -> dict:
    """Values of the types in the signature; everything that must be given is there."""
    for p in known.values():
        if p.default is inspect.Parameter.empty and p.name not in values:
            raise _wrong(f"{verb}: {p.label} is missing; see ecgraft {verb} --help")
    return {name: _typed(f"{verb}: {known[name].label}", value, known[name]) for name, value in values.items()}


def _typed(where: str, value, parameter: Parameter):
    """One value, as it stands, or as YAML ("[I, II]"), or as the only item of a list."""
    from pydantic import TypeAdapter, ValidationError
    from yaml import YAMLError, safe_load

    adapter = TypeAdapter(parameter.type, config={"arbitrary_types_allowed": True})
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
    for reading in (safe_load, lambda text: [text]) if isinstance(value, str) and parameter.shape is list else ():
        try:
            return adapter.validate_python(reading(value))
        except (ValidationError, YAMLError):
            continue
    raise _wrong(f"{where} {value!r}: {reason}")


def _app(function, known: dict[str, Parameter], call):
    """A typer app of one command, which takes the command line apart; values are text until `_convert`."""
    import typer
    from rich.markup import escape

    shown = {p.name: _declared(p) for p in known.values() if p.shape is not dict}
    shown["config"] = Annotated[str | None, typer.Option(metavar="FILE", help="Values of the options, as YAML.")]
    keyword = inspect.Parameter.KEYWORD_ONLY
    call.__signature__ = inspect.Signature(
        [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in shown.items()]
    )
    call.__annotations__ = shown
    more = [f"{p.name}.KEY=VALUE  {p.text}" for p in known.values() if p.shape is dict]
    more += ["Every option may also be written key=value. With --debug an error shows its traceback."]
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    settings = {"help_option_names": ["--help", "-h"]}
    text = escape(inspect.getdoc(function) or "")
    app.command(help=text, epilog=escape("\n\n".join(more)), context_settings=settings)(call)
    return app


def _declared(parameter: Parameter):
    """The annotation that makes typer take a parameter as text, as a list of texts or as a flag."""
    import typer
    from rich.markup import escape

    told = {bool: bool, list: list[str]}.get(parameter.shape, str)
    text = escape(parameter.text)
    if parameter.positional:
        return Annotated[told | None, typer.Argument(help=text, metavar=parameter.label)]
    if told is bool:
        return Annotated[bool | None, typer.Option(f"{parameter.option}/--no-{parameter.option[2:]}", help=text)]
    return Annotated[told | None, typer.Option(parameter.option, help=text, metavar="VALUE")]


def _overview():
    """The app behind `ecgraft --help` and `--version`: every verb with its line, none of them imported."""
    import typer

    def say(wanted: bool):
        if wanted:
            print(f"ecgraft {__version__}")
            raise typer.Exit()

    def options(
        version: Annotated[bool, typer.Option("--version", callback=say, is_eager=True, help="Show it.")] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    ):
        pass

    options.__annotations__ = get_type_hints(options, locals() | globals(), include_extras=True)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.callback(help=about)(options)
    for verb, (_, text) in VERBS.items():
        app.command(verb, help=text)(lambda: None)
    return app


@contextmanager
def _explained(debug: bool):
    """What a person can mend is said in one line; anything else is a defect and keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to continue", 130)
    except Exception as error:
        from .record import InputError, UsageError

        number, at = getattr(error, "errno", None), f" ({error.filename})" if getattr(error, "filename", None) else ""
        if debug:
            raise
        if isinstance(error, InputError):
            _fail(str(error), 2 if isinstance(error, UsageError) else 1)
        if number in _NO_SPACE:
            _fail(f"no space left on the disk{at}; free some and run the same command again", 1)
        if isinstance(error, PermissionError) or number == errno.EROFS:
            _fail(f"not allowed to read or write{at}; check who owns it, or give another path", 1)
        raise


def _fail(message: str, status: int):
    print(f"ecgraft: {message}", file=sys.stderr)
    raise SystemExit(status)


def _wrong(message: str, word: str = "", among=()):
    """A UsageError, with the nearest of the known words."""
    from . import plugs

    return plugs.UsageError(f"{message}; {plugs.nearest(word, among)}" if among else message)
