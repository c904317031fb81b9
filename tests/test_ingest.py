"""ecgraft import: folders of one's own and public databases, broken files, interruptions."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ecgraft import datasets
from ecgraft.commands import ingest as command
from ecgraft.commands.ingest import ingest
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store
from made_records import noise

OWN = {"rate": 250, "unit": "mV", "leads": "I,II,III", "progress": False}


def folder(path: Path, count: int) -> Path:
    """`count` files of three leads, in two folders."""
    for i in range(count):
        place = path / ("a" if i % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"e{i:03d}.npy", noise(i))
    return path


def ids(store: Store) -> list[str]:
    return list(store.column("id"))


def test_own_files(tmp_path):
    source = folder(tmp_path / "clinic", 5)
    store = ingest(source, to=tmp_path / "s", **OWN)
    assert ids(store) == ["a/e001", "a/e003", "b/e000", "b/e002", "b/e004"]
    assert np.array_equal(store.record(2).signal, noise(0)) and store.leads(0) == ("I", "II", "III")
    assert set(store.column("source")) == {"clinic"} and set(store.number("rate")) == {250}
    assert (tmp_path / "s" / "skipped.csv").read_text().split() == ["record,reason"]


def test_own_labels(tmp_path, capsys):
    source = folder(tmp_path / "clinic", 4)
    labels = source / "labels.csv"  # beside the files: it is not taken for an ECG
    labels.write_text("file,patient,AF,QTc\ne000.npy,p,1,400\na/e001,p,0,\nb/e002.npy,q,,380\n")
    store = ingest(source, to=tmp_path / "s", labels=labels, **OWN)
    assert ids(store) == ["a/e001", "a/e003", "b/e000", "b/e002"] and store.codes == ["own:AF"]
    assert store.labels[:, 0].tolist() == [0, -1, 1, -1] and list(store.column("patient")) == ["p", "", "p", "q"]
    assert np.array_equal(store.number("QTc"), [np.nan, np.nan, 400, 380], equal_nan=True)
    labels.write_text("id,AF\ne999,1\n")
    with pytest.raises(InputError, match=r"1 of 1 ids fit no record: 'e999'"):
        ingest(source, to=tmp_path / "t", labels=labels, **OWN)
    assert not (tmp_path / "t").exists()


def test_what_is_broken_is_skipped_and_listed(tmp_path, capsys):
    source = folder(tmp_path / "clinic", 4)
    (source / "a" / "e001.npy").write_bytes((source / "a" / "e001.npy").read_bytes()[:900])
    (source / "b" / "empty.npy").touch()
    np.save(source / "b" / "flat.npy", np.full((3, 500), np.nan))
    (source / "notes.txt").write_text("nothing")
    store = ingest(source, to=tmp_path / "s", **(OWN | {"progress": True}))
    assert ids(store) == ["a/e003", "b/e000", "b/e002"]
    with open(tmp_path / "s" / "skipped.csv", newline="") as file:
        reasons = {row["record"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {"a/e001", "b/empty", "b/flat"} and "e001.npy" in reasons["a/e001"]
    said = capsys.readouterr().err
    assert "3 records skipped" in said and "not a format that ecgraft reads" in said and "3 records" in said


def test_all_broken(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"none of 1 records could be read. The first: .*x\.npy"):
        ingest(tmp_path, to=tmp_path / "s", **OWN)
    assert not (tmp_path / "s").exists()


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=source.name):
            ingest(source, to=tmp_path / "s", **OWN)
    with pytest.raises(UsageError):
        ingest(tmp_path / "empty", to=tmp_path / "s", limit=0)
    assert not (tmp_path / "s").exists()


def test_one_file(tmp_path):
    np.save(tmp_path / "x.npy", noise(0))
    assert ids(ingest(tmp_path / "x.npy", to=tmp_path / "s", **OWN)) == ["x"]


def test_a_second_import_adds_nothing(tmp_path, capsys, monkeypatch):
    source = folder(tmp_path / "clinic", 5)
    first = ingest(source, to=tmp_path / "s", **OWN)
    stamp = (tmp_path / "s" / "store.json").stat().st_mtime_ns
    assert ingest(source, to=tmp_path / "s", **OWN).fingerprint == first.fingerprint
    assert (tmp_path / "s" / "store.json").stat().st_mtime_ns == stamp
    np.save(source / "new.npy", noise(77))
    again = ingest(source, to=tmp_path / "s", **(OWN | {"progress": True}))
    assert sorted(ids(again)) == ["a/e001", "a/e003", "b/e000", "b/e002", "b/e004", "new"]
    assert "5 of them were in it already" in capsys.readouterr().err


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "SMALLEST", 3)
    source = folder(tmp_path / "clinic", 40)
    prints = {ingest(source, to=tmp_path / f"s{n}", workers=n, **OWN).fingerprint for n in (1, 2, 3)}
    assert len(prints) == 1


@pytest.mark.slow
def test_spawned_workers(tmp_path, monkeypatch):
    """As on macOS and Windows, and beside torch."""
    from ecgraft.store import parallel

    monkeypatch.setattr(parallel, "_context", lambda: parallel.multiprocessing.get_context("spawn"))
    monkeypatch.setattr(command, "SMALLEST", 3)
    source = folder(tmp_path / "clinic", 8)
    assert len(ingest(source, to=tmp_path / "s", workers=2, **OWN)) == 8


SLOW = """
import sys, time
from pathlib import Path
from ecgraft import formats
from ecgraft.commands import ingest as command
from ecgraft.cli import main
read = formats.read
def slow(*words, **options):
    time.sleep(0.02)
    return read(*words, **options)
