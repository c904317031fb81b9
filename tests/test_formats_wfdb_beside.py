"""Annotations beside a user's own WFDB record, and what the comments of its header say."""

from __future__ import annotations

import contextlib
import shutil
import time

import numpy as np
import pytest
import wfdb as library

import made_wfdb as made
from ecgraft import datasets, formats
from ecgraft.formats import wfdb
from ecgraft.formats._wfdb import annotations
from ecgraft.formats._wfdb import annotations_out as out
from ecgraft.record import QRS, InputError, P, T

KEY = "a secret of some length"
BEATS = [(10, "+", "(AFIB"), (20, "N", ""), (50, "V", ""), (70, "~", ""), (80, "+", "(N"), (90, "A", "")]
WAVES = [(10, "(", ""), (12, "p", ""), (14, ")", ""), (20, "(", ""), (22, "N", ""), (25, ")", ""), (33, "t", "")]


def record(folder, leads=("I", "II", "V1"), name="r", **more):
    return made.raw(folder / name, made.noise(len(leads), 100, 99), 250, leads, **more)


@pytest.mark.parametrize("ending", ["atr", "qrs", "ecg", "ari"])
def test_beats_and_rhythms_come_along(tmp_path, ending):
    path = record(tmp_path)
    made.annotate(tmp_path / f"r.{ending}", BEATS)
    found = formats.read(path)
    assert found.beats.tolist() == [(20, b"N"), (50, b"V"), (90, b"A")] and found.waves is None
    assert found.rhythms.tolist() == [(10, 80, "AFIB"), (80, 100, "N")]
    assert found.extra["annotations"] == ending
    assert formats.find(tmp_path) == [path] and tmp_path / f"r.{ending}" in wfdb.parts(path)
    assert wfdb.bare(path).beats is None  # databases have their own


def test_the_reference_comes_before_what_a_detector_found(tmp_path):
    path = record(tmp_path)
    made.annotate(tmp_path / "r.qrs", [(1, "N", "")])
    made.annotate(tmp_path / "r.atr", [(2, "V", "")])
    found = formats.read(path)
    assert found.beats.tolist() == [(2, b"V")] and found.extra["annotations"] == "atr"


def test_waves_of_each_lead_as_in_ludb(tmp_path):
    path = record(tmp_path, leads=("i", "MLII", "avf"))
    for ending in ("i", "ii", "avf"):
        made.annotate(tmp_path / f"r.{ending}", WAVES)
    found = formats.read(path)
    one = [(P, 10, 12, 14), (QRS, 20, 22, 25), (T, -1, 33, -1)]
    assert found.waves.tolist() == [(kind, lead, *rest) for lead in range(3) for kind, *rest in one]
    assert found.scored.tolist() == [(lead, 10, 26) for lead in range(3)] and found.beats is None
    assert found.extra["annotations"] == "i, ii, avf" and len(wfdb.parts(path)) == 4


def test_waves_of_all_leads_and_of_the_first_two(tmp_path):
    path = record(tmp_path)
    made.annotate(tmp_path / "r.pu0", WAVES)
    made.annotate(tmp_path / "r.pu1", WAVES[:3])
    assert formats.read(path).waves["lead"].tolist() == [0, 0, 0, 1]
    made.annotate(tmp_path / "r.q1c", WAVES)
    found = formats.read(path)
    assert found.waves["lead"].tolist() == [-1] * 3 and found.scored is None and found.extra["annotations"] == "q1c"


def test_waves_in_the_reference_file(tmp_path):
    """As `predict --annotations` writes them; N marks a QRS there, which is no class of a beat."""
    path = record(tmp_path)
    made.annotate(tmp_path / "r.atr", WAVES)
    found = formats.read(path)
    assert found.waves["kind"].tolist() == [P, QRS, T] and found.beats.tolist() == [(22, b"?")]


def test_times_count_frames_or_what_the_file_says(tmp_path):
    digital = [made.noise(1, 100, 99)[0], made.noise(1, 400, 99)[0]]
    path = made.raw(tmp_path / "r", digital, 60, ("I", "II"), per_frame=[1, 4])
    made.annotate(tmp_path / "r.atr", [(30, "N", "")])
    assert formats.read(path).beats.tolist() == [(120, b"N")]
    made.annotate(tmp_path / "r.atr", [(500, "N", "")], resolution=1000)  # after half a second
    assert formats.read(path).beats.tolist() == [(120, b"N")]


