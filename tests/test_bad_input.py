"""What goes wrong in real life, from end to end: the status, and a message that names the place and says what to do.

Status 1: failed, 2: wrong use, 130: interrupted.
"""

from __future__ import annotations

import csv
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import torch

import ecgraft
from ecgraft.commands import ingest as command
from ecgraft.model import Model
from ecgraft.nn import files
from ecgraft.store import Store
from ecgraft.store.chunks import Shards
from ecgraft.training import log, loop
from made_files import broken, ecg, save
from made_trouble import fill_disk, interrupt
from test_cli import run

TINY = ["--encoder", "resnet18", "--steps", "3", "batch=4", "seconds=2"]
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def said(capsys, *words) -> tuple[int, str]:
    """Status, and what was printed as one line."""
    status, printed = run(capsys, *map(str, words))
    return status, " ".join(printed.split())


def save_labels(path, rows: dict, names: str = "id,label"):
    path.write_text("\n".join([names, *(f"{key},{value}" for key, value in rows.items())]))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("bad")


@pytest.fixture(scope="module")
def folder(place):
    """Twenty files e00.npz ... of the user's own."""
    (place / "mine").mkdir()
    for i in range(20):
        save(place / "mine" / f"e{i:02d}.npz", ecg(i))
    return place / "mine"


@pytest.fixture(scope="module")
def labels(place):
    return save_labels(place / "labels.csv", {f"e{i:02d}": "AF" if i % 2 else "SR" for i in range(20)})


@pytest.fixture(scope="module")
def store(place, folder, labels):
    ecgraft.ingest(folder, to=place / "store", labels=labels, progress=False)
    return place / "store"


@pytest.fixture(scope="module")
def model(place, store):
    given = {"steps": 3, "batch": 4, "seconds": 2, "progress": False}
    ecgraft.adapt(store, task="own", to=place / "model", encoder="resnet18", **given)
    return place / "model"


@pytest.fixture(scope="module")
def simulated(place):
    ecgraft.simulate(to=place / "simulated", count=8, seconds=3.0, rate=250.0, progress=False)
    return place / "simulated"


def test_predict_and_info_name_the_broken_file_and_what_is_wrong(capsys, tmp_path, model):
    hints = broken(tmp_path / "bad") | {"nowhere.csv": ["no such file"]}
    for name, words in hints.items():
        verbs = {"predict": ["--model", model], "info": []} if name != "nan.npz" else {"predict": ["--model", model]}
        for verb, more in verbs.items():
            status, text = said(capsys, verb, tmp_path / "bad" / name, *more)
            assert status == 1 and name.partition(".")[0] in text and str(tmp_path) in text, (verb, name, text)
            assert not [word for word in words if word not in text], (verb, name, text)


def test_import_skips_what_is_broken_and_lists_it(capsys, tmp_path):
    hints = broken(tmp_path / "bad")
    del hints["words.csv"]  # no other file there ends in .csv, so it is taken for something else
    status, text = said(capsys, "import", tmp_path / "bad", "--to", tmp_path / "s")
    assert status == 0 and f"{len(hints)} records skipped, listed in" in text and "skipped.csv" in text
    with open(tmp_path / "s" / "skipped.csv", newline="") as file:
        reasons = {row["record"].partition(".")[0]: row["reason"] for row in csv.DictReader(file)}
    assert list(Store(tmp_path / "s").column("id")) == ["whole"]
    assert reasons.keys() == {name.partition(".")[0] for name in hints}
    for name, words in hints.items():
        assert not [word for word in words if word not in reasons[name.partition(".")[0]]], name


@pytest.mark.parametrize("words", [["--rate", "0"], ["--unit", "furlong"], ["--limit", "0"]])
def test_options_that_cannot_be_are_wrong_use(capsys, tmp_path, folder, words):
    status, text = said(capsys, "import", folder, "--to", tmp_path / "s", *words)
    assert status == 2 and words[1] in text and not (tmp_path / "s").exists()


def test_nothing_readable_leaves_no_store(capsys, tmp_path, store, folder):
    (tmp_path / "empty").mkdir()
    status, text = said(capsys, "import", tmp_path / "empty", "--to", tmp_path / "s")
    assert status == 1 and "empty: no ECG file in it" in text and "WFDB" in text
    np.save(tmp_path / "empty" / "x.npy", ecg(0, leads=3))
    for to in (tmp_path / "s", shutil.copytree(store, tmp_path / "old")):
        status, text = said(capsys, "import", tmp_path / "empty", "--to", to, "--rate", 250, "--unit", "mV")
        assert status == 1 and "none of 1 records could be read" in text and "--leads" in text
    assert not (tmp_path / "s").exists() and len(Store(tmp_path / "old")) == 20


