"""What an import says of each file of one's own; several records in a file; patients as hashes."""

from __future__ import annotations

import csv
import os
import stat

import numpy as np
import pytest

from ecgraft.commands.ingest import ingest
from ecgraft.record import InputError, UsageError
from ecgraft.store import remove_patient
from made_files import ecg, save, save_wfdb

QUIET = {"progress": False}


def account(store) -> dict[str, dict]:
    with open(store.path / "import-report.csv", newline="", encoding="utf-8") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def clinic(folder):
    """Files of several kinds, one in microvolts that says millivolt, one broken, one that is no ECG."""
    folder.mkdir()
    save(folder / "a.npz", ecg(0))
    save(folder / "large.npz", 1000 * ecg(1))
    save(folder / "half.npz", ecg(2)).write_bytes(b"PK\x03\x04 .npy" + b"x" * 300)
    save_wfdb(folder, "w")
    (folder / "letter.pdf").write_bytes(b"%PDF-1.4")
    return folder


def test_every_file_is_accounted_for(tmp_path, capsys):
    store = ingest(clinic(tmp_path / "clinic"), to=tmp_path / "s")
    said = account(store)
    assert {name: row["status"] for name, row in said.items()} == {
        **{"a.npz": "read", "large.npz": "read", "w.hea": "read", "half.npz": "refused", "letter.pdf": "no ECG"}
    }
    row = said["w.hea"]
    assert (row["format"], row["leads"], row["rate"], row["seconds"]) == ("wfdb", "I II", "250", "3")
    assert row["unit"] == "mV" and float(row["resolution"].split(" to ")[0]) > 0 and row["reason"] == ""
    assert "check its unit and gain" in said["large.npz"]["doubts"] and not said["a.npz"]["doubts"]
    assert said["half.npz"]["reason"].startswith("an NPZ that is cut short")  # the file has a column of its own
    assert "import-report.html" in capsys.readouterr().err


def test_the_page_draws_one_of_each_kind_and_escapes_names(tmp_path):
    folder = clinic(tmp_path / "clinic")
    save(folder / "<b>x.npz", ecg(3, leads=3))
    ingest(folder, to=tmp_path / "s", **QUIET)
    page = (tmp_path / "s" / "import-report.html").read_text(encoding="utf-8")
    assert page.count('<svg class="ecg"') == 3 and "<b>x" not in page and "&lt;b&gt;x" in page
    assert "not a medical device" in page and "letter.pdf" not in page and ".pdf 1" in page
    assert "half.npz" in page and "check its unit and gain" in page


def test_no_account_of_a_public_database_and_none_after_removal(tmp_path):
    folder = tmp_path / "clinic"
    folder.mkdir()
    for i in range(3):
        save(folder / f"{i}.npz", ecg(i))
    (tmp_path / "labels.csv").write_text("id,patient\n0,p\n1,q\n2,q\n")
    ingest(folder, to=tmp_path / "s", labels=tmp_path / "labels.csv", **QUIET)
    assert (tmp_path / "s" / "import-report.csv").exists()
    remove_patient(tmp_path / "s", "p")
    assert not list((tmp_path / "s").glob("import-report*"))


def test_a_file_of_many_records_is_a_record_for_each(tmp_path):
    """(N, T, C), as machine learners keep their data; rows of the label table are found by their number."""
    folder = tmp_path / "own"
    folder.mkdir()
    stack = np.stack([ecg(i).T for i in range(4)])  # (4, 750, 2)
    np.save(folder / "x.npy", stack)
    (tmp_path / "y.csv").write_text("id,AF\n0,1\n1,0\n2,1\n3,0\n")
    store = ingest(
        folder, to=tmp_path / "s", labels=tmp_path / "y.csv", rate=250, unit="mV", leads="I,II", progress=False
    )
    assert list(store.column("id")) == ["x/0", "x/1", "x/2", "x/3"] and store.labels[:, 0].tolist() == [1, 0, 1, 0]
    for i in range(4):
        np.testing.assert_allclose(store.record(i).signal, stack[i].T, atol=1e-3)
    assert len(account(store)) == 1  # by file; the page and the table have a row for each record
    with open(store.path / "import-report.csv", newline="") as file:
        assert [row["record"] for row in csv.DictReader(file)] == ["x/0", "x/1", "x/2", "x/3"]


def test_patients_are_hashes_under_the_key(tmp_path, capsys):
    import made_muse

    folder, key = tmp_path / "clinic", tmp_path / "keys" / "clinic.key"
    folder.mkdir()
    for i, number in enumerate(("12345", "12345", "67890")):
        made_muse.save(folder / f"e{i}.xml", ecg(i), 250.0, ("I", "II"), patient=f"<PatientID>{number}</PatientID>")
    assert set(ingest(folder, to=tmp_path / "without", **QUIET).column("patient")) == {""}
    store = ingest(folder, to=tmp_path / "s", patient_key=key)
    assert "Keep it" in capsys.readouterr().err and len(key.read_text().strip()) == 64
    assert os.name == "nt" or stat.S_IMODE(key.stat().st_mode) == 0o600
    first, second, third = store.column("patient")
    assert first == second != third and first.startswith("key:")
    again = ingest(folder, to=tmp_path / "t", patient_key=key, **QUIET)
    assert list(again.column("patient")) == [first, second, third]
    for path in (tmp_path / "s").rglob("*"):
        assert not path.is_file() or (
            b"12345" not in path.read_bytes() and key.read_bytes().strip() not in path.read_bytes()
        )


