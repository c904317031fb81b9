"""Reading a protocol, and checking all that a run would stumble over later."""

from __future__ import annotations

from pathlib import Path

from ... import plugs, tasks
from ...plugs import configure, nearest
from ...record import UsageError
from ...signal.recipe import Recipe
from ...store import Store
from ...training import Config as Training
from .. import _probe
from .._settings import Settings
from .protocol import METRICS, Protocol, Row, Table
from .standins import SIMULATED


def read(path: str | Path) -> Protocol:
    """A protocol file, checked whole. Raises UsageError for unknown keys, rows, metrics, databases or settings."""
    path = Path(path)
    content = plugs.read_mapping(path, "a protocol is a mapping with name, version, tables, rows and reference")
    try:
        protocol = configure(Protocol, content, "protocol")
        check(protocol)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return protocol


def check(protocol: Protocol) -> None:
    """Everything that a run would stumble over later."""
    if not protocol.tables or not protocol.rows:
        raise UsageError("it needs at least one table and one row")
    _known("reference", protocol.reference, protocol.rows)
    for layer in (protocol, *map(protocol.table, protocol.tables), *map(protocol.row, protocol.rows)):
        _check_settings(layer.settings)
        _check_settings(getattr(layer, "over", {}))
    _check_settings(protocol.pretrainings.settings)
    for name in protocol.pretrainings.encoders:
        _check_pretrained(name, protocol)
    for name in protocol.rows:
        _check_row(name, protocol.row(name), protocol)
    for name in protocol.tables:
        table = protocol.table(name)
        _check_table(name, table, protocol)
        for row in protocol.rows_of(table):
            where = f"table {name!r}, row {row!r}"
            settings = configure(Settings, protocol.settings_of(table, protocol.row(row)), where)
            configure(Training, settings.training, f"{where}: training")
            _probe.check(settings)
    for name in protocol.sequences:
        _check_sequence(name, protocol)
    for entry in protocol.papers():
        _known("published: table", entry.table, protocol.tables)


def _check_settings(settings: dict) -> None:
    """What would be passed over in silence, or cannot be laid over other settings."""
    for key in settings.keys() & {"adapter", "adapter_config", "start"}:
        raise UsageError(f"settings: {key} stands in a row itself, beside its settings")
    if not isinstance(settings.get("training", {}), dict):
        raise UsageError(f"settings: training is {settings['training']!r}, not a mapping such as {{rate: 0.001}}")


def _check_pretrained(name: str, protocol: Protocol) -> None:
    plan = protocol.plan_of(name, 0)
    plugs.find("objectives", plan.objective)
    plugs.find("encoders", plan.encoder)
    plan.check()
    configure(Training, plan.options.training, f"encoder {name!r}: training")
    for database in protocol.pretrainings.databases:
        _check_database("pretraining", database)


def _check_row(name: str, row: Row, protocol: Protocol) -> None:
    if sum(map(bool, (row.encoder, row.model, row.pretrained))) != 1:
        raise UsageError(f"row {name!r}: give it an encoder (untrained), a model, or a pretrained encoder; one of them")
    if row.pretrained:
        _known(f"row {name!r}: pretrained", row.pretrained, protocol.pretrainings.encoders)
    if row.encoder:
        plugs.find("encoders", row.encoder)
    if row.recipe.keys() & {"leads", "rate"} or (row.recipe and not row.encoder):
        raise UsageError(f"row {name!r}: a recipe is for an untrained encoder, without its leads and rate")
    configure(Recipe, row.recipe, f"row {name!r}: recipe")
    if row.strategy:
        configure(plugs.find("continual", row.strategy).Config, row.strategy_config, f"row {name!r}: {row.strategy}")
    if row.strategy and row.pretrained:
        raise UsageError(f"row {name!r}: a strategy stands on an encoder or a model, not on one pretrained here")
    configure(plugs.find("adapters", row.adapter).Config, row.adapter_config, f"row {name!r}: adapter {row.adapter}")


def _check_sequence(name: str, protocol: Protocol) -> None:
    sequence, where = protocol.sequence(name), f"sequence {name!r}"
    for table in (*sequence.tables, *([sequence.union] if sequence.union else [])):
        _known(f"{where}: table", table, protocol.tables)
        if len(protocol.table(table).budgets) != 1:
            raise UsageError(f"{where}: table {table!r} has {len(protocol.table(table).budgets)} budgets, not one")
        others = [o for o in protocol.sequences if o != name and table in protocol.sequence(o).tables]
        if others:
            raise UsageError(f"{where}: table {table!r} stands in {others[0]!r} too; give it another name there")
    if len(set(sequence.tables)) < max(2, len(sequence.tables)):
        raise UsageError(f"{where}: it needs at least two tables, none of them twice")
    for row in (*sequence.rows, *sequence.forward):
        _known(f"{where}: row", row, protocol.rows)
    if not protocol.strategies_of(sequence):
        raise UsageError(f"{where}: no row has a strategy")


def _check_table(name: str, table: Table, protocol: Protocol) -> None:
    if bool(table.database) == bool(table.store):
        raise UsageError(f"table {name!r}: give it a database, or a store by its path; one of them")
    if table.task == "own" and not table.store:
        raise UsageError(f"table {name!r}: task own is of a store of your own; take a task's name or a YAML file")
    task = tasks.find(table.task, table.store and Store(table.store))
    if table.database:
        _check_database(f"table {name!r}", table.database)
    for row in table.rows:
        _known(f"table {name!r}: row", row, protocol.rows)
    for metric in table.metrics or (task.metric,):
        _known(f"table {name!r}: metric", metric, METRICS[task.kind])
        if metric == "cinc2017" and not set("NAO") <= set(task.labels):
            raise UsageError(f"table {name!r}: metric cinc2017 needs the classes N, A, O, not {list(task.labels)}")
    if not table.budgets or len(set(table.budgets)) < len(table.budgets):
        raise UsageError(f"table {name!r}: budgets {list(table.budgets)}: at least one, and none of them twice")
    for budget in table.budgets:
        if budget > 1 and budget != int(budget):
            raise UsageError(f"table {name!r}: budget {budget:g}: a share up to 1, or a whole number of records")
    least, most = table.steps
    if not 1 <= least <= most:
        raise UsageError(f"table {name!r}: steps {least}, {most}: the fewest and the most, from 1 up")


def _check_database(where: str, said: str) -> None:
    """A database, or a part of one after a stroke."""
    name, stroke, part = said.partition("/")
    if name != SIMULATED:
        _known(f"{where}: database", name, [SIMULATED, *plugs.names("datasets")])
    if stroke:
        parts = () if name == SIMULATED else getattr(plugs.find("datasets", name), "PARTS", ())
        _known(f"{where}: part of {name}", part, parts)


def _known(where: str, name: str, among) -> None:
    if name not in among:
        raise UsageError(f"{where} {name!r} is not known; {nearest(name, among)}")