def test_a_store_inside_the_folder_is_not_imported_again(capsys, tmp_path, folder):
    source = shutil.copytree(folder, tmp_path / "mine")
    for _ in range(2):
        assert said(capsys, "import", source, "--to", source / "store")[0] == 0
    assert said(capsys, "import", source, "--to", tmp_path / "s")[0] == 0
    assert len(Store(source / "store")) == len(Store(tmp_path / "s")) == 20
    status, text = said(capsys, "import", tmp_path / "s", "--to", tmp_path / "t")
    assert status == 2 and "a store already" in text


def test_a_folder_of_databases_is_not_taken_for_files_of_ones_own(capsys, tmp_path, folder):
    """Their files could be read, but not their labels."""
    (tmp_path / "all" / "cpsc2018").mkdir(parents=True)
    (tmp_path / "all" / "cpsc2018" / "REFERENCE.csv").write_text("Recording,First_label,Second_label,Third_label\n")
    shutil.copy(folder / "e00.npz", tmp_path / "all" / "cpsc2018")
    (tmp_path / "all" / "ludb").mkdir()
    (tmp_path / "all" / "ludb" / "ludb.csv").write_text("ID,Sex,Age,Rhythms\n")
    status, text = said(capsys, "import", tmp_path / "all", "--to", tmp_path / "s")
    assert status == 2 and "ludb" in text and "import each" in text and not (tmp_path / "s").exists()


@pytest.mark.parametrize("case", ["nan", "part", "flat", "clipped", "unknown", "unnamed"])
def test_predict_says_what_is_wrong_with_a_lead(capsys, tmp_path, model, case):
    x, leads = ecg(3, leads=3), ["I", "II", "V1"]
    if case in ("nan", "part"):
        x[2, 100 if case == "part" else 0 : 400 if case == "part" else None] = np.nan
    elif case in ("flat", "clipped"):
        x[2] = 0 if case == "flat" else np.minimum(x[2], 0.5)
    else:
        x, leads = (x[:1], [""]) if case == "unnamed" else (x, ["I", "II", "V9"])
    note = {
        "nan": "lead V1 has no samples",
        "part": "lead V1 has no samples for 40% of its time",
        "flat": "lead V1 is flat at 0 mV",
        "clipped": "lead V1 is clipped at 0.5 mV",
        "unknown": "not used: lead V9",
        "unnamed": "lead ECG is taken as II",
    }[case]
    file = save(tmp_path / "x.npz", x, leads=leads)
    status, _ = said(capsys, "predict", file, "--model", model, "--to", tmp_path / "x.json")
    notes = json.loads((tmp_path / "x.json").read_text())[0]["notes"]
    notes = [text for text in notes if "derived" not in text]
    assert status == 0 and len(notes) == 1 and notes[0].startswith(note)
    assert said(capsys, "import", file, "--to", tmp_path / "s")[0] == 0
    assert Store(tmp_path / "s").leads(0) == tuple(name or "ECG" for name in leads)  # kept as they are called


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_labels_with_any_delimiter_and_path(capsys, tmp_path, folder, delimiter):
    rows = [["id", "AF", "Größe", "note"], ["e03.npz", "1", "1,7" if delimiter == ";" else "1.7", "x"]]
    rows += [[str(folder / "e04.npz"), "no", "", ""], [str(folder.resolve() / "e05"), "", "2", ""]]
    (tmp_path / "l.csv").write_text("\r\n".join(delimiter.join(row) for row in rows), "utf-8-sig")
    status, text = said(capsys, "import", folder, "--to", tmp_path / "s", "--labels", tmp_path / "l.csv")
    assert status == 0 and "l.csv: labels AF; numbers Größe" in text and "only kept as text: note (such as 'x')" in text
    assert "17 of 20 records have no row" in text
    found = Store(tmp_path / "s")
    assert found.labels[3:6, 0].tolist() == [1, 0, -1] and found.number("Größe")[[3, 5]].tolist() == [1.7, 2]


