"""What the file of an encoder or a graft says: outputs and what they mean, adapter, certainty, scores. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ..record import InputError
from ..signal.recipe import Recipe
from ._blocks import Block, facts, plain, table

NOT_LEARNT = ("seen.", "distance.", "reference.", "shared.reads")  # tensors that are no weights
NEWEST = {"graft": 5, "encoder": 1}  # formats that this version reads (model.graft.FORMAT, model.model.FORMAT)
LACKS = {1: "it knows no conformal limits and no distance from its training records; adapt the task again to have them"}
SAYS = {  # kind of task -> what the answer is
    "multilabel": "each label from its own probability on (0.5 where none is given)",
    "multiclass": "the likeliest label, one of them always",
    "regression": "a number",
    "waves": "the likeliest order of P, QRS and T, in each lead and in all together",
    "beats": "the likeliest class of every beat, at its R peak",
    "peaks": "the places of the QRS complexes",
}


@dataclass(frozen=True)
class Trained:
    """The header of a file, and the shapes of its tensors by name."""

    path: Path
    header: dict
    shapes: dict[str, tuple[int, ...]]

    @property
    def kind(self) -> str:
        return str(self.header.get("kind") or "file")

    @property
    def values(self) -> int:
        """How many numbers were learnt."""
        return sum(prod(shape) for name, shape in self.shapes.items() if not name.startswith(NOT_LEARNT))

    def get(self, key: str) -> dict:
        """A mapping of the header; empty where there is none."""
        found = self.header.get(key)
        return found if isinstance(found, dict) else {}

    def tensor(self, name: str):
        """One tensor, as a numpy array. KeyError where it is not there."""
        from safetensors import safe_open

        if name not in self.shapes:
            raise KeyError(name)
        with safe_open(self.path, "numpy") as file:
            return file.get_tensor(name)

    @property
    def ranks(self) -> dict[str, int]:
        """Layer -> rank, of an adapter whose layers have ranks."""
        ups = {name: shape for name, shape in self.shapes.items() if name.startswith("encoder.") and _is_up(name)}
        return {_layer(name): shape[1] for name, shape in ups.items() if len(shape) == 2}


def read(path: Path) -> Trained:
    """Reads header and shapes; the tensors are not read. InputError where it is no file of ecgraft."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            header = json.loads((file.metadata() or {})["ecgraft"])
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: not an encoder or graft of ecgraft, or damaged ({error})") from error
    if not isinstance(header, dict):
        raise InputError(f"{path}: not an encoder or graft of ecgraft (its header is no mapping)")
    return Trained(Path(path), header, shapes)


