"""The large databases (SPH, CODE-15%, MIMIC-IV-ECG), against other readers, published counts and identities."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import wfdb

from ecgraft import datasets
from ecgraft.datasets import mimic_iv_ecg, sph
from ecgraft.record import LEADS, InputError

MIMIC_LEADS = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]


def all_of(shared_data, name: str):
    return list(datasets.records(name, shared_data / name))


def codes(records) -> Counter:
    return Counter(code for record in records for code, value in record.labels.items() if value)


def einthoven(record) -> float:
    """|I + III - II| in mV, which is 0 but for rounding; 99th percentile (CODE-15% has odd samples at the edges)."""
    return np.percentile(np.abs(record.lead("I") + record.lead("III") - record.lead("II")), 99)


def peak_to_peak(record, lead: str) -> float:
    """Median over seconds of the range of a lead, mV."""
    rate = int(record.rate)
    x = record.lead(lead)
    seconds = x[: len(x) // rate * rate].reshape(-1, rate)
    return np.median(seconds.max(1) - seconds.min(1))


# SPH and CODE-15%


def test_sph_statements(shared_data):
    h5py = pytest.importorskip("h5py")
    records = all_of(shared_data, "sph")
    assert codes(records) == {"aha:1": 4, "aha:22": 1, "aha:23": 2}
    with h5py.File(shared_data / "sph" / "records" / "A00002.h5") as file:
        np.testing.assert_array_equal(records[1].signal, file["ecg"][:].astype(np.float32))
    assert (records[1].patient, records[1].age, records[1].sex) == ("sph:S00002", 32, "M")
    assert max(einthoven(record) for record in records) < 0.01


def test_sph_modifiers_by_hand():
    assert sph.codes("60+310;22") == ["aha:60", "aha:60+310", "aha:22"]
    assert sph.codes("60+310+341") == ["aha:60", "aha:60+310", "aha:60+341"]
    assert sph.codes("") == []


def test_code15_classes_and_padding(shared_data):
    pytest.importorskip("h5py")
    records = all_of(shared_data, "code15")
    assert codes(records) == {"code15:1dAVb": 2, "code15:RBBB": 2, "code15:ST": 1, "code15:SB": 1}
    assert all(len(record.labels) == 6 for record in records)
    assert Counter(record.signal.shape[1] for record in records) == {2934: 4, 4096: 2}  # 7.3 and 10.2 s
    assert all(record.signal[:, [0, -1]].any(0).all() for record in records)
    assert max(einthoven(record) for record in records) < 0.01
    assert records[1].values == {"death": 0.0, "timey": 3.846572}


def test_code15_amplitudes_agree_with_other_databases(shared_data):
    """Lead II lies where PTB-XL's does: that is what the 0.5 mV rest on, besides the authors' own words."""
    pytest.importorskip("h5py")
    mine = np.median([peak_to_peak(record, "II") for record in all_of(shared_data, "code15")])
    entries = datasets.entries("ptb_xl", shared_data / "ptb-xl")[:100]
    theirs = np.median([peak_to_peak(datasets.read(entry), "II") for entry in entries])
    assert 0.6 < mine / theirs < 1.6  # twice as large as mV, five times too small as 0.1 mV


def small_code15(folder, tracings, exams=(7, 0)):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "exams_part0.hdf5", "w") as file:
        file["exam_id"], file["tracings"] = np.array(exams), tracings
    header = (
        "exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,death,timey,normal_ecg,trace_file"
    )
    row = "38,True,41.5,False,False,False,False,False,True,99,,,False,exams_part0.hdf5"
    (folder / "exams.csv").write_text(f"{header}\n7,{row}\n8,{row}\n")


def test_code15_skips_the_last_row_and_absent_parts(tmp_path):
    tracings = np.zeros((2, 4096, 12), np.float32)
    tracings[0, 10:20] = 3
    small_code15(tmp_path, tracings)
    (record,) = datasets.records("code15", tmp_path)
    assert (record.id, record.patient, record.sex, record.values) == ("7", "code15:99", "M", {})
    np.testing.assert_array_equal(record.signal, np.full((12, 10), 1.5))
    assert "0.5 mV" in record.extra["assumed"]


@pytest.mark.parametrize(("shape", "says"), [((2, 4096, 12), "empty"), ((2, 100, 12), "4096")])
def test_code15_bad_tracings(tmp_path, shape, says):
    small_code15(tmp_path, np.zeros(shape, np.float32))
    with pytest.raises(InputError, match=says):
        list(datasets.records("code15", tmp_path))


def test_hdf5_cut_short(tmp_path):
    pytest.importorskip("h5py")
    small_code15(tmp_path, np.ones((2, 4096, 12), np.float32))
    part = tmp_path / "exams_part0.hdf5"
    part.write_bytes(part.read_bytes()[:4000])
    with pytest.raises(InputError, match=r"exams_part0\.hdf5: cut short, 4000 of"):
        datasets.entries("code15", tmp_path)


# MIMIC-IV-ECG, on a miniature of what its documentation says


@pytest.fixture
def mimic(tmp_path):
    """Two studies of one patient, and one of a group that is not here."""
    rng = np.random.default_rng(0)
    listed, measured = [], []
    for study, statements in ((40689238, ["Sinus rhythm", "", "Normal ECG"]), (44458630, [])):
        folder = tmp_path / "files" / "p1000" / "p10000032" / f"s{study}"
        folder.mkdir(parents=True)
        signal = rng.integers(-300, 300, (5000, 12)) / 200
        wfdb.wrsamp(
            str(study), 500, ["mV"] * 12, MIMIC_LEADS, signal, fmt=["16"] * 12, adc_gain=[200.0] * 12,
            baseline=[0] * 12, comments=["<subject_id>: 10000032"], write_dir=str(folder),
        )  # fmt: skip
        listed.append(f"10000032,{study},{study},2180-07-23 08:44:00,files/p1000/p10000032/s{study}/{study}")
        reports = statements + [""] * (18 - len(statements))
        measured.append(f"10000032,{study},6848296,2180-07-23 08:44:00,{','.join(reports)},0.005-150 Hz,60 Hz,659")
    listed.append("11000017,40000000,40000000,2180-01-01 00:00:00,files/p1100/p11000017/s40000000/40000000")
    (tmp_path / "record_list.csv").write_text("subject_id,study_id,file_name,ecg_time,path\n" + "\n".join(listed))
    names = ["subject_id", "study_id", "cart_id", "ecg_time", *mimic_iv_ecg.STATEMENTS]
    header = ",".join([*names, "bandwidth", "filtering", "rr_interval"])
    (tmp_path / "machine_measurements.csv").write_text("\n".join([header, *measured]))
    return tmp_path


def test_mimic_takes_leads_by_name(mimic):
    assert datasets.detect(mimic) == "mimic_iv_ecg"
    first, second = datasets.records("mimic_iv_ecg", mimic)
    reference = wfdb.rdrecord(str(mimic / "files" / "p1000" / "p10000032" / "s40689238" / "40689238"))
    for lead in LEADS:
        column = reference.sig_name.index(lead)
        np.testing.assert_allclose(first.lead(lead), reference.p_signal[:, column], atol=1e-6)
    assert first.leads == tuple(MIMIC_LEADS) and first.leads != LEADS
    assert (first.id, first.patient, first.report) == ("40689238", "mimic_iv_ecg:10000032", "Sinus rhythm; Normal ECG")
    assert second.report is None and second.extra["date"] == "2180-07-23 08:44:00"


def test_mimic_without_measurements_has_no_reports(mimic):
    (mimic / "machine_measurements.csv").unlink()
    assert [record.report for record in datasets.records("mimic_iv_ecg", mimic)] == [None, None]


def test_mimic_list_cut_short_or_leading_out(mimic):
    path = mimic / "record_list.csv"
    text = path.read_text()
    path.write_text(text.replace("files/p1000/p10000032/s44458630", "files/p1000/../../s44458630"))
    with pytest.raises(InputError, match="not inside"):
        datasets.entries("mimic_iv_ecg", mimic)
    path.write_text(text[: text.rindex(",")])
    with pytest.raises(InputError, match="line 4"):
        datasets.entries("mimic_iv_ecg", mimic)
    path.write_text(text.replace("study_id", "study"))
    with pytest.raises(InputError, match="study_id"):
        datasets.entries("mimic_iv_ecg", mimic)