@pytest.mark.parametrize(
    "text, words",
    [
        ("id,AF\ne01,1\ne77,0\n", ["1 of 2 ids fit no record: 'e77'", "name or path", "'e00.npz'"]),
        ("id,AF\ne01,1\ne02,0\ne01,0\n", ["line 4", "'e01' stood in line 2 already"]),
        ("id,AF\ne01,1\ne01.npz,0\n", ["two ids fit e01.npz"]),
        ("number,AF\ne01,1\n", ["no column `id`", "its columns are number, AF", "call the one"]),
        ("e01,1\ne02,0\n", ["no column `id`", "The first line must name the columns"]),
        ("id,AF\n", ["it needs a row for each record"]),
        ("id,sex\ne01,female\ne02,7\n", ["line 3", "sex '7'", "F, M"]),
        ("PK\3\4 a workbook", ["workbook; save its sheet as CSV"]),
        (None, ["No such file"]),
    ],
)
def test_labels_that_cannot_be_used(capsys, tmp_path, folder, text, words):
    if text is not None:
        (tmp_path / "l.csv").write_text(text)
    status, printed = said(capsys, "import", folder, "--to", tmp_path / "s", "--labels", tmp_path / "l.csv")
    assert status == 1 and "l.csv" in printed and not [word for word in words if word not in printed], printed
    assert not (tmp_path / "s").exists()


def test_a_table_without_labels_says_so(capsys, tmp_path, folder):
    """One odd cell makes text of a column of 1 and 0: seen at the import, and again where labels are needed."""
    table = save_labels(tmp_path / "l.csv", {"e01": 1, "e02": 0, "e03": "maybe"}, "id,AF")
    status, text = said(capsys, "import", folder, "--to", tmp_path / "s", "--labels", table)
    assert status == 0 and "no label in it" in text and "AF (such as 'maybe')" in text
    status, text = said(capsys, "adapt", tmp_path / "s", "--task", "own", "--to", tmp_path / "m", *TINY)
    assert status == 1 and "no labels of your own" in text and "import it with --labels" in text


def test_classes_without_a_positive_record(capsys, tmp_path, folder):
    """VT is yes in the test part alone, then everything is."""
    parts = ["train"] * 8 + ["validation"] * 4 + ["test"] * 8
    for case, yes in {"one": lambda i: i % 2, "all": lambda i: int(i > 11)}.items():
        rows = {f"e{i:02d}": f"{part},{yes(i)},{int(i > 11)}" for i, part in enumerate(parts)}
        table = save_labels(tmp_path / f"{case}.csv", rows, "id,split,AF,VT")
        assert said(capsys, "import", folder, "--to", tmp_path / case, "--labels", table)[0] == 0
    to = tmp_path / "m"
    status, text = said(capsys, "adapt", tmp_path / "one", "--task", "own", "--to", to, *TINY)
    assert status == 1 and "VT has 0" in text and "rare=note" in text and not (to / "encoder.safetensors").exists()
    status, text = said(capsys, "adapt", tmp_path / "one", "--task", "own", "--to", to, *TINY, "rare=note")
    assert status == 0 and "VT has 0: too few to learn from" in text
    assert Model.load(to).graft("own").task.labels == ("AF", "VT")
    status, text = said(capsys, "adapt", tmp_path / "all", "--task", "own", "--to", tmp_path / "n", *TINY)
    assert status == 1 and "AF has 0, VT has 0" in text and "Label more records" in text
    assert not (tmp_path / "n" / "encoder.safetensors").exists()


def test_a_task_that_the_store_has_no_labels_for(capsys, tmp_path, store, simulated):
    hints = {
        (store, "rhythm"): ["cinc2017:A", "it has own:AF, own:SR", "--labels"],
        (store, "waves"): ["annotated waves", "ecgraft simulate"],
        (store, "age"): ["column of numbers 'age'"],
        (simulated, "own"): ["no labels of your own", "import it with --labels"],
    }
    for (where, task), words in hints.items():
        status, text = said(capsys, "adapt", where, "--task", task, "--to", tmp_path / "m", *TINY)
        assert status == 1 and where.name in text and task in text
        assert not [word for word in words if word not in text], text


