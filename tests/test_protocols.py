"""The protocols in benchmarks/protocols: each can be read, and what it pretrains can be built and takes a step."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgraft import datasets, encoders, tasks
from ecgraft.commands import _objective
from ecgraft.commands._bench import cells, reading, standins
from ecgraft.commands._bench import protocol as protocols
from ecgraft.commands._settings import fitting_steps
from ecgraft.commands.ingest import ingest
from ecgraft.record import UsageError
from ecgraft.signal.beats import BEAT_FEATURES, RECORD_FEATURES
from made_protocols import written

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "benchmarks" / "protocols"
READ = {file.stem: reading.read(file) for file in sorted(FOLDER.glob("*.yaml"))}
BATCH, SAMPLES, BEATS = 4, 384, 3
WIDTH = 16  # of the embedding of a report
KNOWN = {"record_features": len(RECORD_FEATURES), "beat_features": len(BEAT_FEATURES), "text_width": WIDTH, "steps": 9}
PARAMETERS = {  # (protocol, encoder or row) -> what the methods' papers say, or their description comes to
    ("bell", "bell"): 625_728,
    ("bell", "shared"): 78_216 + 64,
    ("bell", "byol narrow"): 78_384,
    ("bell", "byol wide"): 616_530,
    ("bell", "random"): 625_728,
    ("tac-ecg", "cetp"): 1_527_424,
    ("tac-ecg", "scratch"): 1_527_424,
}


def unlike(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """(protocol, encoder) pairs without those that differ from an earlier one in records, rate or name alone."""
    seen = {}
    for name, made in pairs:
        plan = READ[name].plan_of(made, 0)
        said = [plan.objective, plan.encoder, plan.options.encoder_config, plan.options.objective_config]
        seen.setdefault(json.dumps([*said, plan.options.recipe]), (name, made))
    return list(seen.values())


ENCODERS = unlike([(name, made) for name, protocol in READ.items() for made in protocol.pretrainings.encoders])


def batch(leads: int) -> dict:
    """A tiny batch in mV with all that any objective reads; the second record lacks a lead."""
    random = torch.Generator().manual_seed(0)
    present = torch.ones(BATCH, leads, dtype=torch.bool)
    present[1, 0] = False
    x = torch.randn(BATCH, leads, SAMPLES, generator=random) * present[:, :, None]
    findings = len(tasks.find("findings").labels)
    return {
        "x": x,
        "present": present,
        "length": torch.full((BATCH,), SAMPLES),
        "peaks": (torch.arange(BEATS) * 110 + 70).to(torch.int32).expand(BATCH, BEATS).contiguous(),
        "record_features": torch.rand(BATCH, len(RECORD_FEATURES), generator=random),
        "beat_features": torch.rand(BATCH, BEATS, len(BEAT_FEATURES), generator=random),
        "text": torch.randn(BATCH, WIDTH, generator=random),
        "text_known": torch.ones(BATCH, dtype=torch.bool),
        "text_key": torch.arange(BATCH),
        "y": torch.randint(0, 2, (BATCH, findings), generator=random).float(),
        "known": torch.ones(BATCH, findings, dtype=torch.bool),
        "waves": torch.randint(0, 4, (BATCH, leads, SAMPLES), generator=random, dtype=torch.int8),
        "scored": present[:, :, None].expand(-1, -1, SAMPLES).contiguous(),
        "seed": 0,
        "step": 0,
    }


@pytest.mark.parametrize("name", READ)
def test_a_protocol_is_called_like_its_file_and_says_how_it_is_run(name):
    head = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").split("name:")[0]
    assert READ[name].name == name and f"ecgraft bench benchmarks/protocols/{name}.yaml --data FOLDER" in head
    assert all(row.isprintable() and not row.endswith(" ") for row in READ[name].rows)


@pytest.mark.parametrize("name", ["bell", "beat-ssl", "tac-ecg"])
def test_a_paper_is_named_and_its_rows_can_be_chosen(name):
    """`--only` takes rows apart at commas. Every encoder has a row that leaves its weights as they are."""
    protocol, head = READ[name], (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").split("name:")[0]
    assert "doi:" in head and "Chosen here" in head and "Departures" in head
    assert not any("," in row for row in protocol.rows)
    frozen = {row.pretrained for row in map(protocol.row, protocol.rows) if row.adapter != "full"}
    assert set(protocol.pretrainings.encoders) <= frozen


@pytest.mark.parametrize("of", PARAMETERS, ids="-".join)
def test_published_encoders_have_their_number_of_parameters(of):
    protocol, made = READ[of[0]], of[1]
    if made in protocol.pretrainings.encoders:
        plan = protocol.plan_of(made, 0)
        name, config = plan.encoder, plan.options.encoder_config
    else:
        row = protocol.row(made)
        name, config = row.encoder, row.encoder_config
    assert sum(p.numel() for p in encoders.build(name, config).parameters()) == PARAMETERS[of]


@pytest.mark.parametrize("made, count", [("bell", 7_212_096), ("shared", 901_512 + 64)])
def test_bell_learns_as_many_parameters_as_its_description_comes_to(made, count):
    """Branches, projectors and predictors; the target's are no parameters."""
    plan = READ["bell"].plan_of(made, 0)
    base = plan.start()
    objective = _objective.build(plan.objective, plan.options.objective_config, KNOWN, base.encoder, base.recipe)
    assert sum(p.numel() for p in objective.parameters()) == count


