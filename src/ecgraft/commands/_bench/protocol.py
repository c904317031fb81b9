"""A protocol: which rows (methods) are compared on which tables (a database, a task, a split), as a YAML file.

name: baseline
version: 1
reference: scratch
tables:
  rhythm: {database: cinc2017, task: rhythm3, split: random, budgets: [0.1, 1], metrics: [cinc2017]}
pretraining:
  databases: [cinc2017, ptb_xl]
  encoders:
    simclr: {objective: simclr}
rows:
  scratch: {encoder: resnet18, adapter: full}
  simclr: {pretrained: simclr, adapter: linear}
sequences:
  two tasks: {tables: [rhythm, waves]}
published:
  - {table: rhythm, what: "the challenge's winners", metric: cinc2017, value: 0.83, source: "doi:..."}
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ... import tasks
from ...plugs import configure
from ...store import Store
from .._settings import PASSES
from ..pretrain import TRAINING as PRETRAINING
from ..pretrain import Plan
from ..pretrain import Settings as PretrainSettings

STRICT = ConfigDict(extra="forbid")
_OF_CLASSES = ("macro auroc", "macro ap", "macro f1")
METRICS = {  # kind of task -> scores that are one number, as `_score.scorer` gives them
    "multilabel": (*_OF_CLASSES, "micro auroc", "micro ap", "micro f1", "macro f2", "macro g2", "fmax"),
    "multiclass": (*_OF_CLASSES, "macro f2", "accuracy", "cinc2017"),
    "waves": ("mean f1",),
    "beats": ("macro f1", "accuracy"),
    "peaks": ("f1", "sensitivity", "precision", "cpsc2019"),
    "regression": ("mae", "bias", "rmse", "r2"),
}


@dataclass(frozen=True, config=STRICT)
class Row:
    """A method: what it starts from, what may change, and its settings.

    encoder     an untrained encoder of this name, with `encoder_config` and what of the recipe is not its own; or
    model       a model folder or encoder file, or "default"; or
    pretrained  an encoder that the protocol itself pretrains, by its name there
    start       new: a new head; graft: the head of the model's own graft for the same outputs
    strategy    how the tasks of a sequence are learnt one after another (ecgraft.continual), and strategy_config its
                settings; such a row is computed for sequences alone, and has no adapter of its own
    """

    about: str = ""
    encoder: str = ""
    encoder_config: dict = Field(default_factory=dict)
    recipe: dict = Field(default_factory=dict)
    model: str = ""
    pretrained: str = ""
    adapter: str = "full"
    adapter_config: dict = Field(default_factory=dict)
    start: Literal["new", "graft"] = "new"
    strategy: str = ""
    strategy_config: dict = Field(default_factory=dict)
    settings: dict = Field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class Sequence:
    """Tasks that come one after another; each is a table with one budget.

    tables     in the order of learning. Of a table with folds, seed s learns and tests on fold s modulo their number
    rows       of those with a strategy; all by default
    reference  the row whose scores stand for learning each task alone
    forward    rows of which forward transfer is measured too: a head alone, learnt on what earlier tasks have left
    union      a table over the classes of all the tasks, on the same records: which one a record has is answered by all
               heads together (model.union)
    """

    tables: tuple[str, ...]
    about: str = ""
    rows: tuple[str, ...] = ()
    reference: str = "independent"
    forward: tuple[str, ...] = ()
    union: str = ""


@dataclass(frozen=True, config=STRICT)
class Table:
    """What the rows are compared on.

    database  a public one by name, a part of it ("challenge2021/ningbo"), or "simulated"; or
    store     the path of a store
    split     random: another one for each seed, but for a database's own test part; official: the committed one;
              folds: `folds` of them for each seed; strat: the database's own folds, joined to `folds` of them, the
              same for each seed; own: the parts that the records themselves name (a column `split` in the table of
              labels)
    budgets   labelled records: up to 1 a share of them, above it a number
    metrics   scores to show, the first is the one that is compared; none: the task's own
    steps     fewest and most training steps; between them so many passes over the records
    over      settings that are laid over those of every row
    standin   of the simulated ECGs that stand for a database which is not there: count, seconds
    """

    task: str
    database: str = ""
    store: str = ""
    about: str = ""
    split: Literal["random", "official", "folds", "strat", "own"] = "random"
    folds: Annotated[int, Field(ge=2)] = 5
    budgets: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    metrics: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    steps: tuple[int, int] = (200, 3000)
    passes: Annotated[int, Field(ge=1)] = PASSES
    settings: dict = Field(default_factory=dict)
    over: dict = Field(default_factory=dict)
    standin: dict = Field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class Pretrained:
    """An encoder that the protocol pretrains: `ecgraft pretrain` with these options. records: 0 for all."""

    objective: str
    about: str = ""
    encoder: str = "resnet18"
    model: str = ""
    records: Annotated[int, Field(ge=0)] = 0
    settings: dict = Field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class Pretrainings:
    """Encoders by name, the databases of their pool, and settings of all.

    No encoder sees a test part. For a split that changes with the seed there is an encoder for every seed, for the
    split strat one for each half of the folds. seeds: different pretrainings, which the cells take in turn by seed.
    """

    databases: tuple[str, ...] = ()
    encoders: dict[str, dict] = Field(default_factory=dict)
    settings: dict = Field(default_factory=dict)
    standin: dict = Field(default_factory=dict)
    seeds: Annotated[int, Field(ge=1)] = 1


@dataclass(frozen=True, config=STRICT)
class Published:
    """A number of somebody else's, to stand beside a table."""

    table: str
    what: str
    metric: str
    value: float
    source: str