@pytest.mark.parametrize(
    "words, hint",
    [
        (["adapt", "STORE", "--task", "rythm", "--to", "NEW", *TINY], "did you mean 'rhythm'"),
        (["adapt", "STORE", "--task", "own", "--to", "NEW", "--encoder", "resnet81"], "did you mean 'resnet18'"),
        (["adapt", "STORE", "--task", "own", "--to", "NEW", "--adapter", "liner", *TINY], "did you mean 'linear'"),
        (["adapt", "STORE", "--task", "own", "--to", "NEW", *TINY, "bacth=4"], "did you mean 'batch'"),
        (["adapt", "STORE", "--task", "own", "--to", "NEW", *TINY[:-1], "seconds=-2"], "greater than 0"),
        (["adapt", "STORE", "--task", "own", "--to", "NEW", *TINY, "--name", "../own"], "letters, digits"),
        (["adapt", "STORE", "--task", "own", "--to", "STORE", *TINY], "give a new folder"),
        (["evaluate", "STORE", "--model", "MODEL", "--task", "onw", "--to", "NEW"], "did you mean 'own'"),
        (["evaluate", "STORE", "--model", "MODEL", "--task", "own", "--to", "NEW", "--part", "tset"], "'test'"),
        (["evaluate", "STORE", "--model", "MODEL", "--task", "own", "--to", "NEW", "--replicates", "0"], "at least 1"),
        (["predict", "FILE", "--model", "MODEL", "--task", "onw"], "did you mean 'own'"),
        (["import", "FOLDER", "--to", "NEW", "--dataset", "ptbxl"], "did you mean 'ptb_xl'"),
        (["import", "FOLDER", "--to", "FOLDER"], "give a new folder"),
    ],
)
def test_wrong_names_are_status_2_and_suggest_the_nearest(capsys, tmp_path, folder, store, model, words, hint):
    places = {"STORE": store, "MODEL": model, "FOLDER": folder, "NEW": tmp_path / "new", "FILE": folder / "e00.npz"}
    status, text = said(capsys, *(places.get(word, word) for word in words))
    assert status == 2 and hint in text and not (tmp_path / "new").exists()


def test_a_graft_of_another_encoder_is_refused(capsys, tmp_path, folder, store, model):
    given = ["adapt", store, "--task", "own", "--to", tmp_path / "m", *TINY, "--seed", 7]
    assert said(capsys, *given)[0] == 0
    shutil.copy(model / "grafts" / "own.safetensors", tmp_path / "m" / "grafts" / "foreign.safetensors")
    status, text = said(capsys, "predict", folder / "e00.npz", "--model", tmp_path / "m")
    assert status == 1 and "'own' stands on encoder" in text and "adapt the task again" in text
    status, text = said(capsys, "adapt", store, "--task", "own", "--to", model, *TINY, "--seed", 7)
    assert status == 1 and "another encoder; choose a new folder" in text


def test_a_damaged_model_is_named(capsys, tmp_path, folder, model):
    def cut(path):
        path.write_bytes(path.read_bytes()[:-1000])

    def foreign(path):
        path.write_bytes(b"PK not a model")

    def stripped(path):
        tensors, header = files.load(path)
        files.save(path, tensors, {key: header[key] for key in ("kind", "format_version")})

    def narrowed(path):
        tensors, header = files.load(path)
        files.save(path, {key: value[:1] if value.ndim else value for key, value in tensors.items()}, header)

    for name in ("encoder.safetensors", "grafts/own.safetensors"):
        for damage in (cut, foreign, stripped, narrowed):
            to = shutil.copytree(model, tmp_path / damage.__name__ / name.partition(".")[0])
            damage(to / name)
            status, text = said(capsys, "predict", folder / "e00.npz", "--model", to)
            assert status == 1 and (name in text or "graft 'own'" in text), text


IMPORT_WRITES = {"first": (os, "fsync", 0), "samples": (Shards, "append", 17), "chunk": (np, "save", 2)}
IMPORT_WRITES |= {"table": (os, "fsync", 3), "last": (os, "replace", 2)}


@pytest.mark.parametrize("write", IMPORT_WRITES)
def test_a_full_disk_in_import(capsys, tmp_path, folder, labels, store, write, monkeypatch):
    """Of a new store nothing opens; one that was there stays as it was."""
    old, source = shutil.copytree(store, tmp_path / "old"), tmp_path / "more"
    source.mkdir()
    for i in range(18):
        save(source / f"m{i}.npz", ecg(100 + i))
    for words in ([folder, "--to", tmp_path / "new", "--labels", labels], [source, "--to", old]):
        with monkeypatch.context() as patch:
            fill_disk(patch, *IMPORT_WRITES[write])
            status, text = said(capsys, "import", *words)
        assert status == 1 and f"no space left on the disk ({words[2]}); free some and run" in text
        status, text = said(capsys, "info", words[2])
        assert "interrupted; run it again" in text if status else words[2] == old and "records 20" in text
        assert said(capsys, "import", *words)[0] == 0
    assert Store(tmp_path / "new").fingerprint == Store(store).fingerprint and len(Store(old)) == 38


