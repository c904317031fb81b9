"""`ecgraft <verb>`: finds the verb's function, calls it with what was given, and explains what went wrong."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from contextlib import contextmanager
from typing import Annotated

import typer

from . import __doc__ as about
from . import __version__, options, plugs
from .record import InputError, UsageError

VERBS = {  # verb -> (module:function, what it does), in the order of `ecgraft --help`; imported when it is called
    "demo": ("ecgraft.commands.demo:demo", "The whole story on simulated ECGs (or --data FOLDER); ends in a report."),
    "import": ("ecgraft.commands.ingest:ingest", "Your own files or a public database -> a store of records."),
    "simulate": ("ecgraft.commands.simulate:simulate", "12-lead ECGs with exact waves, labels, reports -> a store."),
    "info": ("ecgraft.commands.info:info", "What is in a file, a store, an encoder, a graft or a model."),
    "grafts": ("ecgraft.commands.grafts:grafts", "The grafts of a model: list, compare, add, remove, merge, export."),
    "pretrain": ("ecgraft.commands.pretrain:pretrain", "An encoder from records without labels."),
    "plan": ("ecgraft.commands.plan:plan", "Which score to expect with how many labels, and with which adapter."),
    "adapt": ("ecgraft.commands.adapt:adapt", "A task from few labels: trains a graft on an encoder."),
    "extend": ("ecgraft.commands.extend:extend", "A further task, without changing what the others answer."),
    "evaluate": ("ecgraft.commands.evaluate:evaluate", "Scores a model on a store: report.json, report.html."),
    "verify": ("ecgraft.commands.verify:verify", "Whether a model is whole and answers as when it was written."),
    "bench": ("ecgraft.commands.bench:bench", "A protocol: methods x databases x budgets x seeds -> one table."),
    "predict": ("ecgraft.commands.predict:predict", "What a model says about ECG files."),
    "convert": ("ecgraft.commands.convert:convert", "ECG files or a store as WFDB, EDF, CSV or DICOM."),
    "doctor": ("ecgraft.commands.doctor:doctor", "An ECG file held against what a model expects."),
    "embed": ("ecgraft.commands.embed:embed", "The features of every record, for an analysis of your own."),
}
_NO_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def main(argv: list[str] | None = None) -> None:
    """The entry point. Ends by itself or in SystemExit: 0 done, 1 failed, 2 wrong use, 130 interrupted, 141 unread."""
    args = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a console that cannot show a character gets "?", not a traceback
    places: list[str] = []
    with _explained(places, debug="--debug" in args):
        args = [arg for arg in args if arg != "--debug"]
        if not args or args[0].startswith("-"):
            options.run(_overview(), args or ["--help"], "ecgraft")
        elif args[0] not in VERBS:
            raise UsageError(f"no verb {args[0]!r}; {plugs.nearest(args[0], VERBS)}")
        else:
            function = find(args[0])
            given = options.parse(args[0], function, args[1:])
            places += [str(given[name]) for name in ("to", "store") if given.get(name)]
            function(**given)
        sys.stdout.flush()


def find(verb: str):
    """The function of a verb."""
    module, _, name = VERBS[verb][0].partition(":")
    return getattr(importlib.import_module(module), name)


@contextmanager
def _explained(places: list[str], debug: bool):
    """What a person can mend is said in one line; anything else is a defect and keeps its traceback.

    places  what the verb writes to, for errors that do not say where
    """
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to continue", 130)
    except InputError as error:
        if debug:
            raise
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:  # nobody reads any more, as in `ecgraft predict ... | head`
        if debug:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still holds back
        raise SystemExit(141) from None
    except OSError as error:
        reason = _reason(error, places)
        if debug or reason is None:
            raise
        _fail(reason, 1)


def _reason(error: OSError, places: list[str]) -> str | None:
    where = error.filename or " or ".join(places)
    at = f" ({where})" if where else ""
    if error.errno in _NO_SPACE:
        return f"no space left on the disk{at}; free some and run the same command again"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"not allowed to read or write{at}; check who owns it, or give another path"
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError) and error.filename:
        return f"a file is where a folder should be, or the other way round{at}; give another path"
    return None


def _fail(message: str, status: int):
    print(f"ecgraft: {message}", file=sys.stderr)
    raise SystemExit(status)


def _overview() -> typer.Typer:
    """The app behind `ecgraft --help` and `--version`: every verb with its line, none of them imported."""
    app = typer.Typer(add_completion=False)
    app.callback(help=about)(_every_verb)
    for verb, (_, text) in VERBS.items():
        app.command(verb, help=text)(lambda: None)
    return app


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"ecgraft {__version__}")
        raise typer.Exit()


def _every_verb(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="show the version")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    """Only what stands before a verb; `main` has seen `--debug` wherever it stood."""