@dataclass(frozen=True, config=STRICT)
class Protocol:
    """version goes up when results of an older one may no longer stand beside new ones."""

    name: str
    version: Annotated[int, Field(ge=1)]
    tables: dict[str, dict]
    rows: dict[str, dict]
    reference: str
    about: str = ""
    seeds: Annotated[int, Field(ge=1)] = 5
    replicates: Annotated[int, Field(ge=1)] = 1000
    settings: dict = Field(default_factory=dict)
    pretraining: dict = Field(default_factory=dict)
    sequences: dict[str, dict] = Field(default_factory=dict)
    published: tuple[dict, ...] = ()

    def sequence(self, name: str) -> Sequence:
        return configure(Sequence, self.sequences[name], f"sequence {name!r}")

    def table(self, name: str) -> Table:
        return configure(Table, self.tables[name], f"table {name!r}")

    def row(self, name: str) -> Row:
        return configure(Row, self.rows[name], f"row {name!r}")

    @property
    def pretrainings(self) -> Pretrainings:
        return configure(Pretrainings, self.pretraining, "pretraining")

    def plan_of(self, name: str, seed: int) -> Plan:
        """The pretraining of an encoder for a seed of the cells."""
        all_of, one = self.pretrainings, configure(Pretrained, self.pretrainings.encoders[name], f"encoder {name!r}")
        settings = over(all_of.settings, one.settings)
        training = PRETRAINING | {"seed": seed % all_of.seeds} | settings.get("training", {})
        options = configure(PretrainSettings, settings | {"training": training}, f"encoder {name!r}")
        return Plan(one.objective, one.encoder, one.model, one.records, options)

    def rows_of(self, table: Table) -> list[str]:
        return [name for name in self.rows if not table.rows or name in table.rows]

    def alone_on(self, name: str) -> list[str]:
        """The rows that learn a table's task by itself: none of a table that stands in a sequence."""
        if any(name in self.sequence(each).tables for each in self.sequences):
            return []
        return [row for row in self.rows_of(self.table(name)) if not self.row(row).strategy]

    def strategies_of(self, sequence: Sequence) -> list[str]:
        """The rows that learn the tasks of a sequence."""
        rows = sequence.rows or tuple(self.rows)
        return [name for name in self.rows if name in rows and self.row(name).strategy]

    def metrics_of(self, table: Table) -> tuple[str, ...]:
        return table.metrics or (tasks.find(table.task, table.store and Store(table.store)).metric,)

    def settings_of(self, table: Table, row: Row) -> dict:
        """The settings of a cell: the protocol's, under the table's, the row's and what the table lays over."""
        merged = over(over(over(self.settings, table.settings), row.settings), table.over)
        return merged | {"adapter": row.adapter, "adapter_config": row.adapter_config, "start": row.start}

    def papers(self) -> list[Published]:
        return [configure(Published, entry, f"published {k + 1}") for k, entry in enumerate(self.published)]


def over(under: dict, layer: dict) -> dict:
    """Settings laid over others; those of the training one by one."""
    training = under.get("training", {}) | layer.get("training", {})
    return under | layer | ({"training": training} if training else {})