def describe(path: Path) -> list[Block]:
    """An encoder or a graft, block by block. InputError where the header is not that of one."""
    found = read(path)
    with sound(path):
        return _blocks(found)


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """`with sound(path)`: what a header of another form brings about is an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: its header cannot be read ({type(error).__name__}: {error}); is it damaged?"
        ) from error


def _blocks(found: Trained) -> list[Block]:
    head, task, card = found.header, found.get("task"), found.get("card")
    if found.get("shared"):  # they are told in a block of their own
        card = {key: value for key, value in card.items() if key != "weights"}
    told = {"warning": _age(found), "name": head.get("name")}
    told |= {"values": f"{found.values:,} ({found.path.stat().st_size / 1024:,.0f} KiB)"}
    told |= {"weights": "none of its own, each task brings all of them" if head.get("blank") else None}
    told |= {key: head.get(key) for key in ("adapter", "adapter_config", "encoder", "fingerprint", "format_version")}
    if found.ranks:  # they have a table of their own
        told["adapter_config"] = {key: value for key, value in head["adapter_config"].items() if key != "rank"}
    told |= {"architecture": head.get("config"), "recipe": _sentence(head.get("recipe"))}
    if head.get("text"):
        told["text side"] = "joins ECGs and reports: predict --prompts, evaluate --zero-shot or --retrieval"
        told |= {"text encoder": head["text"], "joint space": head.get("head")} | card
    else:
        told |= (_answers(found) | _certainty(found) if found.kind == "graft" else {}) | card
    blocks = [(f"{found.kind} {found.path}", facts(told))]
    if found.kind == "graft" and found.ranks:
        blocks.append(_ranks(found))
    if task and task.get("kind") != "text":
        blocks.append(_outputs(found, task))
    if head.get("metrics"):
        blocks.append(_metrics(head["metrics"]))
    return blocks


def _age(found: Trained) -> str | None:
    """What to know of a file that was written by an older or newer ecgraft."""
    version, newest = found.header.get("format_version"), NEWEST.get(found.kind)
    if newest is None or not isinstance(version, int) or version == newest:
        return None
    if version > newest:
        return f"format {version} is newer than this ecgraft reads ({newest}); upgrade ecgraft"
    return f"an older format, {version} of {newest}; {LACKS.get(version, 'it is read as it is')}"


def _sentence(recipe: dict | None) -> str | None:
    return Recipe.from_dict(recipe).describe() if recipe else None


def _answers(found: Trained) -> dict:
    """What the answer is, how the encoder was changed for it, and from how many records."""
    task, seen = found.get("task"), found.shapes.get("seen.samples")
    changed = [name for name in found.shapes if name.startswith("encoder.")]
    statistics = sum(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
    told = {"answer": SAYS.get(task.get("kind")), "head": found.get("head")}
    if changed:
        told["of its encoder"] = f"{len(changed)} tensors are its own, {statistics} of them statistics of norms"
    if seen:
        told["checksums of"] = f"{seen[0]:,} records that it has learnt from, so that a test can leave them out"
    return told


def _certainty(found: Trained) -> dict[str, str]:
    """What a graft knows of its own certainty, in words."""
    calibration, conformal, distance = (found.get(key) for key in ("calibration", "conformal", "distance"))
    single = {name: value for name, value in calibration.items() if isinstance(value, int | float)}
    told = {"calibration": ("isotonic" if len(single) < len(calibration) else single) or "none"}
    if conformal:
        told["coverage"] = f"the true answer is among the possible ones in {_percent(conformal['coverage'])} of records"
    if "half" in conformal:
        half = conformal["half"]
        told["interval"] = "not known: too few validation records" if half is None else f"answer ± {half:.3g}"
    if distance:
        limit, records = distance.get("limit"), distance.get("records")
        far = f"farther than {plain(limit)} from the training records (limit of {records} validation records)"
        told["unusual record"] = "cannot be told: too few validation records" if limit is None else far
    return told


def _percent(share) -> str:
    return f"{100 * share:.3g} %"


def _ranks(found: Trained) -> Block:
    """Which layers have how many ranks."""
    rows, ranks = table("rank", "layers", "which"), found.ranks
    for rank in sorted(set(ranks.values()), reverse=True):
        layers = [name for name, own in ranks.items() if own == rank]
        rows.add_row(str(rank), str(len(layers)), plain(layers))
    learnt = sum(prod(shape) for name, shape in found.shapes.items() if name.startswith("encoder.") and _is_low(name))
    return f"adapter {found.header.get('adapter')}: {learnt:,} values in {len(ranks)} layers", rows


def _is_up(name: str) -> bool:
    return name.endswith(".up")


def _is_low(name: str) -> bool:
    return name.endswith((".up", ".down"))


def _layer(name: str) -> str:
    """Of one of its tensors."""
    return name.removeprefix("encoder.").rpartition(".")[0].removesuffix(".adapter")


def _outputs(found: Trained, task: dict) -> Block:
    """The label table: which output is which diagnosis, and which probabilities leave it open."""
    thresholds, limits = found.get("thresholds"), found.get("conformal").get("limits")
    curves, positives = found.get("calibration").get("isotonic"), found.get("card").get("positives")
    labels, codes = task.get("labels") or [task.get("value")], task.get("codes") or {}
    pairs, dense = task.get("kind") == "multilabel", task.get("kind") in ("waves", "beats", "peaks")
    more = [] if not limits else ["yes possible from", "no possible up to"] if pairs else ["possible from"]
    more += ["calibrated"] if curves else []
    more += ["positive in validation"] if isinstance(positives, dict) else []
    rows = table("output", *(["class"] if dense else ["label", "yes from"]), *more, "codes")
    for index, label in enumerate(labels):
        cells = [] if dense else [plain(thresholds.get(label))]
        if limits:
            no, yes = limits[index] if pairs else (None, limits[index])
            yes = None if pairs and no is None else yes  # then both answers are always possible
            no = None if yes is None else no
            ends = [None if yes is None else 1 - yes, *([no] if pairs else [])]
            cells += ["any" if end is None else plain(end) for end in ends]
        cells += [] if not curves else ["no: too few records" if curves[index] is None else "yes"]
        cells += [plain(positives.get(label))] if isinstance(positives, dict) else []
        rows.add_row(str(index), plain(label), *cells, plain(codes.get(label)))
    return f"outputs of task {task.get('name')} ({task.get('kind')})", rows


def _metrics(metrics: dict) -> Block:
    of, rows = metrics.get("of"), table("metric", "value", "interval")
    for name, value in _flat(metrics):
        if isinstance(value, dict):
            ends = f"{plain(value.get('low'))} to {plain(value.get('high'))}"
            rows.add_row(plain(name), plain(value["value"]), ends)
        elif name != "of":
            rows.add_row(plain(name), plain(value), "")
    return "how well it scores" + (f", on {of}" if of else ""), rows


def _flat(values: dict, before: str = ""):
    """Nested metrics as (name, number or {"value", "low", "high"})."""
    for name, value in values.items():
        if isinstance(value, dict) and "value" not in value:
            yield from _flat(value, f"{before}{name} ")
        else:
            yield f"{before}{name}", value
