"""ecgraft extend: a further task for a model, without changing what its other tasks answer (ECG-CL and others)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from .. import plugs
from ..model import Graft, Model, chain
from ..plugs import configure
from ..record import InputError, UsageError
from . import _extension
from ._course import Course, check_keeps
from ._labelled import note_origin, open_job
from ._say import say
from ._settings import Settings
from .adapt import pick_device

NOT_HERE = {  # settings of `ecgraft adapt` alone -> what to do
    "adapter": "a strategy has its own way; --strategy graft takes strategy_config.adapter=lrc",
    "adapter_config": "write strategy_config.KEY=VALUE",
    "semi": "a strategy learns from labelled records alone; ecgraft adapt learns from others too",
    "semi_config": "a strategy learns from labelled records alone; ecgraft adapt learns from others too",
}


def extend(
    store: Annotated[Path, "store with labelled records"],
    *,
    model: Annotated[str, "model folder that the task is added to; with --encoder a new one"],
    task: Annotated[str, "task: a name, a YAML file, or own (the labels of your own file)"],
    strategy: Annotated[
        str,
        "isolate (the task owns a part of the weights, ECG-CL), packnet, piggyback (it owns none); graft, independent "
        "(as adapt)",
    ] = "isolate",
    tasks: Annotated[int, "how many tasks the model is divided for (default: as its earlier tasks said)"] = 0,
    sparsity: Annotated[str, "share of its weights that the task gives back for later ones: 0.5, or search"] = "",
    strategy_config: Annotated[dict | None, "settings of the strategy"] = None,
    encoder: Annotated[str, "begin a new model, whose weights its tasks bring: multires, resnet18 ..."] = "",
    to: Annotated[Path | None, "begin here with the encoder of --model, and its tasks that share weights"] = None,
    recipe: Annotated[dict | None, "of a new model: rate, low, high, mains, normalise, for all its tasks"] = None,
    budget: Annotated[float, "labelled records to use: below 1 a share, above it a number; 1 = all"] = 1.0,
    name: Annotated[str, "name of the graft (default: the task's)"] = "",
    steps: Annotated[int, "training steps (0: chosen by the number of records)"] = 0,
    seed: Annotated[int, "seed of the choice of records, the new weights, the head and the batches"] = 0,
    device: Annotated[str, "where to compute: auto, cpu, cuda or mps"] = "auto",
    progress: Annotated[bool, "show progress"] = True,
    **settings: Annotated[Any, Settings],
) -> Graft:
    """Adds a task to a model; the tasks that are there answer as before, bit for bit.

    With isolate the task learns the weights that are free, reads those of earlier tasks that help it, and gives back
    what pruning shows to be superfluous. It becomes one file in the folder; no other graft is written again.
    """
    check_keeps(strategy)
    plug, values = plugs.find("continual", strategy), _values(tasks, sparsity, strategy_config or {})
    configure(plug.Config, values, f"strategy {strategy}")
    options = _options(settings)
    place = _extension.opened(model, to, encoder, plug, recipe or {})
    given = {"name": name, "budget": budget, "steps": steps, "seed": seed, "progress": progress}
    job = open_job(place.base, store, task, options, device=pick_device(device), **given)
    place.check_name(job.name)
    before = _extension.answers(place.base)
    for other in _extension.moved(place.base, before) if progress else ():
        say(f"graft {other} does not answer as when it was written: ecgraft verify {place.folder}", mark="note:")
    course = Course(place.base, strategy, _declared(plug, place.base, values))
    course.trained = True  # an adapter stands on the encoder that is there

    def save(graft: Graft) -> None:
        told = {"budget": budget, "command": "ecgraft extend", "strategy": strategy}
        note_origin(graft, job, place.training(job.name), told)
        place.put(graft)

    course.learn(job, place.training(job.name), save)
    there = Model.load(place.folder)
    _check_answers(place.folder, job.name, before, there)
    if progress:
        _report(there, job.name, before)
        say(f"graft {job.name} is in {place.folder}")
        say(f"next: ecgraft evaluate {store} --model {place.folder} --task {job.name} --to report")
    return there.graft(job.name)


def _values(tasks: int, sparsity: str, config: dict) -> dict:
    """The settings of the strategy that were given."""
    given = {"tasks": tasks} if tasks else {}
    if sparsity != "":
        given["sparsity"] = sparsity if sparsity == "search" else _share(sparsity)
    for key in given.keys() & config.keys():
        raise UsageError(f"extend: {key} is given twice, as --{key} and as strategy_config.{key}=")
    return config | given


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise UsageError(f"--sparsity {text}: give a share below 1, as 0.5, or search")
    return share


def _options(settings: dict) -> Settings:
    for key in settings:
        if key in NOT_HERE:
            raise UsageError(f"extend: {key}= is for ecgraft adapt: {NOT_HERE[key]}")
    return configure(Settings, settings, "extend")


def _declared(plug, model: Model, values: dict) -> dict:
    """The settings, with the number of tasks that earlier ones were told of, where nothing is said of it now."""
    if "tasks" not in plug.Config.__dataclass_fields__ or values.keys() & {"tasks", "sparsity"}:
        return values
    said = [graft.adapter_config["tasks"] for graft in chain.order(model.grafts) if graft.adapter_config.get("tasks")]
    return values | ({"tasks": said[-1]} if said else {})


def _check_answers(folder: Path, name: str, before: dict[str, bytes], model: Model) -> None:
    """InputError where an earlier task does not answer as before, in the folder as it was written."""
    now = _extension.answers(model)
    other = [earlier for earlier, answer in before.items() if now.get(earlier) != answer]
    if other:
        raise InputError(
            f"{folder}: {', '.join(other)} no longer answer as before task {name!r} was added. Take it away again "
            f"(ecgraft grafts {folder} --remove {name}) and report this"
        )


def _report(model: Model, name: str, before: dict[str, bytes]) -> None:
    """Says what the task owns and reads, what is left, and that the others answer as before."""
    told = model.graft(name).card.get("weights")
    if told:
        reads = chain.shares(model)[name]["reads"]
        say(f"task {name} owns {told['owns']:.1%} of the weights and reads {reads:.1%}; {_room(told)}")
    if before:
        say(f"checked: {', '.join(before)} answer as before, bit for bit")


def _room(told: dict) -> str:
    more = told["further tasks"]
    count = "any number of tasks like it" if more is None else f"{more} more task{'s' * (more != 1)} like it"
    return f"{told['free after it']:.1%} are free, room for {count}"
