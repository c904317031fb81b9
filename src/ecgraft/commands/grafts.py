"""ecgraft grafts: the grafts of a model as files: listed, compared, put in, taken away, merged, exported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.table import Table

from ..record import InputError, UsageError
from ..tasks import METRICS
from . import _trained
from ._blocks import Block, facts, plain, show, table
from ._say import say

DEFAULT, PACKAGED = "default", Path(__file__).parents[1] / "model" / "default"  # (model.model)
VALIDATION = "validation part"  # what a graft scores on where nobody has evaluated it
RANKS = "adapter_config.rank."
SIDES = ("task", "kind", "adapter", "trained", "bytes", "metric", "score", "date", "encoder", "ranks", "learnt from")


def grafts(
    model: Annotated[str, "model folder"] = DEFAULT,
    *,
    compare: Annotated[str, "two grafts side by side: A,B"] = "",
    remove: Annotated[str, "take this graft away, with the folder of its training"] = "",
    add: Annotated[Path | None, "put the graft of a file into the model (.safetensors)"] = None,
    merge: Annotated[str, "write a model (--to) whose encoder has this graft's adapter folded in"] = "",
    compact: Annotated[bool, "with --merge: take channels that compute nothing out of the encoder"] = False,
    export: Annotated[str, "write this graft (adapter rd_lora) as a LoRA folder of peft (--to)"] = "",
    to: Annotated[Path | None, "new folder, for --merge and --export"] = None,
) -> dict:
    """Lists the grafts of a model: task, adapter, size, how well each scores; or does one thing with one of them.

    --compare A,B shows two side by side, and how alike their changes of the encoder are. --merge gives a plain encoder
    with one head, --export what the peft library loads onto the plain encoder; both answer as the graft does.

    --merge with --compact leaves out the inner channels of residual modules that are zero or that nothing reads, as
    after ecgraft extend --strategy isolate with granularity=filters, and says what that saves; answers equal to 1e-5.
    """
    asked = {"compare": compare, "remove": remove, "add": add, "merge": merge, "export": export}
    asked = {verb: value for verb, value in asked.items() if value}
    if len(asked) > 1:
        raise UsageError(f"grafts: one thing at a time, not {' and '.join(f'--{verb}' for verb in asked)}")
    needs_folder = bool(asked.keys() & {"merge", "export"})
    if needs_folder != (to is not None):
        raise UsageError("grafts: --merge and --export write a new folder; give it with --to, which nothing else takes")
    if compact and "merge" not in asked:
        raise UsageError("grafts: --compact goes with --merge")
    if not asked:
        found = listing(model)
        show([_listed(model, found)])
        return found
    ((verb, value),) = asked.items()
    merging = _merge_compact if compact else _merge
    return {"compare": _compare, "remove": _remove, "add": _add, "merge": merging, "export": _export}[verb](
        model, value, to
    )


def listing(model: str) -> dict[str, dict]:
    """Name -> what a graft's file says of it; {"damaged": why} of one that cannot be read. No torch."""
    found = {}
    for file in sorted((_folder(model) / "grafts").glob("*.safetensors")):
        try:
            found[file.stem] = summary(_trained.read(file))
        except InputError as error:
            found[file.stem] = {"damaged": str(error)}
    return found


def summary(graft: _trained.Trained) -> dict:
    """One graft in plain values."""
    task, card = graft.get("task"), graft.get("card")
    metric = task.get("metric") or METRICS.get(task.get("kind"), "")
    score, of = graft.get("metrics").get(metric), graft.get("metrics").get("of")
    held = card.get("score on validation")
    if score is None and isinstance(held, dict) and metric in held:
        score, of = {"value": held[metric]}, VALIDATION
    learnt = {key: card[key] for key in ("records", "budget", "store", "data", "merged from") if key in card}
    return {
        "task": task.get("name"), "kind": task.get("kind"), "labels": list(task.get("labels") or []),
        "adapter": graft.header.get("adapter"), "ranks": graft.ranks,
        "trained": card.get("trained parameters", graft.values), "bytes": graft.path.stat().st_size,
        "metric": metric, "score": score if isinstance(score, dict) else None, "of": of, "date": card.get("date"),
        "encoder": graft.header.get("encoder"), "learnt from": learnt, "format": graft.header.get("format_version"),
    }  # fmt: skip


def _folder(model: str) -> Path:
    folder = PACKAGED if str(model) == DEFAULT else Path(model)
    if not (folder / "encoder.safetensors").is_file():
        raise InputError(f"{folder}: no model folder there (encoder.safetensors and grafts); ecgraft adapt makes one")
    return folder


def _own(model: str) -> Path:
    """A folder that may be changed."""
    if str(model) == DEFAULT:
        raise UsageError(
            "the model that comes with ecgraft stays as it is; make one of your own with ecgraft adapt --to FOLDER and "
            "give that folder"
        )
    return _folder(model)


def _listed(model: str, found: dict[str, dict]) -> Block:
    rows = table("graft", "task", "kind", "labels", "adapter", "trained", "KiB", "score", "date")
    for name, graft in found.items():
        if "damaged" in graft:
            rows.add_row(plain(name), plain(graft["damaged"]))
            continue
        count = f"{graft['trained']:,}" if _number(graft["trained"]) else ""
        cells = [name, graft["task"], graft["kind"], str(len(graft["labels"]) or ""), graft["adapter"], count]
        cells += [f"{graft['bytes'] / 1024:,.0f}", _score(graft), graft["date"]]
        rows.add_row(*map(plain, cells))
    return f"grafts of {model}" + ("" if found else ": none yet; ecgraft adapt makes one"), rows


