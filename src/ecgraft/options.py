"""A verb's signature as command-line options.

A verb is a plain function: its positional parameters are arguments, its keyword-only ones are options,
`Annotated[type, "help"]` says what each is, and a `dict` parameter takes `name.key=value` words. `**settings:
Annotated[Any, Settings]` takes the fields of a config dataclass; the verb itself makes the config of them.
A value comes from the command line, else from `--config FILE.yaml`, else from the function's default.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
import yaml

from .plugs import nearest
from .record import InputError, UsageError

_WORD = re.compile(r"([A-Za-z_][\w.-]*)=(.*)", re.DOTALL)
_REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One parameter of a verb."""

    name: str
    type: Any  # as annotated, without Annotated
    help: str
    default: Any  # _REQUIRED where there is none
    positional: bool
    setting: bool = False  # a field of a config dataclass, not converted here

    @property
    def shape(self) -> type:
        """How it looks on the command line: bool (a flag), list (many), dict (`name.key=value` words) or str."""
        kinds = get_args(self.type) if get_origin(self.type) in (Union, UnionType) else (self.type,)
        kinds = {get_origin(kind) or kind for kind in kinds} - {NoneType}
        if kinds == {bool}:
            return bool
        if kinds == {dict} or any(is_dataclass(kind) for kind in kinds):
            return dict
        return list if kinds & {list, tuple} else str

    @property
    def named(self) -> bool:
        """Whether it is an option."""
        return not self.positional and self.shape is not dict

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def label(self) -> str:
        return self.name.upper() if self.positional else self.option if self.named else self.name

    @property
    def text(self) -> str:
        """The help, with the default."""
        if self.default is _REQUIRED:
            return f"{self.help} [required]"
        plain = self.default in (None, False, (), "") or self.shape is dict
        return self.help if plain else f"{self.help} [default: {self.default}]"


def parameters(function: Callable) -> dict[str, Parameter]:
    """What can be given to a verb."""
    known, hints = {}, get_type_hints(function, include_extras=True)
    for name, p in inspect.signature(function).parameters.items():
        kind, text = get_args(hints[name])[:2] if get_origin(hints[name]) is Annotated else (hints[name], "")
        if p.kind is p.VAR_KEYWORD:
            known |= {field: of for field, of in _fields(text).items() if field not in known}  # `text` is the dataclass
        else:
            known[name] = Parameter(name, kind, text, p.default, p.kind is not p.KEYWORD_ONLY)
    return known


def _fields(config: type) -> dict[str, Parameter]:
    """The fields of a config dataclass; what each is stands in its docstring, as `name  help` lines."""
    fields, defaults, hints = {}, config(), get_type_hints(config)
    for name in config.__dataclass_fields__:
        line = re.search(rf"^ *{name} {{2,}}(.+)$", config.__doc__ or "", re.MULTILINE)
        text = line.group(1) if line else ""
        fields[name] = Parameter(name, hints[name], text, getattr(defaults, name), positional=False, setting=True)
    return fields


def parse(verb: str, function: Callable, args: list[str]) -> dict[str, Any]:
    """The values that a command line gives to `function`, typed. `--help` prints and ends in SystemExit."""
    known = parameters(function)
    args, words = _split(verb, args, known)
    given = run(_app(function, known), args, f"ecgraft {verb}")
    config = _read_config(given.pop("config"), known)
    given = {name: _read(value, known[name]) for name, value in given.items() if value not in (None, [], ())}
    for name in given.keys() & words.keys():
        raise UsageError(f"{verb}: {name} is given twice, as {known[name].label} and as {name}=")
    values = _merge(config, given | words)
    for p in known.values():
        if p.default is _REQUIRED and p.name not in values:
            raise UsageError(f"{verb}: {p.label} is missing; see ecgraft {verb} --help")
    return {name: _typed(f"{verb}: {known[name].label}", value, known[name]) for name, value in values.items()}