ADAPT_WRITES = {"cache": (Shards, "append", 3), "checkpoint": (pathlib.Path, "write_bytes", 0)}
ADAPT_WRITES |= {"encoder": (pathlib.Path, "write_bytes", 1), "graft": (pathlib.Path, "write_bytes", 2)}


@pytest.mark.slow
@pytest.mark.parametrize("write", ADAPT_WRITES)
def test_a_full_disk_in_adapt(capsys, tmp_path, folder, store, model, write, monkeypatch):
    to, own = tmp_path / "m", shutil.copytree(store, tmp_path / "s", ignore=shutil.ignore_patterns("cache"))
    words = ["adapt", own, "--task", "own", "--to", to, *TINY]
    with monkeypatch.context() as patch:
        fill_disk(patch, *ADAPT_WRITES[write])
        status, text = said(capsys, *words)
    assert status == 1 and f"no space left on the disk ({to} or {own})" in text
    status, text = said(capsys, "predict", folder / "e00.npz", "--model", to)
    assert status == 1 and ("no model there" in text or "no graft yet" in text)
    taken = []
    monkeypatch.setattr(loop._Run, "take_step", (lambda f: lambda *a: taken.append(1) or f(*a))(loop._Run.take_step))
    assert said(capsys, *words)[0] == 0
    assert len(taken) == (0 if write in ("encoder", "graft") else 3)  # what was learnt is not lost
    assert same_tensors(to, model)


def same_tensors(one, two) -> bool:
    """Whether two models have the same graft, to the last bit."""
    a, b = (files.load(where / "grafts" / "own.safetensors")[0] for where in (one, two))
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_full_disk_in_evaluate(capsys, tmp_path, store, model, monkeypatch):
    words = ["evaluate", store, "--model", model, "--task", "own", "--to", tmp_path / "r", "--replicates", 5]
    with monkeypatch.context() as patch:
        fill_disk(patch, pathlib.Path, "write_text", 0)
        status, text = said(capsys, *words)
    assert status == 1 and f"no space left on the disk ({tmp_path / 'r'}" in text
    assert not (tmp_path / "r" / "report.json").exists() and not (tmp_path / "r" / "report.html").exists()
    assert said(capsys, *words)[0] == 0 and (tmp_path / "r" / "report.html").stat().st_size > 1000


@POSIX
@pytest.mark.slow
def test_ctrl_c_in_import(capsys, tmp_path, folder, labels, store, monkeypatch):
    to = tmp_path / "s"
    words = ["import", folder, "--to", to, "--labels", labels]
    interrupt(words, lambda: len(list(to.glob(".building/chunk-*"))) > 2)
    status, text = said(capsys, "info", to)
    assert status == 1 and "interrupted; run it again" in text
    monkeypatch.setattr(command, "SMALLEST", 2)  # records in a chunk, as in the process that was interrupted
    status, text = said(capsys, *words)
    assert status == 0 and "were read before an interruption; going on" in text
    assert Store(to).fingerprint == Store(store).fingerprint


@POSIX
@pytest.mark.slow
def test_ctrl_c_in_training(capsys, tmp_path, store):
    """The line of a step that was taken before the interruption is marked: it would be gone if it were taken again."""
    words = ["adapt", store, "--task", "own", *TINY, "--steps=60", "--to"]
    note, threads = tmp_path / "m" / "training" / "own" / "log.jsonl", torch.get_num_threads()
    interrupt([*words, tmp_path / "m"], lambda: note.exists() and len(log.read(note)) > 1)
    before = log.read(note)
    assert 10 <= before[-1]["step"] < 60 and not (tmp_path / "m" / "encoder.safetensors").exists()
    note.write_text(note.read_text().replace('{"step": 10,', '{"step": 10, "mark": 1,'))
    torch.set_num_threads(1)
    try:
        assert said(capsys, *words, tmp_path / "m")[0] == said(capsys, *words, tmp_path / "whole")[0] == 0
    finally:
        torch.set_num_threads(threads)
    assert log.read(note)[0]["mark"] == 1 and log.read(note)[-1]["step"] == 60
    assert same_tensors(tmp_path / "m", tmp_path / "whole")
