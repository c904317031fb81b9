"""What a report says besides the scores, by direct counts: sets, subgroups, fewer leads, a second model, failures."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit

import ecgraft
from ecgraft.commands import _calibrate, _certainty, _gallery, _groups, _leads, _score
from ecgraft.commands._examples import Corpus
from ecgraft.metrics import conformal
from ecgraft.metrics import distance as distances
from ecgraft.model import Graft, Model, infer
from ecgraft.model.model import PACKAGED
from ecgraft.model.predict import Prediction, _read_classes, decide
from ecgraft.nn import files
from ecgraft.record import LEADS, Record, UsageError
from ecgraft.signal.recipe import Recipe
from ecgraft.store import Store, StoreWriter
from ecgraft.tasks import Task
from ecgraft.training import Examples

pytestmark = pytest.mark.slow

SMALL = {"widths": (8, 8, 8, 8), "stem": 8}
QUICK = {"steps": 4, "batch": 8, "rare": "note", "progress": False}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Simulated ECGs of made-up people, two records each, at three sites."""
    path = tmp_path_factory.mktemp("evaluate")
    ecgraft.simulate(to=path / "bare", count=240, seed=5, seconds=4.0, rate=250.0, progress=False)
    bare = Store(path / "bare")
    with StoreWriter(path / "store") as writer:
        for i in range(len(bare)):
            age = None if i % 20 == 0 else 25.0 + i // 2 % 65
            who = {"patient": f"p{i // 2}", "sex": "FM"[i // 2 % 2], "age": age}
            writer.add(bare.record(i).but(**who, extra={"Site": f"ward {i % 3}"}))
    return path / "store"


@pytest.fixture(scope="module")
def model(store, tmp_path_factory):
    """A model with a graft of each kind that the simulator has labels for, and the same in another seed."""
    folder = tmp_path_factory.mktemp("evaluate") / "model"
    Model.fresh("resnet18", SMALL).save(folder)
    for task in ("findings", "waves", "beats", "qrs"):
        ecgraft.adapt(store, task=task, to=folder, adapter="linear", seconds=4.0, coverage=0.8, **QUICK)
    rhythm = folder / "af.yaml"
    rhythm.write_text("kind: multiclass\nlabels:\n  AF: [scp:AFIB]\n  SR: [scp:SR]\n  SB: [scp:SBRAD]\n")
    for task in ("age", str(rhythm)):
        ecgraft.adapt(store, task=task, to=folder, seconds=4.0, **QUICK)
    ecgraft.adapt(store, task="findings", to=folder, name="other", seconds=4.0, calibrate="isotonic", seed=1, **QUICK)
    return folder


@pytest.fixture(scope="module")
def case(store, model):
    """Corpus, graft, answers on the whole store and the cache, of the labels."""
    loaded = Model.load(model)
    graft = loaded.graft("findings")
    corpus = Corpus.open(Store(store), graft.task)
    cache = corpus.store.prepared(graft.recipe)
    return corpus, graft, _score.answer(loaded.network("findings"), corpus, corpus.rows("all"), cache), cache


@pytest.fixture(scope="module")
def report(store, model, tmp_path_factory):
    to = tmp_path_factory.mktemp("evaluate") / "report"
    given = {"against": f"{model}:other", "replicates": 20, "part": "all", "progress": False}
    return ecgraft.evaluate(store, model=str(model), task="findings", to=to, **given), to


def made_up(kind: str, y, logits, labels=("a", "b"), store=None) -> tuple[Corpus, _score.Answers]:
    """A corpus of nothing but targets (-1 unknown), and answers on all of it."""
    y = np.asarray(y)
    known = y >= 0
    task = Task("t", kind, labels, {label: (f"own:{label}",) for label in labels})
    corpus = Corpus(store or People(len(y)), task, np.maximum(y, 0), known.any(1), known, np.full(len(y), "test"))
    return corpus, _score.Answers(np.arange(len(y)), logits=np.asarray(logits, float), features=np.zeros((len(y), 3)))


class People:
    """A store in which every two records are of one patient."""

    def __init__(self, count: int):
        self.count = count

    def number(self, name: str) -> np.ndarray:
        return np.arange(self.count) // 2


def test_the_report_has_every_part_and_says_what_it_is_for(report):
    to = report[1]
    written, page = json.loads((to / "report.json").read_text()), (to / "report.html").read_text()
    assert written["notice"] == "for research only; not a medical device" and "not a medical device" in page
    assert written.keys() >= {"certainty", "subgroups", "leads", "against", "gallery"} and len(page) < 3_000_000
    for title in ("How sure the answers are", "Subgroups", "Fewer leads", "Against", "Failures"):
        assert title in page
    assert "NaN" not in (to / "report.json").read_text()
    names = {"macro f2", "macro g2", "cinc2020 phase 1 f2", "cinc2020 phase 1 g2", "fmax", "ranking loss"}
    assert names | {"coverage error"} <= written["scores"].keys()


def test_coverage_is_a_direct_count(report, case):
    corpus, graft, found, _ = case
    p = _score.probabilities(corpus.task, found, graft.calibration)
    said, y = report[0]["certainty"], corpus.y[found.rows]
    assert said["stated coverage"] == 0.8
    for k, label in enumerate(corpus.task.labels):
        known = corpus.known_each[found.rows, k]
        limits = graft.conformal["limits"][k]
        no, yes = (np.inf, np.inf) if None in limits else limits
        can_no, can_yes = p[:, k] <= no, 1 - p[:, k] <= yes
        hit = np.where(y[:, k] == 1, can_yes, can_no)[known]
        assert said["coverage"][label]["value"] == pytest.approx(hit.mean(), abs=1e-6)
        sure = (can_no ^ can_yes)[known]
        assert said["answered"][label]["value"] == pytest.approx(sure.mean(), abs=1e-6)
        if sure.any():
            assert said["right among answered"][label]["value"] == pytest.approx(hit[sure].mean(), abs=1e-6)
    away = distances.distance(found.features, {k: v.numpy() for k, v in graft.part("distance").items()})
    assert said["distance limit"] == pytest.approx(graft.distance["limit"])
    assert said["unusual"]["value"] == pytest.approx((away > graft.distance["limit"]).mean(), abs=1e-6)


def test_sets_of_classes_by_hand_and_the_score_of_those_that_are_answered():
    """Probabilities 0.9, 0.6, 0.4, 0.1 of class a; possible from 0.35 on, so the two in the middle are left open."""
    p = np.array([0.9, 0.6, 0.4, 0.1])
    corpus, found = made_up("multiclass", [[1, 0], [1, 0], [1, 0], [1, 0]], np.log(np.stack([p, 1 - p], 1)))
    graft = graft_of(corpus.task, conformal={"coverage": 0.9, "limits": [0.65, 0.65]})
    said = _certainty.measure(graft, corpus, found, 10).scores
    value = {name: float(estimate.value) for name, estimate in said.items()}
    assert value["coverage"] == 0.75 and value["set size"] == 1.5 and value["answered"] == 0.5
    assert value["right among answered"] == 0.5 and value["right"] == 0.5
    assert value["ECE before"] == value["ECE after"]


def graft_of(task: Task, **more) -> Graft:
    return Graft("t", task, Recipe(), "linear", {}, "0", {}, **more)


def test_unknown_labels_are_left_out():
    y = np.array([[1, -1], [0, -1], [1, 0], [0, 1], [1, 0], [0, 1]])
    logits = np.random.default_rng(0).normal(size=y.shape)
    corpus, found = made_up("multilabel", y, logits)
    graft = graft_of(corpus.task, conformal={"coverage": 0.9, "limits": [[0.5, 0.5], [0.5, 0.5]]})
    one = _certainty.measure(graft, corpus, found, 10).scores
    loss = _gallery.wrongness(graft, corpus, found)
    found.logits[:2, 1] = 50  # of a label that nobody knows there
    two = _certainty.measure(graft, corpus, found, 10).scores
    assert all(np.array_equal(one[name].value, two[name].value, equal_nan=True) for name in one)
    assert np.array_equal(loss, _gallery.wrongness(graft, corpus, found))
    rows = _groups.with_enough(corpus, found.rows)[0]
    assert not rows.known_each.any()


def test_subgroups_score_like_the_filtered_records(report, case, store):
    corpus, graft, found, _ = case
    sex = report[0]["subgroups"]["sex"]
    assert set(report[0]["subgroups"]) == {"sex", "age", "site"} and set(report[0]["subgroups"]["age"]) >= {"unknown"}
    assert set(sex) == {"female", "male"} and sum(group["records"] for group in sex.values()) == len(found.rows)
    codes, names = corpus.store.category("sex")
    for name, letter in (("female", "F"), ("male", "M")):
        which = codes[found.rows] == names.index(letter)
        part = found.take(which)
        y, known = corpus.y[part.rows] == 1, corpus.known_each[part.rows]
        good = ((y & known).sum(0) >= 5) & ((~y & known).sum(0) >= 5)
        assert list(sex[name]["positives"].values()) == (y & known).sum(0).tolist(), (
            "those that are not scored count too"
        )
        assert sex[name]["scored labels"] == [label for label, yes in zip(corpus.task.labels, good) if yes]
        filtered = replace(corpus, known_each=corpus.known_each & good)
        scores = _score.scorer(filtered, part, graft.calibration, graft.thresholds)(np.ones(which.sum()))
        assert sex[name]["score"]["value"] == pytest.approx(float(scores["macro auroc"]), abs=1e-6)
    ages = report[0]["subgroups"]["age"]
    years = corpus.store.number("age")[found.rows]
    assert ages["65 to 79"]["records"] == ((years >= 65) & (years < 80)).sum()


def test_operating_points_are_those_of_a_search_through_all_thresholds(report, case):
    corpus, graft, found, _ = case
    p = _score.probabilities(corpus.task, found, graft.calibration)
    y, known = corpus.y[found.rows] == 1, corpus.known_each[found.rows]
    for k, label in enumerate(corpus.task.labels):
        truth, score = y[known[:, k], k], p[known[:, k], k]
        said = report[0]["operating points"][label]["sensitivity at 90 % specificity"]["value"]
        if truth.all() or not truth.any():
            assert said is None
            continue
        points = [((score[truth] >= t).mean(), (score[~truth] < t).mean()) for t in [*np.unique(score), np.inf]]
        assert said == pytest.approx(max(a for a, b in points if b >= 0.9 - 1e-12), abs=1e-6)


def test_a_group_with_too_few_records_says_so():
    y = np.array([[1, 0]] * 4 + [[0, 1]] * 20)
    corpus, found = made_up("multilabel", y, np.zeros(y.shape))
    row = _groups._in_group("x", graft_of(corpus.task), corpus, found, 10, 0)
    assert row.score is None and row.plain()["note"] == "too few" and row.records == 24


def test_all_leads_give_the_full_score_and_fewer_that_of_a_record_with_only_these(report, case, model):
    corpus, graft, found, cache = case
    leads = report[0]["leads"]
    have = found.take(cache.present[found.rows].all(1))
    full = _score.scorer(corpus, have, graft.calibration, graft.thresholds)
    full = _score.with_intervals(corpus, full, have, 20)["macro auroc"]
    assert leads["all twelve"]["score"] == _score.plain(full) and leads["all twelve"]["records"] == len(have.rows)
    assert leads["limb leads"]["score"] == leads["I, II"]["score"] != leads["II"]["score"]
    kept = np.isin(graft.recipe.leads, LEADS[:6])
    loaded = Model.load(model)
    part = _score.answer(loaded.network("findings"), corpus, found.rows[:3], _leads.OnlyLeads(cache, kept))
    p = _score.probabilities(corpus.task, part, graft.calibration)
    for i, row in enumerate(part.rows):
        record = corpus.store.record(int(row))
        two = record.but(signal=record.signal[:2], leads=record.leads[:2], waves=None, scored=None)
        said = loaded.predict(two, ["findings"])["findings"].probability
        assert record.leads[:2] == ("I", "II") and p[i] == pytest.approx(list(said.values()), abs=2e-3)


def test_leads_that_are_taken_away_are_gone_from_all_that_a_cache_gives(case):
    _, _, found, cache = case
    kept = np.arange(12) == 1
    only = _leads.OnlyLeads(cache, kept)
    at, start = found.rows[:2], np.zeros(2, int)
    batch = only.batch(at, start, 100)
    assert not batch["x"][:, ~kept].any() and batch["present"].sum() == 2
    assert np.array_equal(batch["x"][:, 1], cache.batch(at, start, 100)["x"][:, 1])
    assert only.present_slots(at[0]).tolist() == [1] and (only.lead_slots(at[0]) >= 0).sum() == 1
    classes, scored = only.waves(at, start, 100)
    assert not classes[:, ~kept].any() and not scored[:, ~kept].any() and scored[:, 1].any()


def test_a_model_against_itself_differs_by_nothing(store, model, tmp_path):
    for task in ("findings", "waves"):
        given = {"against": str(model), "replicates": 20, "subsets": False, "gallery": 0, "progress": False}
        said = ecgraft.evaluate(store, model=str(model), task=task, to=tmp_path, **given)
        assert said["against"]["difference"] == {"value": 0, "low": 0, "high": 0} and said["against"]["p"] == 1
        assert said["leads"] == {} and "gallery" not in said
        for label in said["against"].get("classes", {}).values():
            assert label["difference"] in (0, None) and label["p"] in (1, None)


def test_another_model_is_compared_class_by_class(report, case):
    corpus = case[0]
    said = report[0]["against"]
    k = int(np.argmax((corpus.y.mean(0) > 0.3) & (corpus.y.mean(0) < 0.7)))
    label = said["classes"][corpus.task.labels[k]]
    assert label["auroc a"] == pytest.approx(report[0]["scores"]["auroc"][corpus.task.labels[k]]["value"], abs=1e-5)
    assert label["difference"] == pytest.approx(label["auroc a"] - label["auroc b"], abs=1e-4)
    assert label["p (Holm)"] >= label["p"]
    assert said["difference"]["value"] == pytest.approx(said["a"]["value"] - said["b"]["value"], abs=2e-6)


def test_a_rival_must_answer_the_same_question(store, model, tmp_path):
    for rival, words in ((f"{model}:waves", "same labels"), (f"{model}:nothing", "no graft")):
        with pytest.raises(UsageError, match=words):
            ecgraft.evaluate(store, model=str(model), task="findings", to=tmp_path / "r", against=rival, progress=False)
    assert not (tmp_path / "r").exists()


def test_failures_come_worst_first():
    logits = np.array([[4.0, -4], [-4, 4], [1, -1], [-3, 3], [5, -5]])
    corpus, found = made_up("multilabel", [[1, 0], [1, 0], [1, 0], [1, 0], [0, -1]], logits)
    graft = graft_of(corpus.task)
    shown = _gallery.failures(graft, corpus, found, 2)
    assert shown.worst.tolist() == [1, 3] and shown.surely.tolist() == [4]
    expected = -np.log(expit(np.array([4, -4, 1, -3, -5]))) * [2, 2, 2, 2, 1]  # the last has one known label
    assert np.allclose(_gallery.wrongness(graft, corpus, found)[0], expected)


@pytest.mark.parametrize("task", ["waves", "beats", "qrs"])
def test_every_kind_has_its_failures(store, model, tmp_path, task):
    given = {"replicates": 10, "gallery": 2, "subsets": task == "waves", "progress": False}
    said = ecgraft.evaluate(store, model=str(model), task=task, to=tmp_path, **given)
    page = (tmp_path / "report.html").read_text()
    assert 2 <= len(said["gallery"]["worst"]) + len(said["gallery"]["most surely wrong"]) <= 4
    assert all(f"{name}: " in page for names in said["gallery"].values() for name in names)
    assert said["certainty"]["unusual"]["value"] <= 1 and "coverage" not in said["certainty"]
    assert bool(said["leads"]) == (task == "waves")


def test_an_interval_of_a_value_is_counted(store, model, tmp_path):
    said = ecgraft.evaluate(store, model=str(model), task="age", to=tmp_path, replicates=10, part="all", progress=False)
    loaded = Model.load(model)
    graft = loaded.graft("age")
    corpus = Corpus.open(Store(store), graft.task)
    found = _score.answer(loaded.network("age"), corpus, corpus.rows("all"), corpus.store.prepared(graft.recipe))
    error = np.abs(_score.values(found, graft.calibration) - corpus.y[found.rows, 0])
    half = graft.conformal["half"]
    assert said["certainty"]["coverage"]["value"] == pytest.approx((error <= half).mean(), abs=1e-6)
    assert said["certainty"]["set size"]["value"] == pytest.approx(2 * half, rel=1e-5)
    assert corpus.store.column("id")[int(found.rows[error.argmax()])] == said["gallery"]["worst"][0]
    record = corpus.store.record(int(found.rows[0]))
    told = loaded.predict(record, ["age"])["age"].to_dict()
    assert told["interval"] == pytest.approx([told["value"] - half, told["value"] + half], abs=2e-4)
    graft.conformal["half"] = None
    assert loaded.predict(record, ["age"])["age"].to_dict()["interval"] == [None, None]


def test_classes_that_exclude_each_other_have_their_report(store, model, tmp_path):
    given = {"replicates": 10, "part": "all", "against": str(model), "progress": False}
    said = ecgraft.evaluate(store, model=str(model), task="af", to=tmp_path, **given)
    certainty = said["certainty"]
    assert certainty["coverage"]["value"] <= 1 and certainty["set size"]["value"] <= 3
    assert said["against"]["p"] == 1 and said["scores"]["fmax"]["value"] <= 1
    assert said["subgroups"]["sex"]["female"]["score"]["value"] >= 0 and said["gallery"]["worst"]
    assert "at least 5 records of two classes each" in (tmp_path / "report.html").read_text()
    file = tmp_path / "ecg.npz"
    record = Store(store).record(0)
    np.savez(file, signal=record.signal, rate=record.rate, leads=np.array(record.leads), unit="mV")
    for name in ("a.csv", "a.html"):
        ecgraft.predict([file], model=str(model), to=tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert {row["verdict"] for row in rows if row["graft"] == "af"} <= {"yes", "no", "not sure"}
    assert {row["unusual"] for row in rows} <= {"0", "1", "cannot tell"}
    assert "Possible at 90 % coverage" in (tmp_path / "a.html").read_text()


def test_too_few_validation_records_tell_nothing():
    features = np.random.default_rng(0).normal(size=(40, 5))
    distance, tensors = _calibrate.fit_distance(features, features[:10])
    assert distance == {"limit": None, "records": 10} and set(tensors) == {
        f"distance.{name}" for name in ("mean", "axes", "spread", "rest")
    }
    assert _calibrate.fit_distance(features, None)[0] == {"limit": None, "records": 0}
    assert _calibrate.fit_distance(features[:1], None) == ({}, {})
    assert _calibrate.fit_distance(features, features)[0]["limit"] > 0


def test_predict_says_how_sure_it_is(model, case):
    corpus, graft, found, _ = case
    loaded, i = Model.load(model), 3
    said = loaded.predict(corpus.store.record(int(found.rows[i])), ["findings"])["findings"]
    p = np.array([list(said.probability.values())])
    rare = [None in pair for pair in graft.conformal["limits"]]
    no_yes = conformal.label_sets(p, graft.conformal)[0] | np.array(rare)[:, None]
    assert any(rare) and not all(rare)
    words = {(True, False): "no", (False, True): "yes"}
    assert list(said.verdict.values()) == [words.get((bool(a), bool(b)), "not sure") for a, b in no_yes]
    fitted = {k: v.numpy() for k, v in graft.part("distance").items()}
    assert said.distance == pytest.approx(distances.distance(found.features[i : i + 1], fitted)[0], rel=1e-2)
    assert said.unusual == (said.distance > said.limit) and said.coverage == 0.8
    assert json.loads(json.dumps(said.to_dict()))["verdict"] == said.verdict
    loaded.graft("findings").distance["limit"] = said.distance / 2
    strange = loaded.predict(corpus.store.record(int(found.rows[i])), ["findings"])["findings"]
    assert strange.unusual and "unlike the records" in strange.notes[-1]


def test_a_set_of_one_class_is_sure_and_an_empty_one_is_like_none():
    task = Task("t", "multiclass", ("a", "b", "c"), {label: (f"own:{label}",) for label in "abc"})
    graft = graft_of(task, conformal={"coverage": 0.9, "limits": [0.51, 0.51, 0.51]})
    for p, possible, verdict in (
        ([0.7, 0.2, 0.1], ["a"], ["yes", "no", "no"]),
        ([0.4, 0.3, 0.3], [], ["not sure"] * 3),
        ([0.5, 0.5, 0.0], ["a", "b"], ["not sure", "not sure", "no"]),
    ):
        said = Prediction("r", "t", "multiclass", 500)
        _read_classes(said, graft, None, None, np.log(np.maximum(p, 1e-9)))
        assert said.possible == possible and said.sure == (len(possible) == 1)
        assert list(said.verdict.values()) == verdict


def test_a_graft_of_format_1_answers_as_before():
    """The packaged one: no distance, no sets; probability and answer follow from the logits alone."""
    tensors, header = files.load(PACKAGED / "grafts" / "findings.safetensors")
    assert header["format_version"] == 1 and not any(name.startswith("distance.") for name in tensors)
    record = Record(np.random.default_rng(1).normal(size=(12, 5000)) * 0.2, 500.0, LEADS, id="r")
    loaded = Model.load()
    graft = loaded.graft("findings")
    memory = infer.Memory([record], graft.recipe)
    network = loaded.network("findings")
    ((_, out),) = infer.run(network, Examples(memory, np.arange(1)), graft.recipe.samples)
    p = 1 / (1 + np.exp(-out["findings"].astype(float) / header["calibration"].get("temperature", 1)))
    said = loaded.predict(record, ["findings"])["findings"]
    assert list(said.probability.values()) == pytest.approx(p, abs=1e-12)
    answer = [k for k, v in said.probability.items() if v >= header["thresholds"].get(k, 0.5)]
    assert said.answer == answer == decide(p[None], graft)[0]
    told = said.to_dict()
    assert told["unusual"] is None and not {"verdict", "coverage", "distance"} & told.keys()


def test_a_graft_of_format_2_comes_back(model, tmp_path):
    graft = Model.load(model).graft("findings")
    graft.save(tmp_path / "g.safetensors")
    again = Graft.load(tmp_path / "g.safetensors")
    assert again.conformal == graft.conformal and again.distance == graft.distance and not again.own_trunk
    assert all(torch.equal(t, again.part("distance")[name]) for name, t in graft.part("distance").items())