def test_patients_of_a_label_table_are_hashed_too(tmp_path):
    folder, key = tmp_path / "clinic", tmp_path / "k"
    folder.mkdir()
    save(folder / "a.npz", ecg(0))
    (tmp_path / "l.csv").write_text("id,patient\na,Smith 12\n")
    store = ingest(folder, to=tmp_path / "s", labels=tmp_path / "l.csv", patient_key=key, **QUIET)
    assert store.record(0).patient.startswith("key:")


def test_keys_that_are_no_secret_or_travel_with_the_store(tmp_path):
    folder = clinic(tmp_path / "clinic")
    (tmp_path / "k").write_text("short")
    with pytest.raises(UsageError, match="5 bytes; a key has 16"):
        ingest(folder, to=tmp_path / "s", patient_key=tmp_path / "k", **QUIET)
    with pytest.raises(UsageError, match="outside of the store"):
        ingest(folder, to=tmp_path / "s", patient_key=tmp_path / "s" / "k", **QUIET)
    assert not (tmp_path / "s").exists()


def test_median_beats_in_place_of_rhythms(tmp_path):
    folder = tmp_path / "clinic"
    folder.mkdir()
    save(folder / "a.npz", ecg(0))
    with pytest.raises(InputError, match="median"):
        ingest(folder, to=tmp_path / "s", median=True, **QUIET)
    assert not (tmp_path / "s").exists()


def test_names_in_another_encoding_with_line_ends_and_colours(tmp_path, capsys):
    folder = clinic(tmp_path / "clinic")
    strange = ["new\nline.npz", "esc\x1b[31mred.npz", os.fsdecode(b"latin\xfc.npz")]
    try:
        for i, name in enumerate(strange):
            save(folder / "x.npz", ecg(5 + i)).rename(folder / name)
    except OSError:
        pytest.skip("this file system has no such names")
    (folder / strange[1]).write_bytes(b"PK\x03\x04 .npy" + b"x" * 300)
    store = ingest(folder, to=tmp_path / "s")
    assert len(store) == 5 and "latin?.npz" in account(store)
    assert "\x1b" not in capsys.readouterr().err and b"\x1b" not in (store.path / "skipped.csv").read_bytes()


@pytest.mark.skipif(not hasattr(os, "mkfifo") or os.name == "nt", reason="links and pipes")
def test_what_is_not_looked_into_is_told(tmp_path, capsys, monkeypatch):
    folder = clinic(tmp_path / "clinic")
    (tmp_path / "far").mkdir()
    save(tmp_path / "far" / "far.npz", ecg(9))
    (folder / "loop").symlink_to(folder)
    (folder / "elsewhere").symlink_to(tmp_path / "far")
    (folder / "gone.npz").symlink_to(tmp_path / "nowhere.npz")
    (folder / "link.npz").symlink_to(tmp_path / "far" / "far.npz")
    os.mkfifo(folder / "pipe.npz")
    (folder / "closed").mkdir()
    real = os.scandir

    def scandir(place="."):
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    said = account(ingest(folder, to=tmp_path / "s"))
    unseen = {name: row["reason"] for name, row in said.items() if row["status"] == "not looked into"}
    assert set(unseen) == {"loop", "elsewhere", "gone.npz", "closed"} and said["link.npz"]["status"] == "read"
    assert "not followed" in unseen["loop"] and "not there" in unseen["gone.npz"] and "Permission" in unseen["closed"]
    assert "closed: Permission denied: this folder was not looked into" in capsys.readouterr().err
    assert "What was not looked into" in (tmp_path / "s" / "import-report.html").read_text(encoding="utf-8")


def test_a_reason_is_told_once_with_the_number_of_records(tmp_path, capsys):
    folder = tmp_path / "own"
    folder.mkdir()
    np.save(folder / "x.npy", np.stack([ecg(i).T for i in range(4)]))  # does not say its rate
    save(folder / "a.npz", ecg(0))
    ingest(folder, to=tmp_path / "s")
    said = capsys.readouterr().err
    assert "4 records skipped" in said and said.count("--rate 500") == 1 and "x/0 and 3 more: the file does not" in said
    page = (tmp_path / "s" / "import-report.html").read_text(encoding="utf-8")
    assert page.count("--rate 500") == 1 and "(4): x.npy (4 records)" in page


def test_the_page_says_whose_names_are_kept(tmp_path):
    folder = clinic(tmp_path / "clinic")
    (tmp_path / "l.csv").write_text("id,patient\na,Smith\n")
    for more, said in (({}, "not kept"), ({"labels": tmp_path / "l.csv"}, "as the table of labels writes them")):
        to = tmp_path / f"s{len(more)}"
        ingest(folder, to=to, **more, **QUIET)
        assert said in (to / "import-report.html").read_text(encoding="utf-8")


def test_files_that_vanish_are_refused(tmp_path, monkeypatch):
    """After they were counted, and after they were read: the page draws them from the file."""
    from ecgraft.commands import _items

    folder = clinic(tmp_path / "clinic")
    real = _items.formats.survey

    def survey(source):
        found = real(source)
        (folder / "a.npz").unlink()
        return found

    monkeypatch.setattr(_items.formats, "survey", survey)
    said = account(ingest(folder, to=tmp_path / "s", **QUIET))
    assert said["a.npz"]["status"] == "refused" and "No such file" in said["a.npz"]["reason"]
    monkeypatch.setattr(_items.formats, "survey", real)
    read = _items.Item.read

    def once(item, given):
        record = read(item, given)
        if item.path.endswith(".npz"):
            os.remove(item.path)
        return record

    monkeypatch.setattr(_items.Item, "read", once)
    assert account(ingest(folder, to=tmp_path / "t", **QUIET))["large.npz"]["status"] == "read"