def test_what_is_no_annotation_file_is_left_alone_and_told(tmp_path):
    path = record(tmp_path)
    (tmp_path / "r.ecg").write_bytes(b"ISHNE1.0" + np.random.default_rng(0).bytes(4000))
    made.annotate(tmp_path / "r.atr", [(10**6 + i, "N", "") for i in range(9)])
    (tmp_path / "r.qrs").write_bytes(made.words(63 << 10 | 200))
    found = formats.read(path)
    assert found.beats is None and "annotations" not in found.extra
    said = found.extra["skipped"]
    assert ".atr: most of its annotations are past the end" in said and ".qrs: damaged annotations: a text" in said
    assert ".ecg: damaged annotations" in said
    assert [p.name for p in wfdb.parts(path)] == ["r.dat", "r.atr"]


def test_a_signal_file_is_no_annotation_file(tmp_path):
    path = record(tmp_path)
    (tmp_path / "r.dat").rename(tmp_path / "r.ecg")
    path.write_text(path.read_text().replace("r.dat", "r.ecg"))
    found = formats.read(path)
    assert found.beats is None and "skipped" not in found.extra and formats.find(tmp_path) == [path]


def test_some_marks_past_the_end(tmp_path):
    path = record(tmp_path)
    made.annotate(tmp_path / "r.atr", [*BEATS, (100, "N", "")])
    found = formats.read(path)
    assert len(found.beats) == 3 and found.extra["skipped"] == "1 annotations of .atr past the end"


def test_files_are_read_as_the_library_reads_them(tmp_path):
    """Long times, times that go back, channels, subtypes, numbers, texts, symbols of the file's own."""
    library.wrann(
        *("r", "atr", np.array([5, 900, 5000, 70000, 70001])),
        *(["N", "V", "+", "X", "N"], np.array([0, 1, -2, 3, 4]), np.array([0, 1, 1, 0, 2]), np.array([0, 5, 5, 1, 0])),
        aux_note=["", "odd", "(AFIB", "even", ""],
        fs=360,
        custom_labels=[(42, "X", "one of our own")],
        write_dir=str(tmp_path),
    )
    found, theirs = annotations.read_marks(str(tmp_path / "r"), "atr"), library.rdann(str(tmp_path / "r"), "atr")
    assert found.sample.tolist() == theirs.sample.tolist() == [5, 900, 5000, 70000, 70001]
    assert list(found.symbol) == theirs.symbol == ["N", "V", "+", "X", "N"]
    assert list(found.note) == [note.strip("\0 ") for note in theirs.aux_note]
    assert found.resolution == theirs.fs == 360


def test_a_file_ends_at_its_end_mark(tmp_path):
    made.annotate(tmp_path / "r.atr", [(5, "N", "")])
    data = (tmp_path / "r.atr").read_bytes()
    assert annotations.decode(data + data).sample.tolist() == [5]
    assert annotations.decode(data[:-2]).sample.tolist() == [5]  # some writers leave the end mark out
    assert annotations.decode(b"").sample.tolist() == []


def test_notes_of_the_library_that_never_end(tmp_path):
    """wfdb.rdann does not come back from two comments at 0 that begin with ##."""
    notes = b"".join(out._mark(0, 22, text) for text in ("## time resolution: 250", "## a", "## b"))
    assert annotations.decode(notes + made.words(1 << 10 | 7, 0)).sample.tolist() == [7]


@pytest.mark.parametrize("word", [59 << 10, 63 << 10, 63 << 10 | 255, 1 << 10 | 1023, 1, 0xFFFF, 50 << 10])
def test_large_annotation_files_do_not_take_long(word):
    start = time.perf_counter()
    with contextlib.suppress(InputError):
        annotations.decode(made.words(word) * 500_000)
    assert time.perf_counter() - start < 2


# What comments say


def said(folder, *comments, **given):
    return formats.read(record(folder, comments=comments), **given)


