"""Tasks: codes that exist, labels from three-valued tables, tasks of the user's own."""

from __future__ import annotations

import csv
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from ecgraft import datasets, plugs, tasks
from ecgraft.datasets import ludb
from ecgraft.record import InputError, UsageError
from ecgraft.simulator.findings import CODES as CODES_OF_THE_SIMULATOR
from ecgraft.tasks import Task, beat_classes, targets
from ecgraft.tasks._findings import AHA, FINDINGS

TASKS = [tasks.find(name) for name in plugs.names("tasks")]
CODES = sorted({code for task in TASKS for codes in task.codes.values() for code in codes})


def coded(vocabulary: str) -> list[str]:
    return [code.partition(":")[2] for code in CODES if code.startswith(f"{vocabulary}:")]


def verhoeff(number: str) -> int:
    """0 where the last digit of a SNOMED CT identifier is its check digit (Verhoeff, in the dihedral group D5)."""
    turn = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    check = 0
    for place, digit in enumerate(map(int, reversed(number))):
        for _ in range(place % 8):
            digit = turn[digit]
        flip = check >= 5
        check = (check + (-digit if flip else digit)) % 5 + 5 * (flip ^ (digit >= 5))
    return check


def table_of(records: list[dict[str, int]], complete: str) -> tuple[list[str], np.ndarray]:
    """Codes and labels (N, V) as a store has them, from the labels of records that know a whole vocabulary."""
    codes = sorted({code for labels in records for code in labels})
    absent = [0 if code.startswith(f"{complete}:") else -1 for code in codes]
    rows = [[labels.get(code, none) for code, none in zip(codes, absent)] for labels in records]
    return codes, np.array(rows, np.int8)


def counts(name: str, folder, complete: str) -> dict[str, int]:
    """How many records of a database are a yes, by label of the task."""
    task = tasks.find(name)
    found = [datasets.read(entry).labels for entry in datasets.entries(datasets.detect(folder), folder)]
    y, known = targets(task, *table_of(found, complete))
    assert known.all()
    return dict(zip(task.labels, y.sum(0).tolist()))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_is_sound(task):
    assert task is plugs.find("tasks", task.name).TASK
    assert task.metric
    assert Task(**json.loads(json.dumps(dataclasses.asdict(task)))) == task  # as a graft keeps it
    if task.kind in ("multiclass", "multilabel"):
        assert all(code.count(":") == 1 and code == code.strip() for codes in task.codes.values() for code in codes)
        assert all(task.codes.values())


def test_verhoeff_by_the_published_example():
    assert verhoeff("2363") == 0
    assert verhoeff("2366") != 0


def test_every_snomed_code_is_a_code():
    assert len(coded("snomed")) > 60
    assert [code for code in coded("snomed") if verhoeff(code)] == []


def test_every_scp_code_is_a_statement(shared_data):
    with open(shared_data / "ptb-xl" / "scp_statements.csv", newline="") as file:
        assert set(coded("scp")) <= {row[""] for row in csv.DictReader(file)}


def test_every_aha_code_is_a_statement_with_modifiers_of_its_kind():
    primary = {int(code.partition("+")[0]) for code in coded("aha")}
    modifier = {int(code.partition("+")[2]) for code in coded("aha") if "+" in code}
    assert primary <= set(range(1, 191)) and 103 not in primary and 164 not in primary
    assert modifier == {341, 362, 363, 367}  # bigeminal, depression, elevation, inversion
    assert set(AHA) <= set(FINDINGS)