def test_the_encoder_of_beat_ssl():
    """256 channels in steps of 8 samples, 16 ms; a beat of 8 of them is what its projector reads."""
    encoder = encoders.build("resnet18", READ["beat-ssl"].plan_of("recommended", 0).options.encoder_config)
    assert (encoder.rate, encoder.strides[-1], encoder.widths[-1], encoder.width) == (500, 8, 256, 256)


def test_the_ablation_of_beat_ssl_is_complete():
    """Fourteen rows of the paper's table, each told apart by its settings and beside a number of the paper."""
    protocol = READ["beat-ssl"]
    said = {entry.what.removeprefix("the paper's ") for entry in protocol.papers()}
    assert len(said) == 14 and said <= set(protocol.rows) and said <= set(protocol.tables["ptb-xl, ablation"]["rows"])
    plans = {name: protocol.plan_of(name, 0).options.objective_config for name in said}
    assert len({json.dumps(plan, sort_keys=True) for plan in plans.values()}) == 14
    for name, plan in plans.items():
        rhythm, beat, exponent = name.split()
        assert (plan["rhythm"], plan["beat"], plan["exponent"]) == (rhythm[:4], beat[:4], int(exponent))
        assert plan["preset"] == "replica" and plan["rows"] == ("normalised" if "soft_2" in name else "weighted")
    assert Counter(plan["exponent"] for plan in plans.values()) == {1: 10, 50: 4}


@pytest.mark.parametrize("of", ENCODERS, ids="-".join)
def test_an_objective_takes_a_step_on_its_encoder(of):
    torch.manual_seed(0)
    options = (plan := READ[of[0]].plan_of(of[1], 0)).options
    base = plan.start()
    assert base.recipe.samples == round(options.seconds * base.encoder.rate)
    objective = _objective.build(plan.objective, options.objective_config, KNOWN, base.encoder.train(), base.recipe)
    given = batch(len(base.recipe.leads))
    if hasattr(objective, "fit"):
        random = torch.Generator().manual_seed(1)
        features = (
            torch.rand(60, count, generator=random).numpy() for count in (len(RECORD_FEATURES), len(BEAT_FEATURES))
        )
        objective.fit(*features, batch=BATCH)
    with torch.no_grad():
        found = objective(given)
    assert torch.isfinite(found["loss"])


