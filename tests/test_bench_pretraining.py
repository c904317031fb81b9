"""ecgraft bench with encoders that the protocol pretrains: which, on what, and that none has seen what tests it."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as parquet
import pytest
import yaml
from rich.console import Console

import ecgraft
from ecgraft.commands import _seen
from ecgraft.commands._bench import cells as cell_tools
from ecgraft.commands._bench import pretrained, reading, standins
from ecgraft.commands._bench.cells import Cell
from ecgraft.model import Model
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store, StoreWriter, splits
from made_pretraining import ENCODER
from made_protocols import run

pytestmark = pytest.mark.slow

PROTOCOL = {
    "name": "small",
    "version": 1,
    "reference": "scratch",
    "seeds": 2,
    "replicates": 16,
    "settings": {"batch": 8, "seconds": 2.0, "augment": {}},
    "tables": {
        "rhythm": {
            "database": "cinc2017", "task": "rhythm3", "budgets": [1], "steps": [2, 2],
            "standin": {"count": 60, "seconds": 4.0},
        },
        "findings": {"database": "ptb_xl", "task": "findings", "split": "strat", "folds": 4, "steps": [2, 2]},
    },
    "pretraining": {
        "databases": ["cinc2017", "ptb_xl"],
        "settings": {"encoder_config": ENCODER, "seconds": 2.0, "batch": 8, "training": {"steps": 2}},
        "encoders": {"simclr": {"objective": "simclr", "settings": {"simulated": 0.25}}},
    },
    "rows": {
        "scratch": {"encoder": "resnet18", "encoder_config": ENCODER},
        "simclr": {"pretrained": "simclr", "adapter": "linear"},
    },
}  # fmt: skip


def changed(path, **changes):
    """The protocol as a file; "a__b" reaches inside."""
    content = json.loads(json.dumps(PROTOCOL))
    for key, value in changes.items():
        *inner, last = key.split("__")
        place = content
        for name in inner:
            place = place[name]
        place[last] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="module", autouse=True)
def folds(tmp_path_factory):
    """Stand-ins of ptb_xl have the folds 1 to 8 and a copy of each fourth record in another fold."""
    folder, real = tmp_path_factory.mktemp("folds") / "made", standins.make

    def make(database, to, options, seed=standins.SEED):
        if database != "ptb_xl":
            return real(database, to, options, seed)
        if not (to / "store.json").exists():
            made = real(database, folder, {"count": 40, "seconds": 4.0}, seed)
            records = [made.record(i).but(fold=1 + i % 8, patient=f"p{i}", split=None) for i in range(40)]
            copies = [each.but(fold=1 + (i + 3) % 8, id=f"c{i}", patient=f"q{i}") for i, each in enumerate(records)]
            with StoreWriter(to) as writer:
                for record in (*records, *copies[::4]):
                    writer.add(record)
        return Store(to)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standins, "make", make)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished bench: its folder, protocol file and rows."""
    top = tmp_path_factory.mktemp("bench")
    file = changed(top / "small.yaml")
    return top / "out", file, run(top / "out", file)


def opened(folder, file):
    protocol, console = reading.read(file), Console(quiet=True)
    grounds = cell_tools.grounds(protocol, None, folder, console)
    return protocol, grounds, cell_tools.pool(protocol, None, folder, console)


def places(folder) -> set:
    return {path.name for path in (folder / pretrained.FOLDER).iterdir()}


def start(folder, file, cell: Cell) -> pretrained.Pretraining:
    protocol, grounds, pool = opened(folder, file)
    return pretrained.Starts(protocol, grounds, pool, folder).of(cell)


def cell(table: str, seed: int = 0, fold: int = 0) -> Cell:
    return Cell(table, "simclr", 1.0, seed, fold)


@pytest.mark.slow
def test_an_encoder_for_every_seed_of_random_and_for_each_half_of_strat(done):
    folder, file, rows = done
    protocol, grounds, pool = opened(folder, file)
    assert len(rows) == 2 * 2 + 2 * 2 * 4 and {row["row"] for row in rows} == {"scratch", "simclr"}
    cells = [_cell(row) for row in rows if row["row"] == "simclr"]
    started = [pretrained.Starts(protocol, grounds, pool, folder).of(each) for each in cells]
    of = {(each.table, each.seed, each.fold): found.place for each, found in zip(cells, started)}
    assert of["rhythm", 0, 0] != of["rhythm", 1, 0]
    halves = [{of["findings", seed, fold] for seed in (0, 1) for fold in half} for half in ((0, 1), (2, 3))]
    assert [len(half) for half in halves] == [1, 1] and halves[0] != halves[1]
    assert {place.name for place in of.values()} == places(folder) and len(places(folder)) == 4
    assert all(place.name.startswith("simclr-") and (place / "report.html").exists() for place in of.values())