def test_superclasses_are_those_of_the_database(shared_data):
    with open(shared_data / "ptb-xl" / "scp_statements.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["diagnostic"] == "1.0"]
    mine = {code: label for label, codes in tasks.find("superclass").codes.items() for code in codes}
    mine = {code.removeprefix("scp:"): label for code, label in mine.items() if code.startswith("scp:")}
    assert mine == {row[""]: row["diagnostic_class"] for row in rows}


def test_superclass_counts_of_ptb_xl(shared_data):
    expected = {"NORM": 225, "MI": 49, "STTC": 59, "CD": 57, "HYP": 25}
    assert counts("superclass", shared_data / "ptb-xl", "scp") == expected


def test_rhythm_and_af_counts_of_cinc2017(shared_data):
    assert counts("rhythm", shared_data / "cinc2017", "cinc2017") == {"N": 1421, "A": 208, "O": 691, "~": 80}
    assert counts("af", shared_data / "cinc2017", "cinc2017") == {"atrial fibrillation": 208}


def test_af_counts_of_ludb(shared_data):
    labels = [ludb.labels(entry.meta) for entry in datasets.entries("ludb", shared_data / "ludb")]
    y, known = targets(tasks.find("af"), *table_of(labels, "ludb"))
    assert y.sum() == 12 and known.all()


def test_snomed26_merges_four_pairs():
    task = tasks.find("snomed26")
    assert len(task.labels) == 26
    assert sum(len(codes) for codes in task.codes.values()) == 30
    assert sum("|" in label for label in task.labels) == 4


def test_a_finding_is_told_from_every_other():
    codes = list(tasks.find("findings").codes.values())
    assert len({frozenset(listed) for listed in codes}) == len(codes)


def test_findings_say_what_the_simulator_shows():
    scp = {code for code in CODES_OF_THE_SIMULATOR if code.startswith("scp:")}
    assert len(scp) > 25
    assert scp <= {code for codes in tasks.find("findings").codes.values() for code in codes}


def test_targets_by_hand():
    task = Task(
        "t", "multilabel", ("AF", "MI"), {"AF": ("scp:AFIB", "snomed:1", "snomed:2"), "MI": ("scp:AMI", "scp:IMI")}
    )
    codes = ["scp:IMI", "snomed:2", "scp:AFIB", "snomed:1", "scp:AMI", "other:x"]
    labels = np.array(
        [
            [1, -1, 0, -1, 0, 1],  # SCP known: no AF, MI by one of two codes
            [-1, 1, -1, 0, -1, 1],  # SNOMED known: AF by its second code; MI unknown
            [-1, 0, -1, 0, -1, 1],  # all SNOMED codes of AF are no
            [-1, 0, -1, -1, -1, 1],  # one of them is unknown
            [0, 1, 0, 1, -1, 1],  # a yes in one vocabulary beats a no in another; MI half known
            [0, 0, 0, -1, 0, 1],  # one vocabulary suffices for a no
        ],
        np.int8,
    )
    y, known = targets(task, codes, labels)
    assert y.tolist() == [[0, 1], [1, 0], [0, 0], [0, 0], [1, 0], [0, 0]]
    assert known.tolist() == [[1, 1], [1, 0], [1, 0], [0, 0], [1, 0], [1, 1]]
    assert y.dtype == np.int8 and known.dtype == bool


def test_targets_of_codes_that_the_store_has_not():
    task = Task("t", "multilabel", ("AF",), {"AF": ("scp:AFIB",)})
    y, known = targets(task, ["scp:NORM"], np.array([[1], [0]], np.int8))
    assert not y.any() and not known.any()


def test_multiclass_targets_need_exactly_one_yes():
    task = Task("t", "multiclass", ("a", "b"), {"a": ("own:a",), "b": ("own:b",)})
    y, known = targets(task, ["own:a", "own:b"], np.array([[1, 0], [1, 1], [0, 0], [-1, 1], [-1, -1]], np.int8))
    assert y.tolist() == [[1, 0], [0, 0], [0, 0], [0, 1], [0, 0]]
    assert known.tolist() == [[1, 1], [0, 0], [0, 0], [1, 1], [0, 0]]


def test_targets_of_a_task_without_labels_per_record():
    with pytest.raises(UsageError, match="waves"):
        targets(tasks.find("waves"), [], np.zeros((1, 0), np.int8))


def test_beat_classes_of_mitdb(shared_data):
    task = tasks.find("beats")
    symbols = np.concatenate([record.beats["symbol"] for record in datasets.records("mitdb", shared_data / "mitdb")])
    classes = beat_classes(task, symbols)
    found = {label: int((classes == k).sum()) for k, label in enumerate(task.labels)}
    assert found == {"N": 17880, "S": 597, "V": 1438, "F": 378, "Q": 2}


def test_a_beat_without_class_has_none():
    assert beat_classes(tasks.find("beats"), np.array([b"N", b"?", b"V"], "S1")).tolist() == [0, -1, 2]
    assert beat_classes(tasks.find("beats"), np.zeros(0, "S1")).shape == (0,)


def test_own_task_is_multiclass_where_records_have_one_label_each():
    codes = ["own:healthy", "scp:NORM", "own:sick"]
    store = SimpleNamespace(codes=codes, labels=np.array([[1, 1, 0], [0, -1, 1], [-1, 0, -1]], np.int8))
    task = tasks.find("own", store)
    assert (task.kind, task.labels) == ("multiclass", ("healthy", "sick"))
    store.labels[0, 2] = 1
    assert tasks.find("own", store).kind == "multilabel"


@pytest.mark.parametrize("store", [None, SimpleNamespace(codes=["scp:NORM"], labels=np.zeros((1, 1), np.int8))])
def test_own_task_without_own_labels(store):
    with pytest.raises(InputError, match="--labels"):
        tasks.find("own", store)


def test_task_from_yaml(tmp_path):
    path = tmp_path / "fast.yaml"
    path.write_text('kind: multiclass\nlabels:\n  slow: ["scp:SBRAD"]\n  fast: ["scp:STACH", "snomed:427084000"]\n')
    task = tasks.find(path)
    assert (task.name, task.kind, task.labels, task.metric) == ("fast", "multiclass", ("slow", "fast"), "macro f1")
    assert task.codes["fast"] == ("scp:STACH", "snomed:427084000")


def test_regression_from_yaml(tmp_path):
    path = tmp_path / "potassium.yml"
    path.write_text("name: K\nkind: regression\nvalue: potassium\n")
    assert tasks.find(str(path)) == Task("K", "regression", ("potassium",), value="potassium")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: [", "cannot be read"),
        ("- a\n- b\n", "mapping"),
        ("kind: multilabl\nlabels: {a: ['x:1']}", "did you mean 'multilabel'"),
        ("kind: multilabel\nlabel: {a: ['x:1']}", "did you mean 'labels'"),
        ("kind: multilabel\nlabels: {a: ['AFIB']}", "vocabulary"),
        ("kind: multilabel\nlabels: [a, b]", "mapping of label to codes"),
        ("kind: multilabel", "no labels"),
        ("kind: multiclass\nlabels: {a: 'x:1'}", "two labels"),
        ("kind: regression\nlabels: {a: 'x:1'}", "value"),
        ("kind: beats\nlabels: {a: 'x:1', b: 'x:2'}", "not beats"),
        ("labels: {a: 'x:1', b: 'x:2'}", "kind"),
    ],
)
def test_broken_yaml(tmp_path, text, says):
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        tasks.find(path)