formats.read, command.SMALLEST = slow, 5
words = ["--to", sys.argv[2], "--rate", "250", "--unit", "mV", "--leads", "I,II,III"]
main(["import", sys.argv[1], *words, *sys.argv[3:]])
"""


def start(source: Path, to: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-c", SLOW, str(source), str(to), *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def until_some_are_read(to: Path, child: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while len(list(to.glob(".building/chunk-*"))) < 2:
        assert time.monotonic() < until and child.poll() is None
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_and_repeated(tmp_path, kind, workers):
    source, to = folder(tmp_path / "clinic", 60), tmp_path / "s"
    child = start(source, to, "--workers", workers)
    until_some_are_read(to, child)
    if kind == signal.SIGINT:
        os.killpg(child.pid, kind)  # as a terminal does it: to leader and workers alike
        assert child.wait() == 130 and "run the same command again" in child.stderr.read()
    else:
        child.send_signal(kind)
        child.wait()
    with pytest.raises(InputError, match="interrupted; run it again"):
        Store(to)
    again = start(source, to, "--workers", workers)
    assert again.wait() == 0 and "going on" in again.stderr.read()
    assert Store(to).fingerprint == ingest(source, to=tmp_path / "t", **OWN).fingerprint
    assert sorted(p.name.partition("-")[0] for p in to.iterdir()) == [
        ".lock",
        "import",
        "import",
        "signals",
        "skipped.csv",
        "store.json",
        "table",
    ]


def test_a_full_disk(tmp_path, monkeypatch):
    from ecgraft.store import chunks

    def no_space(*_):
        raise OSError(28, "No space left on device")

    source = folder(tmp_path / "clinic", 5)
    with monkeypatch.context() as patch:
        patch.setattr(chunks.Shards, "append", no_space)
        with pytest.raises(OSError, match="No space"):
            ingest(source, to=tmp_path / "s", **OWN)
    with pytest.raises(InputError, match="interrupted"):
        Store(tmp_path / "s")
    assert len(ingest(source, to=tmp_path / "s", **OWN)) == 5


def test_a_public_database(shared_data, tmp_path, capsys):
    source = shared_data / "ptb-xl"
    store = ingest(source, to=tmp_path / "s", limit=40)
    assert "CC BY 4.0" in capsys.readouterr().err
    entries = datasets.entries("ptb_xl", source)[:40]
    for i in (0, 17, 39):
        assert np.array_equal(store.record(i).signal, datasets.read(entries[i]).signal)  # to the last bit
        assert store.record(i).report == datasets.read(entries[i]).report
    assert set(store.number("rate")) == {500}
    assert set(ingest(source, to=tmp_path / "low", rate=100, limit=3, progress=False).number("rate")) == {100}
    with pytest.raises(UsageError, match="unit"):
        ingest(source, to=tmp_path / "t", unit="mV", progress=False)


def test_databases_beside_each_other(shared_data, tmp_path):
    for name in ("cpsc2018", "cpsc2021"):
        store = ingest(shared_data / name, to=tmp_path / "s", limit=3, progress=False)
    assert len(store) == 6 and len(set(store.column("source"))) == 2
    assert json.loads((tmp_path / "s" / "store.json").read_text())["records"] == 6


def test_a_folder_that_may_not_be_read_does_not_end_the_import(tmp_path, monkeypatch):
    """Not even while databases are looked for."""
    source, real = folder(tmp_path / "clinic", 3), datasets.inside

    def inside(place):
        raise PermissionError(13, "Permission denied", str(place / "closed"))

    monkeypatch.setattr(datasets, "inside", inside)
    assert len(ingest(source, to=tmp_path / "s", **OWN)) == 3
    assert real(source) == {}


def test_files_beside_public_databases_can_be_read_as_ones_own(tmp_path, monkeypatch):
    source = folder(tmp_path / "clinic", 3)
    monkeypatch.setattr(datasets, "inside", lambda place: {"mitdb": place / "a"})
    with pytest.raises(UsageError, match="as files of your own with --dataset none"):
        ingest(source, to=tmp_path / "s", **OWN)
    assert len(ingest(source, to=tmp_path / "s", dataset="none", **OWN)) == 3


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_umlauts_of_macos_and_of_spreadsheets_are_the_same(tmp_path, forms):
    import unicodedata

    file, said = (unicodedata.normalize(form, "Müller, Größe 3.5.") for form in forms)
    (tmp_path / "clinic").mkdir()
    np.save(tmp_path / "clinic" / f"{file}.npy", noise(0))
    (tmp_path / "l.csv").write_text(f'id,AF\n"{said}",1\n', encoding="utf-8")
    store = ingest(str(tmp_path / "clinic"), to=str(tmp_path / "s"), labels=str(tmp_path / "l.csv"), **OWN)
    assert store.labels.tolist() == [[1]] and ids(store) == ["Müller, Größe 3.5."]