def _cell(row: dict) -> Cell:
    return Cell(*(row[name] for name in ("table", "row", "budget", "seed", "fold")))


@pytest.mark.slow
def test_no_encoder_has_seen_what_its_cells_are_tested_on(done):
    """By checksums and by shapes, copies in other folds included."""
    folder, file, rows = done
    protocol, grounds, pool = opened(folder, file)
    tested = 0
    for each in (_cell(row) for row in rows if row["row"] == "simclr"):
        corpus, _ = cell_tools.corpus(protocol.table(each.table), grounds[each.table], each.seed, each.fold)
        model = Model.load(pretrained.Starts(protocol, grounds, pool, folder).of(each).place)
        test = corpus.rows("test")
        found = _seen.find([model.seen], [], corpus.store, test)
        assert not len(found.rows) and len(test), (each, found)
        sums = set(np.asarray(corpus.store.number("checksum"))[test].view(np.int64).tolist())
        assert not sums & set(model.seen["seen.samples"].tolist())
        assert sum(model.card["records"].values()) > 20
        tested += len(test)
    assert tested > 80


@pytest.mark.slow
def test_what_is_done_is_not_done_again(done, monkeypatch):
    folder, file, rows = done
    monkeypatch.setattr(pretrained, "run", lambda *_: pytest.fail("pretrained again"))
    assert len(run(folder, file)) == len(rows)


@pytest.mark.slow
def test_a_lost_encoder_comes_back_the_same(done):
    folder, file, _ = done
    each = start(folder, file, cell("rhythm"))
    before = Model.load(each.place).fingerprint
    (each.place / "model.json").unlink()  # as if it had been killed before it was done
    for name in ("encoder.safetensors", "training/pretraining/log.jsonl"):
        (each.place / name).unlink()
    pretrained.pretrain_all([each], 1, "cpu", 1, Console(quiet=True))
    assert Model.load(each.place).fingerprint == before


@pytest.mark.slow
def test_cells_of_an_encoder_that_cannot_be_pretrained_are_said_and_the_others_are_computed(tmp_path):
    tables = {"rhythm": PROTOCOL["tables"]["rhythm"]}
    rows = PROTOCOL["rows"] | {"high": {"pretrained": "high", "adapter": "linear"}}
    wild = {"rate": 1e30, "clip": 0, "warmup": 0, "steps": 20}
    encoders = PROTOCOL["pretraining"]["encoders"] | {"high": {"objective": "simclr", "settings": {"training": wild}}}
    file = changed(tmp_path / "p.yaml", tables=tables, rows=rows, seeds=1, pretraining__encoders=encoders)
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"1 of 3 cells could not be computed.*encoder 'high' could not .*the loss is"
        ):
            run(tmp_path / "out", file)
        assert len(parquet.read_table(tmp_path / "out" / "results.parquet")) == 2
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Not computed" in text and "the loss is" in text


def withheld(tmp_path, tables: dict, databases, each: Cell, rows=None):
    file = changed(tmp_path / "p.yaml", tables=tables, pretraining__databases=databases)
    protocol, grounds, pool = opened(tmp_path / "out", file)
    found = pretrained.Starts(protocol, grounds, pool, tmp_path / "out").of(each)
    return found, grounds, protocol


STRAT = PROTOCOL["tables"]["findings"]


@pytest.mark.parametrize("order", [("mine", "other"), ("other", "mine")])
@pytest.mark.parametrize("other", [STRAT | {"folds": 2}, STRAT | {"split": "random"}, STRAT | {"split": "folds"}])
def test_a_second_table_of_the_same_database_does_not_loosen_the_first(tmp_path, order, other):
    """Whatever stands beside it: what the cell is tested on is withheld."""
    both = {"mine": STRAT, "other": other}
    tables = {name: both[name] for name in order}
    for table, fold in (("mine", 3), ("mine", 0), ("other", 1 if "random" not in other["split"] else 0)):
        each = cell(table, seed=1, fold=fold)
        found, grounds, protocol = withheld(tmp_path, tables, ["ptb_xl"], each)
        corpus, _ = cell_tools.corpus(protocol.table(table), grounds[table], each.seed, each.fold)
        path = grounds[table].path
        own = np.flatnonzero(splits.split(Store(path)) == "test")
        assert set(corpus.rows("test")) <= {*found.withheld.get(path, ()), *own}