def _score(graft: dict) -> str:
    """The main metric with its interval, or of the validation part without one."""
    score = graft["score"] or {}
    value, ends = score.get("value"), (score.get("low"), score.get("high"))
    if not _number(value):
        return ""
    around = f" ({ends[0]:.3g} to {ends[1]:.3g})" if all(map(_number, ends)) else ""
    return f"{graft['metric']} {value:.3g}{around}" + (", validation" if graft["of"] == VALIDATION else "")


def _number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compare(model: str, pair: str, to: None) -> dict:
    from ..model import Model
    from . import _graft_files

    names = [name.strip() for name in pair.split(",")]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise UsageError(f"grafts: --compare {pair}: give two grafts, as in --compare af,rhythm")
    loaded, folder = Model.load(model), _folder(model)
    for name in names:
        loaded.graft(name)
    heads = [_trained.read(folder / "grafts" / f"{name}.safetensors") for name in names]
    sides = dict(zip(names, map(summary, heads)))
    a, b = sides.values()
    found = {"grafts": sides, "settings": _differences(*map(_settings, heads))}
    if heads[0].header.get("adapter") != heads[1].header.get("adapter"):  # then ranks stand for other things
        found["settings"] = {key: pair for key, pair in found["settings"].items() if not key.startswith(RANKS)}
    found["labels"] = {
        f"only {name}": [label for label in own["labels"] if label not in other["labels"]]
        for name, own, other in zip(names, (a, b), (b, a))
    }
    found["thresholds"] = _differences(*(head.get("thresholds") for head in heads))
    found["metrics"] = _differences(*(_values(head.get("metrics")) for head in heads), every=True)
    found["cosine"] = _graft_files.cosines(loaded, *names)
    show(_compared(names, found))
    return found


def _settings(graft: _trained.Trained) -> dict:
    """Flat: settings of the training, and those that are not among them."""
    settings = graft.get("card").get("settings")
    mine = {key: graft.header.get(key) for key in ("adapter", "adapter_config", "head", "recipe")}
    return _flat((settings if isinstance(settings, dict) else {}) | mine)


def _flat(values: dict, before: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) and value else {f"{before}{key}": value}
    return flat


def _values(metrics: dict) -> dict:
    return {key: value["value"] for key, value in metrics.items() if isinstance(value, dict) and "value" in value}


def _differences(one: dict, two: dict, every: bool = False) -> dict[str, list]:
    keys = [*one, *(key for key in two if key not in one)]
    return {key: [one.get(key), two.get(key)] for key in keys if every or one.get(key) != two.get(key)}


def _compared(names: list[str], found: dict) -> list[Block]:
    a, b = found["grafts"].values()
    blocks = [("two grafts", _pairs(names, {key: [_short(key, each[key]) for each in (a, b)] for key in SIDES}))]
    for title in ("settings", "thresholds", "metrics"):
        if found[title]:
            words = {"settings": "settings that differ", "thresholds": "thresholds that differ"}
            blocks.append((words.get(title, title), _pairs(names, found[title])))
    if any(found["labels"].values()):
        blocks.append(("labels of one alone", facts(found["labels"])))
    title = "cosine of what they changed in the encoder"
    if not found["cosine"]:
        return [*blocks, (f"{title}: there is no tensor that both changed", table())]
    rows = table("tensor", "cosine")
    for key, value in sorted(found["cosine"].items(), key=lambda pair: pair[0] != "all"):
        rows.add_row(plain(key), f"{value:.3f}")
    return [*blocks, (title, rows)]


def _short(key: str, value):
    if key == "ranks":
        counts = {rank: list(value.values()).count(rank) for rank in sorted(set(value.values()))}
        return [f"{rank} in {count} layers" for rank, count in counts.items()]
    return value


def _pairs(names: list[str], values: dict[str, list]) -> Table:
    rows = table("", *map(plain, names))
    for key, pair in values.items():
        rows.add_row(plain(key), *map(plain, pair))
    return rows


def _remove(model: str, name: str, to: None) -> dict:
    from . import _graft_files

    gone = [str(path) for path in _graft_files.remove(_own(model), name)]
    say(f"graft {name} is no longer in {model}: {' and '.join(gone)}")
    return {"removed": name, "files": gone}


def _add(model: str, file: Path, to: None) -> dict:
    from . import _graft_files

    graft = _graft_files.add(_own(model), Path(file))
    say(f"graft {graft.name} is in {model}")
    return {"added": graft.name} | listing(model)[graft.name]


def _merge(model: str, name: str, to: Path) -> dict:
    from . import _graft_files

    merged = _graft_files.merge(model, name, Path(to))
    say(f"{to} is a model with the adapter of graft {name} in its encoder, fingerprint {merged.fingerprint}")
    return {"merged": name, "to": str(to), "encoder": merged.fingerprint}


def _merge_compact(model: str, name: str, to: Path) -> dict:
    from ..model import Model
    from . import _compact, _graft_files

    merged = _graft_files.merged(Model.load(model), name)
    new = _compact.compacted(merged)
    found = _compact.compare(merged, new, name)
    _graft_files.merge(model, name, Path(to), new)
    say(f"{to} is a model with the adapter of graft {name} in its encoder, fingerprint {new.fingerprint}")
    say(_compact.told(found))
    return {"merged": name, "to": str(to), "encoder": new.fingerprint, "compact": found}


def _export(model: str, name: str, to: Path) -> dict:
    from ..model import Model
    from . import _graft_files, _peft

    with _graft_files.fresh(Path(to)) as beside:
        found = _peft.export(Model.load(model), name, beside)
    say(f"{to} is graft {name} as peft loads it; its README.md says how")
    return {"exported": name, "to": str(to), "ranks": found.ranks, "whole": found.whole}