def test_unknown_names_suggest_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="superclass"):
        tasks.find("superclas")
    with pytest.raises(InputError, match="cannot be read"):
        tasks.find(tmp_path / "absent.yaml")


def test_a_label_of_a_task_is_a_yes_or_no_and_several_exclude_each_other():
    fibrillation = tasks.find("rhythm/A")
    assert (fibrillation.name, fibrillation.kind, fibrillation.labels) == ("rhythm A", "multilabel", ("A",))
    codes, labels = ["cinc2017:A", "cinc2017:N"], np.array([[1, 0], [0, 1], [0, 0], [-1, -1]], np.int8)
    y, known = targets(fibrillation, codes, labels)
    assert y.tolist() == [[1], [0], [0], [0]] and known.tolist() == [[1], [1], [1], [0]]
    two, whole = tasks.find("rhythms/sinus rhythm+atrial fibrillation"), tasks.find("rhythms")
    assert (two.name, two.kind) == ("rhythms sinus rhythm atrial fibrillation", "multiclass")
    assert two.codes == {label: whole.codes[label] for label in ("sinus rhythm", "atrial fibrillation")}
    assert tasks.find("findings/atrial flutter+paced rhythm").kind == "multilabel"  # a record may have both
    assert tasks.find("rhythm/A") == fibrillation and Task(**dataclasses.asdict(two)) == two


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rhythms/atrial fibrilation", "no label 'atrial fibrilation'; did you mean 'atrial fibrillation'"),
        ("rhythm/A+X", "no label 'X'; known: N, A, O, ~"),
        ("rhythm/", "no label ''"),
        ("rhythm/A+A", "one of them twice"),
        ("rhytm/A", "did you mean 'rhythm'"),
        ("waves/P", "a waves task has no labels to take some of"),
        ("qrs/QRS", "a peaks task has no labels"),
        ("age/age", "a regression task has no labels"),
    ],
)
def test_parts_that_a_task_has_not(name, says):
    with pytest.raises(UsageError, match=says):
        tasks.find(name)
