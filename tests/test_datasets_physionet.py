"""PTB-XL, LUDB, QTDB, MIT-BIH, NSTDB, CinC 2017, CPSC 2021: what their documentation says of them, and odd folders."""

import shutil
from collections import Counter

import numpy as np
import pytest
import wfdb

from ecgraft import datasets
from ecgraft.datasets import cpsc2021, ludb, nstdb, ptb_xl, qtdb
from ecgraft.formats._wfdb.annotations import Marks
from ecgraft.record import LEADS, QRS, WAVE, InputError, P, T, UsageError, waves_array


def write(folder, name, leads=("I", "II"), T=500, fs=250, **more):
    folder.mkdir(parents=True, exist_ok=True)
    signal = np.sin(np.arange(T * len(leads)) / 9).reshape(T, -1)
    C = len(leads)
    wfdb.wrsamp(name, fs, ["mV"] * C, list(leads), signal, fmt=["16"] * C, write_dir=str(folder), **more)


def annotate(folder, name, extension, sample, symbol, notes=None):
    wfdb.wrann(name, extension, np.array(sample), list(symbol), aux_note=notes, fs=250, write_dir=str(folder))


# PTB-XL


def superclasses(entries, folder):
    """How many records have a statement of each diagnostic class, by the database's own table."""
    rows = ptb_xl.table(folder / "scp_statements.csv")
    classes = {row[""]: row["diagnostic_class"] for row in rows if row["diagnostic"] == "1.0"}
    sets = ({classes[code] for code in ptb_xl.statements(entry.meta) if code in classes} for entry in entries)
    return Counter(name for found in sets for name in found)


def test_ptb_xl_counts(shared_data):
    folder = shared_data / "ptb-xl"
    entries = datasets.entries("ptb_xl", folder)
    assert len(entries) == 353
    assert superclasses(entries, folder) == {"NORM": 225, "STTC": 59, "CD": 57, "MI": 49, "HYP": 25}


def test_ptb_xl_first_record(shared_data):
    record = next(datasets.records("ptb_xl", shared_data / "ptb-xl"))
    assert record.signal.shape == (12, 5000) and record.leads == LEADS
    assert record.labels == {"scp:NORM": 1, "scp:LVOLT": 1, "scp:SR": 1} and record.complete == {"scp"}
    assert (record.patient, record.age, record.sex, record.fold, record.split) == ("ptb_xl:15709", 56, "F", 3, "train")
    assert record.report == "sinusrhythmus periphere niederspannung" and record.values == {"weight": 63}
    assert record.extra["static_noise"] == ", I-V1," and record.extra["device"] == "CS-12   E"
    slow = next(datasets.records("ptb_xl", shared_data / "ptb-xl", rate=100))
    assert slow.rate == 100 and slow.signal.shape == (12, 1000)
    with pytest.raises(UsageError, match="500 and 100 Hz"):
        datasets.entries("ptb_xl", shared_data / "ptb-xl", rate=250)
    with pytest.raises(UsageError, match="did you mean 'rate'"):
        datasets.entries("ptb_xl", shared_data / "ptb-xl", rates=100)


ROW = '{id},7.0,{age},0,a report,"{codes}",{fold},low,{file}\n'
HEAD = "ecg_id,patient_id,age,sex,report,scp_codes,strat_fold,filename_lr,filename_hr\n"


def ptb_xl_folder(tmp_path, *rows):
    write(tmp_path / "records500", "00001_hr", LEADS)
    default = {"id": 1, "age": 60.0, "codes": "{'SR': 0.0}", "fold": 1, "file": "records500/00001_hr"}
    (tmp_path / "ptbxl_database.csv").write_text(HEAD + "".join(ROW.format(**default | row) for row in rows))
    return tmp_path


def test_ptb_xl_folds_and_ages(tmp_path):
    folder = ptb_xl_folder(tmp_path, {"fold": 8}, {"fold": 9, "age": 300}, {"fold": 10.0, "age": ""})
    found = list(datasets.records("ptb_xl", folder))
    assert [record.split for record in found] == ["train", "validation", "test"]
    assert [record.age for record in found] == [60, 90, None]
    assert found[1].extra["age"] == "over 89" and found[0].sex == "M"