def test_labels_in_the_way_of_the_challenges(tmp_path):
    found = said(
        tmp_path, "Age: 74", "Sex: Male", "Dx: 59118001,426177001", "Rx: Unknown", "Hx: Unknown", "Sx: Unknown"
    )
    assert found.labels == {"snomed:59118001": 1, "snomed:426177001": 1} and not found.complete
    assert (found.age, found.sex) == (74, "M") and "comments" not in found.extra
    assert said(tmp_path, "Dx: Unknown").labels == {}
    assert said(tmp_path, "Dx: sinus rhythm").report == "sinus rhythm"
    odd = said(tmp_path, "Dx: 59118001,12")
    assert odd.labels == {} and odd.extra["skipped"] == "Dx: 59118001,12, which are no SNOMED CT codes"


def test_statements_in_the_way_of_ludb_and_ptb(tmp_path):
    ludb = ("<age>: 51", "<sex>: F", "<diagnoses>:", "Rhythm: Sinus bradycardia.", "Left ventricular hypertrophy.")
    found = said(tmp_path, *ludb)
    assert found.report == "Rhythm: Sinus bradycardia.\nLeft ventricular hypertrophy."
    assert (found.age, found.sex) == (51, "F")
    one = "<age>: 25  <sex>: M  <diagnoses>: (none)  <medications>: digoxin"
    found = said(tmp_path, one)
    assert (found.age, found.sex, found.report) == (25, "M", None) and found.extra["comments"] == "medications: digoxin"
    assert said(tmp_path, "Reason for admission: Myocardial infarction", "Smoker: no").report == (
        "Reason for admission: Myocardial infarction"
    )


def test_nobody_is_named(tmp_path):
    lines = (
        "Name: Jane Doe",
        "Patient ID: 4711",
        "DOB: 03/04/1950",
        "Mrs. Doe of Elm Street",
        "Height: 170",
        "Weight: 9000",
        "Diagnosis: sinus rhythm, as on 03/04/1950. Confirmed by Dr. House",
    )
    found = said(tmp_path, *lines, "Physician: Smith", "Age: 300", patient_key=KEY)
    assert found.patient == formats.Given(patient_key=KEY.encode()).patient("4711")
    text = repr(found)
    assert not any(word in text for word in ("Doe", "4711", "1950", "Elm", "Smith", "House"))
    assert found.report == "sinus rhythm, as on (date)"
    assert found.extra["skipped"] == "2 lines of comments, which may say who it is"
    assert found.values == {"height": 170} and found.age is None
    assert said(tmp_path, *lines).patient is None
    assert [said(tmp_path, f"Sex: {word}").sex for word in ("Missing", "Male (1)", "f", "2")] == [None, "M", "F", None]
    alone = said(tmp_path, "Name: Jane Doe", "DOB: 03/04/1950", patient_key=KEY).patient
    assert alone == formats.Given(patient_key=KEY.encode()).patient("", "Jane Doe", "03/04/1950") is not None


@pytest.mark.parametrize("name", ["mitdb/108", "qtdb/sele0112", "ludb/data/1", "cpsc2021/Training_set_II/data_101_6"])
def test_a_copy_of_a_database_says_what_the_database_says(shared_data, tmp_path, name):
    """Beats, rhythms and waves of a record that somebody has copied into a folder of their own."""
    whole = shared_data / name
    for path in whole.parent.glob(f"{whole.name}.*"):
        shutil.copyfile(path, tmp_path / path.name)
    own = formats.read(tmp_path / f"{whole.name}.hea")
    base = {"ludb": shared_data / "ludb", "cpsc2021": shared_data / "cpsc2021"}
    folder = base.get(name.split("/")[0], whole.parent)
    listed = [e for e in datasets.entries(name.split("/")[0], folder) if e.id == whole.name]
    theirs = datasets.read(listed[0])
    np.testing.assert_array_equal(own.signal, theirs.signal)
    for field in ("beats", "waves"):
        mine, known = getattr(own, field), getattr(theirs, field)
        assert (mine is None) == (known is None) and (known is None or mine.tolist() == known.tolist())
    assert formats.find(tmp_path) == [tmp_path / f"{whole.name}.hea"]