def test_parts_of_databases(tmp_path):
    """A part is one that the database knows; its stand-in lies beside that of the whole."""
    table = {"database": "challenge2021/ningbo", "task": "chapman", "standin": {"count": 10, "seconds": 3.0}}
    named = {"tables": {"rhythm": table}, "published": []}
    read = reading.read(written(tmp_path / "p.yaml", **named))
    ground = cells.grounds(read, None, tmp_path, cells.Console(quiet=True))["rhythm"]
    assert ground.standin and ground.path.name.startswith("challenge2021-ningbo-simulated")
    for database, message in [
        ("challenge2021/ningb", "part of challenge2021 'ningb' is not known; did you mean 'ningbo'"),
        ("ptb_xl/ningbo", "part of ptb_xl 'ningbo' is not known"),
        ("simulated/a", "part of simulated 'a' is not known"),
    ]:
        named["tables"]["rhythm"]["database"] = database
        with pytest.raises(UsageError, match=message):
            reading.read(written(tmp_path / "p.yaml", **named))
    with pytest.raises(UsageError, match=r"--part ningbo: .* is no public database"):
        ingest(tmp_path, to=tmp_path / "s", part="ningbo", progress=False)


def test_a_part_of_a_database_is_imported_alone(tmp_path, shared_data):
    place = shared_data / "challenge2021"
    store = ingest(place, to=tmp_path / "s", dataset="challenge2021", part="ningbo", workers=1, progress=False)
    assert len(store) and set(store.column("source")) == {"challenge2021/ningbo"}


def test_an_untrained_encoder_takes_a_recipe(tmp_path):
    row = READ["bell"].row("random")
    base = cells.base(row, 0)
    assert base.recipe.normalise == "record" and base.recipe.samples == 2048 and base.recipe.leads[0] == "II"
    plain = protocols.Row(encoder=row.encoder, encoder_config=row.encoder_config)
    assert cells.stand_of(row) != cells.stand_of(plain)
    for change, message in [
        ({"rows__probe__recipe": {"rate": 100.0}}, "row 'probe': a recipe is for an untrained encoder"),
        ({"rows__probe": {"model": "default", "recipe": {"low": 1.0}}}, "row 'probe': a recipe is for an untrained"),
        ({"rows__probe__recipe": {"normalize": "lead"}}, "unknown key 'normalize'; did you mean 'normalise'"),
    ]:
        with pytest.raises(UsageError, match=message):
            reading.read(written(tmp_path / "p.yaml", **change))


def test_passes_over_the_records():
    """A hundred epochs of PTB-XL's 17,418 training records in batches of 128."""
    assert fitting_steps(17_418, 128, 100, 20_000, 100) == 13_608 and fitting_steps(17_418, 128, 100, 20_000) == 5443
    assert all(READ["bell"].table(name).passes == 100 for name in READ["bell"].tables)


def test_the_rhythms_of_chapman(tmp_path):
    """Eleven rhythms in four classes; fibrillation with bradycardia is in none; stand-ins have all four."""
    task = tasks.find("chapman")
    assert [len(task.codes[label]) for label in task.labels] == [2, 6, 1, 2]
    assert sum(map(len, task.codes.values())) == 11
    store = standins.make("challenge2021/chapman_shaoxing", tmp_path / "s", {"count": 60, "seconds": 3.0})
    y, known = tasks.targets(task, store.codes, store.labels)
    assert (y.sum(0) > 0).all() and known.any()
    codes = sorted(code for listed in task.codes.values() for code in listed)
    both = [[int(code in ("snomed:164889003", "snomed:426177001")) for code in codes]]
    assert not tasks.targets(task, codes, np.array(both))[1].any()


def test_a_folder_of_databases_is_none_of_them(shared_data):
    """The list of CPSC 2018 lies one level down in it, as it may lie in the database itself."""
    there = datasets.inside(shared_data)
    assert there["cpsc2018"] == shared_data / "cpsc2018"
    assert all(datasets.entries(name, place) for name, place in there.items())