def test_folds_are_cut_among_the_records_that_the_task_knows(tmp_path, monkeypatch):
    """Records of other labels alone do not take part in the folds, so they must not shift what is withheld."""
    table = {"database": "cpsc2018", "task": "af", "split": "folds", "folds": 3, "steps": [2, 2]}
    made = standins.make("cpsc2018", tmp_path / "made", {"count": 45, "seconds": 2.0})
    records = [made.record(i) for i in range(45)]
    bare = [
        each.but(labels={f"own:{i}": 1}, complete=frozenset()) if i % 3 == 0 else each for i, each in enumerate(records)
    ]
    (tmp_path / "out" / "stores").mkdir(parents=True)
    with StoreWriter(tmp_path / "out" / "stores" / "cpsc2018-simulated") as writer:
        for record in bare:
            writer.add(record)
    monkeypatch.setattr(standins, "make", lambda *_: None)
    for fold in range(3):
        found, grounds, protocol = withheld(tmp_path, {"t": table}, ["cpsc2018"], cell("t", seed=2, fold=fold))
        corpus, _ = cell_tools.corpus(protocol.table("t"), grounds["t"], 2, fold)
        assert len(corpus.rows("test")) > 5 and set(corpus.rows("test")) <= set(found.withheld[grounds["t"].path])


@pytest.mark.parametrize("split", ["official", "folds"])
def test_what_is_tested_on_is_withheld_from_a_pool_of_other_stores(tmp_path, split):
    """Its copies, that is: the database itself is none of the pool's. One encoder serves all seeds and folds."""
    table = STRAT | {"split": split}
    tables = {"t": table, "rhythm": PROTOCOL["tables"]["rhythm"]}
    found, grounds, protocol = withheld(tmp_path, tables, ["cinc2017"], cell("t", seed=1))
    corpus, _ = cell_tools.corpus(protocol.table("t"), grounds["t"], 1, 0)
    assert set(corpus.rows("test")) <= set(found.withheld[grounds["t"].path]) and grounds["t"].path not in found.stores
    within, _, _ = withheld(tmp_path, tables, ["cinc2017", "ptb_xl"], cell("t", seed=1))
    assert found.key != within.key
    again, _, _ = withheld(tmp_path, tables, ["cinc2017"], cell("t", seed=0, fold=1))
    assert found.key == again.key


def test_strat_needs_folds(tmp_path):
    tables = {"t": PROTOCOL["tables"]["rhythm"] | {"split": "strat"}}
    with pytest.raises(InputError, match="by the database's own folds, and it has none; take folds"):
        run(tmp_path / "out", changed(tmp_path / "p.yaml", tables=tables))


def test_the_key_changes_with_what_decides_the_weights(tmp_path):
    _, grounds, pool = opened(tmp_path / "out", changed(tmp_path / "p.yaml"))

    def key(pool=pool, **changes):
        protocol = reading.read(changed(tmp_path / "p.yaml", **changes))
        return pretrained.Starts(protocol, grounds, pool, tmp_path / "out").of(cell("rhythm")).key

    first = key()
    assert key() == first == key(about="words", seeds=7, rows__simclr__about="words")
    inside = "pretraining__encoders__simclr"
    changes = [{"pretraining__settings__batch": 6}, {f"{inside}__objective": "byol"}, {f"{inside}__records": 9}]
    changes += [{"pool": pool[:1]}, {f"{inside}__settings": {"simulated": 0.5}}]
    assert len({first, *(key(**change) for change in changes)}) == 1 + len(changes)


@pytest.mark.parametrize(
    "changes, hint",
    [
        (
            {"rows__simclr__pretrained": "simclrr"},
            "row 'simclr': pretrained 'simclrr' is not known; did you mean 'simclr'",
        ),
        ({"pretraining__encoders__simclr__objective": "simclrr"}, "objectives: no 'simclrr'; did you mean 'simclr'"),
        ({"pretraining__encoders__simclr__encoder": "resnet81"}, "did you mean 'resnet18'"),
        ({"pretraining__databases": ["ptbxl"]}, "did you mean 'ptb_xl'"),
        ({"pretraining__settings__bacth": 4}, "encoder 'simclr': unknown key 'bacth'; did you mean 'batch'"),
        ({"pretraining__settings__training": {"setps": 4}}, "did you mean 'steps'"),
        ({"pretraining__settings__batch": 1}, "batch of one"),
        ({"pretraining__settings__objective_config": {"tua": 4}}, "did you mean 'tau'"),
        ({"pretraining__encoders__simclr__settings": {"simulator": {"germn": 1}}}, "did you mean 'german'"),
        ({"pretraining__encoders__simclr__record": 5}, "did you mean 'records'"),
        ({"pretraining__encoder": {}}, "did you mean 'encoders'"),
        ({"rows__simclr__encoder": "resnet18"}, "row 'simclr': give it an encoder"),
    ],
)
def test_slips_in_the_protocol_are_wrong_use_and_name_the_file(tmp_path, changes, hint):
    with pytest.raises(UsageError) as told:
        ecgraft.bench(changed(tmp_path / "p.yaml", **changes), to=tmp_path / "out", progress=False)
    assert hint in str(told.value) and "p.yaml: " in str(told.value) and not (tmp_path / "out").exists()