def run(app: typer.Typer, args: list[str], name: str):
    """What the command of a typer app returns. Wrong use is a UsageError; `--help` ends in SystemExit."""
    try:
        result = app(args, prog_name=name, standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message().rstrip(".")
        raise UsageError(f"{message}; see {name} --help") from error
    if isinstance(result, dict):
        return result
    raise SystemExit(result or 0)


def _split(verb: str, args: list[str], known: dict[str, Parameter]) -> tuple[list[str], dict]:
    """The command line without its `key=value` words, and these as a nested mapping. Unknown names are UsageErrors."""
    named = [p for p in known.values() if p.named]
    flags = {p.option for p in named if p.shape is bool}
    valued = {"--config"} | {p.option for p in named if p.shape is not bool}
    allowed = {*flags, *(f"--no-{flag[2:]}" for flag in flags), *valued, "--debug", "--help"}
    rest, given, tokens = [], {}, iter(args)
    for token in tokens:
        option, equals, _ = token.partition("=")
        if token == "--":
            rest += [token, *tokens]
        elif token.startswith("--"):
            if option not in allowed:
                words = {f"{p.name}.KEY=" for p in known.values() if p.shape is dict}
                raise UsageError(f"{verb}: no option {option}; {nearest(option, sorted(allowed | words))}")
            rest += [token, *itertools.islice(tokens, int(option in valued and not equals))]
        elif match := _WORD.fullmatch(token):
            _merge(given, _nested(verb, *match.groups(), known))
        else:
            rest.append(token)
    return rest, given


def _nested(verb: str, key: str, value: str, known: dict[str, Parameter]) -> dict:
    """`a.b=1` -> {"a": {"b": 1}}; the value of an argument or option stays text until its type is known."""
    head, *inner = key.replace("-", "_").split(".")
    _check(head, known, verb)
    if inner and known[head].shape is not dict:
        raise UsageError(f"{verb}: {key}={value}: {head} has no keys; write {head}=VALUE")
    result = _read(value, known[head])
    for name in reversed([head, *inner]):
        result = {name: result}
    return result


def _read(value, parameter: Parameter):
    """What was typed: settings and what is in mappings as YAML, the rest stays text until its type is known."""
    if not isinstance(value, str) or not (parameter.setting or parameter.shape is dict):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"{parameter.label}: {value!r} cannot be read as YAML") from error


def _check(key: str, known: dict[str, Parameter], where: str) -> None:
    if key not in known:
        raise UsageError(f"{where}: unknown key {key!r}; {nearest(key, known)}")


def _merge(under: dict, over: dict) -> dict:
    """Puts `over` into `under`, mapping by mapping."""
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(under.get(key), dict)
        under[key] = _merge(under[key], value) if both else value
    return under


def _read_config(path: str | None, known: dict[str, Parameter]) -> dict:
    """The mapping in a YAML file, its keys checked."""
    if path is None:
        return {}
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


def _typed(where: str, value, parameter: Parameter):
    """One value as its type; what is to be a list may also be YAML ("[I, II]") or the only item."""
    from pydantic import TypeAdapter, ValidationError

    if parameter.setting:
        return value
    adapter = TypeAdapter(parameter.type, config={"arbitrary_types_allowed": True})
    readings = [lambda text: text]
    if isinstance(value, str) and parameter.shape is list:
        readings += [yaml.safe_load, lambda text: [text]]
    reason = ""
    for reading in readings:
        try:
            return adapter.validate_python(reading(value))
        except (ValidationError, yaml.YAMLError) as error:
            reason = reason or error.errors()[0]["msg"]  # the first reading is not YAML
    raise UsageError(f"{where} {value!r}: {reason}")


def _app(function: Callable, known: dict[str, Parameter]) -> typer.Typer:
    """An app of one command, which takes the command line apart and returns it as texts and flags."""
    from rich.markup import escape

    shown = {p.name: _declared(p, escape(p.text)) for p in known.values() if p.positional or p.named}
    shown["config"] = Annotated[str | None, typer.Option(metavar="FILE", help="values of the options, as YAML")]

    def texts(**given) -> dict:
        return given

    keyword = inspect.Parameter.KEYWORD_ONLY
    each = [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in shown.items()]
    texts.__signature__, texts.__annotations__ = inspect.Signature(each), shown
    more = [f"{p.name}.KEY=VALUE  {p.text}" for p in known.values() if p.shape is dict]
    more.append("Every option may also be written key=value. With --debug an error shows its traceback.")
    settings = {"help_option_names": ["--help", "-h"]}
    app = typer.Typer(add_completion=False)
    text, epilog = escape(inspect.getdoc(function) or ""), escape("\n\n".join(more))
    app.command(help=text, epilog=epilog, context_settings=settings)(texts)
    return app


def _declared(parameter: Parameter, text: str):
    """The annotation that makes typer take a parameter as text, as a list of texts or as a flag."""
    told = {bool: bool, list: list[str]}.get(parameter.shape, str)
    if parameter.positional:
        return Annotated[told | None, typer.Argument(help=text, metavar=parameter.label)]
    flags = f"{parameter.option}/--no-{parameter.option[2:]}" if told is bool else parameter.option
    metavar, panel = None if told is bool else "VALUE", "Settings" if parameter.setting else None
    return Annotated[told | None, typer.Option(flags, help=text, metavar=metavar, rich_help_panel=panel)]