def test_ptb_xl_missing_files_are_reported_and_the_rest_is_read(tmp_path):
    folder = ptb_xl_folder(tmp_path, {"file": "records500/00002_hr"}, {})
    broken = []
    assert [record.id for record in datasets.records("ptb_xl", folder, broken)] == ["00001_hr"]
    assert broken[0][0] == "00002_hr" and "00002_hr.hea: No such file" in broken[0][1]
    with pytest.raises(InputError, match="00002_hr"):
        list(datasets.records("ptb_xl", folder))


@pytest.mark.parametrize("codes", ["__import__('os')", "{'SR':", "['SR']", "{'SR': 'x'}"])
def test_ptb_xl_odd_statements_are_named(tmp_path, codes):
    folder = ptb_xl_folder(tmp_path, {"codes": codes})
    with pytest.raises(InputError, match="ecg_id 1: cannot understand scp_codes"):
        list(datasets.records("ptb_xl", folder))


def test_ptb_xl_table_that_leads_out_or_lacks_a_column(tmp_path):
    with pytest.raises(InputError, match="not inside of the folder"):
        datasets.entries("ptb_xl", ptb_xl_folder(tmp_path, {"file": "../../secret"}))
    (tmp_path / "ptbxl_database.csv").write_text("ecg_id,age\n1,50\n")
    with pytest.raises(InputError, match="no column 'patient_id'"):
        datasets.entries("ptb_xl", tmp_path)


# LUDB


def test_ludb_counts_and_spans(shared_data):
    entries = datasets.entries("ludb", shared_data / "ludb")
    rhythms = Counter(code for entry in entries for code in ludb.labels(entry.meta))
    assert rhythms["ludb:Sinus rhythm"] == rhythms["snomed:426783006"] == 115
    assert rhythms["snomed:164889003"] == 12 and rhythms["snomed:164890007"] == 2
    record = datasets.read(entries[0])
    assert record.leads == LEADS and record.scored["lead"].tolist() == list(range(12))
    for lead, start, stop in record.scored:
        own = record.waves[record.waves["lead"] == lead]
        assert (start, stop) == (own["onset"].min(), own["offset"].max() + 1)
    expected = wfdb.rdann(str(shared_data / "ludb/data/1"), "avf")
    own = record.waves[record.waves["lead"] == 5]
    assert own["peak"][own["kind"] == T].tolist() == expected.sample[np.array(expected.symbol) == "t"].tolist()


def test_ludb_a_qrs_without_onset_begins_at_its_peak(shared_data):
    entry = next(e for e in datasets.entries("ludb", shared_data / "ludb") if e.id == "104")  # paced
    record = datasets.read(entry)
    lead = record.waves[(record.waves["lead"] == 1) & (record.waves["kind"] == QRS)]
    assert lead["onset"][0] == lead["peak"][0] == 710 and (record.waves["onset"] >= 0).all()


def test_ludb_labels_by_hand():
    row = {"Rhythms": "Atrial flutter, typical", "Extrasystolies": "Atrial extrasystole: low atrial\nOther"}
    codes = ["ludb:Atrial flutter, typical", "ludb:Atrial extrasystole: low atrial", "ludb:Other"]
    assert ludb.labels(row) == dict.fromkeys([*codes, "snomed:164890007", "snomed:284470004"], 1)


def test_ludb_a_missing_annotation_file_is_named(shared_data, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copy(shared_data / "ludb/ludb.csv", tmp_path)
    for path in (shared_data / "ludb/data").glob("1.*"):
        shutil.copy(path, tmp_path / "data")
    (tmp_path / "data/1.v3").unlink()
    with pytest.raises(InputError, match=r"1\.v3: this annotation file is missing"):
        next(datasets.records("ludb", tmp_path))


# QT Database


def test_qtdb_counts(shared_data):
    broken = []
    found = list(datasets.records("qtdb", shared_data / "qtdb", broken))
    kinds = Counter(kind for record in found for kind in record.waves["kind"].tolist())
    assert (len(found), broken) == (24, []) and kinds == {P: 845, QRS: 868, T: 868}
    assert {record.split for record in found} == {"test"}
    patients = {record.id: record.patient for record in found}
    assert patients["sel114"] == "mitdb:114" and patients["sel16272"] == "qtdb:sel16272"
    assert patients["sele0126"] == patients["sele0124"]
    for record in found:  # runs end where a beat is left out, and every wave lies in one
        steps = np.diff(record.waves["peak"][record.waves["kind"] == QRS])
        assert len(record.scored) - 1 == (steps > 1.5 * np.median(steps)).sum()
        start, stop = record.scored["start"], record.scored["stop"]
        inside = (record.waves["peak"][:, None] >= start) & (record.waves["peak"][:, None] < stop)
        assert inside.any(axis=1).all()


def test_qtdb_annotators(shared_data):
    folder = shared_data / "qtdb"
    assert len(datasets.entries("qtdb", folder, annotator="q2c")) == 4
    record = next(datasets.records("qtdb", folder, annotator="pu1"))
    assert (record.waves["lead"] == 1).all() and len(record.waves) > 1900
    with pytest.raises(UsageError, match="q1c, q2c, pu0, pu1"):
        datasets.entries("qtdb", folder, annotator="pu7")


def beat(at, p=True):
    """P, QRS and T (without onset) of a beat with its R peak at `at`."""
    rows = [(P, -1, at - 50, at - 40, at - 30)] if p else []
    return [*rows, (QRS, -1, at - 10, at, at + 10), (T, -1, -1, at + 60, at + 80)]


@pytest.mark.parametrize(
    ("peaks", "beats", "expected"),
    [
        ([200, 400], [200, 400], [(-1, 150, 481)]),
        ([200, 400, 800], [202, 398, 600, 805], [(-1, 150, 481), (-1, 750, 881)]),  # 600 is not marked
        ([200, 400], [], [(-1, 150, 481)]),
        ([200], [100, 200, 300], [(-1, 150, 281)]),
    ],
)
def test_qtdb_spans_are_runs_of_marked_beats(peaks, beats, expected):
    waves = waves_array([row for at in peaks for row in beat(at)])
    assert qtdb.scored(waves, np.array(beats, int), near=30).tolist() == expected


def test_qtdb_a_beat_without_p_begins_at_its_qrs():
    waves = waves_array(beat(200) + beat(600, p=False))
    assert qtdb.scored(waves, np.array([200, 400, 600]), near=30).tolist() == [(-1, 150, 281), (-1, 590, 681)]
    assert len(qtdb.scored(np.empty(0, WAVE), np.array([5]), near=30)) == 0


# MIT-BIH and its noises


def test_mitdb_counts(shared_data):
    found = list(datasets.records("mitdb", shared_data / "mitdb"))
    aami = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
    symbols = Counter(symbol.decode() for record in found for symbol in record.beats["symbol"].tolist())
    totals = {name: sum(symbols[symbol] for symbol in group) for name, group in aami.items()}
    assert totals == {"N": 17880, "S": 597, "V": 1438, "F": 378, "Q": 2}
    assert sum(symbols.values()) == sum(totals.values())
    first = found[0]
    assert (first.id, first.patient, first.age, first.sex, first.split) == ("108", "mitdb:108", 87, "F", "test")
    assert first.leads == ("II", "V1") and first.rhythms.tolist() == [(23, 650000, "N")]


def test_mitdb_201_and_202_are_one_patient(tmp_path):
    for name in ("201", "202", "203"):
        write(tmp_path, name)
        annotate(tmp_path, name, "atr", [5, 100, 900], "NVN")
    found = list(datasets.records("mitdb", tmp_path))
    assert [record.patient for record in found] == ["mitdb:201", "mitdb:201", "mitdb:203"]
    assert found[0].beats.tolist() == [(5, b"N"), (100, b"V")]  # 900 is past the end


def test_nstdb_noise(shared_data, tmp_path):
    ((name, signal, rate),) = nstdb.noise(shared_data / "nstdb")
    assert (name, signal.shape, rate) == ("em", (2, 650000), 360)
    np.testing.assert_array_equal(signal, next(datasets.records("nstdb", shared_data / "nstdb")).signal)
    with pytest.raises(InputError, match="none of bw, em, ma"):
        nstdb.noise(tmp_path)


def test_nstdb_noisy_ecgs_are_of_mitdb_patients(tmp_path):
    write(tmp_path, "em")
    write(tmp_path, "118e06")
    annotate(tmp_path, "118e06", "atr", [5, 100], "NV")
    noisy, noise = datasets.records("nstdb", tmp_path)
    assert (noisy.patient, len(noisy.beats), noise.patient, noise.beats) == ("mitdb:118", 2, None, None)


# CinC 2017


def test_cinc2017_counts(shared_data):
    entries = datasets.entries("cinc2017", shared_data / "cinc2017")
    assert Counter(entry.meta["label"] for entry in entries) == {"N": 1421, "A": 208, "O": 691, "~": 80}
    record = datasets.read(entries[0])
    assert (record.leads, record.rate, record.id) == (("I",), 300, entries[0].id)
    assert record.labels == {f"cinc2017:{entries[0].meta['label']}": 1} and record.complete == {"cinc2017"}


@pytest.mark.parametrize(("below", "file"), [("", "A00001"), ("training", "A00/A00001"), ("training2017", "A00001")])
def test_cinc2017_layouts_of_the_downloads(tmp_path, below, file):
    write((tmp_path / below / file).parent, "A00001", ("ECG",))
    (tmp_path / below / "REFERENCE.csv").write_text("A00001,~\nA01176,N\n")
    assert datasets.detect(tmp_path) == "cinc2017"
    broken = []
    (record,) = datasets.records("cinc2017", tmp_path, broken)
    assert record.labels == {"cinc2017:~": 1} and broken[0][0] == "A01176"


def test_cinc2017_twins_are_one_patient_and_an_odd_label_is_named(tmp_path):
    write(tmp_path, "A01176", ("ECG",))
    write(tmp_path, "A00002", ("ECG",))
    (tmp_path / "REFERENCE.csv").write_text("A01176,N\nA00002,X\n")
    broken = []
    (record,) = datasets.records("cinc2017", tmp_path, broken)
    assert record.patient == "cinc2017:A00227" and "label 'X'" in broken[0][1]


# CPSC 2021


def test_cpsc2021_counts(shared_data):
    found = list(datasets.records("cpsc2021", shared_data / "cpsc2021"))
    assert Counter(code for record in found for code in record.labels) == {
        "cpsc2021:AFf": 6,
        "cpsc2021:N": 3,
        "cpsc2021:AFp": 3,
    }
    assert {record.patient for record in found} == {f"cpsc2021:{name}" for name in (8, 21, 84, 101)}
    assert sum(len(record.beats) for record in found) == 3987
    for record in found:  # rhythms cover the record without gaps; their names fit its kind
        stops = [0, *record.rhythms["stop"].tolist()]
        assert record.rhythms["start"].tolist() == stops[:-1] and stops[-1] == record.signal.shape[1]
        names = set(record.rhythms["name"].tolist())
        kind = next(iter(record.labels)).removeprefix("cpsc2021:")
        assert names == {"N": {"N"}, "AFf": {"AFIB"}, "AFp": {"N", "AFIB"}}[kind]
    cut = next(record for record in found if record.id == "data_101_6")
    assert cut.extra["assumed"] == "1 annotations past the end left out"


@pytest.mark.parametrize(
    ("sample", "notes", "expected"),
    [
        ([], [], [(0, 100, "N")]),
        ([0, 99], ["(AFIB", "(N"], [(0, 100, "AFIB")]),
        ([0], ["(AFIB"], [(0, 100, "AFIB")]),
        ([30, 60], ["(AFIB", "(N"], [(0, 30, "N"), (30, 60, "AFIB"), (60, 100, "N")]),
        ([30, 60], ["(AFL", "(N"], [(0, 30, "N"), (30, 60, "AFL"), (60, 100, "N")]),
    ],
)
def test_cpsc2021_episodes_cover_the_record(sample, notes, expected):
    marks = Marks(np.array(sample, int), ("+",) * len(sample), tuple(notes))
    assert cpsc2021.episodes(marks, 100).tolist() == expected


# all of them


@pytest.mark.parametrize("name", ["cinc2017", "mitdb", "cpsc2021", "ptb-xl"])
def test_a_truncated_signal_file_is_named_and_others_are_read(shared_data, tmp_path, name):
    source = shared_data / name
    dataset = datasets.detect(source)
    for entry in datasets.entries(dataset, source)[:2]:
        target = tmp_path / entry.path[len(str(source)) + 1 :]
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in source.rglob(f"{target.name}.*"):
            shutil.copy(path, target.parent)
    for path in source.glob("*.csv"):
        shutil.copy(path, tmp_path)
    signal = next(path for path in target.parent.glob(f"{target.name}.*") if path.suffix in (".dat", ".mat"))
    signal.write_bytes(signal.read_bytes()[:1000])
    entries = datasets.entries(dataset, tmp_path)[:2]
    assert datasets.read(entries[0]).signal.size
    with pytest.raises(InputError, match=rf"{signal.name}: cut short, \d+ of \d+ samples"):
        datasets.read(entries[1])
