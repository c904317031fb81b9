"""The databases of the challenges, against other readers, published counts and identities."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import scipy.io
import wfdb

from ecgraft import datasets
from ecgraft.datasets import challenge2021, cpsc2019
from ecgraft.record import LEADS, InputError, UsageError


def all_of(shared_data, name: str, **options):
    return list(datasets.records(name, shared_data / name, **options))


def codes(records) -> Counter:
    return Counter(code for record in records for code, value in record.labels.items() if value)


def einthoven(record) -> float:
    """Largest |I + III - II| in mV, which is 0 but for rounding."""
    return np.abs(record.lead("I") + record.lead("III") - record.lead("II")).max()


# PhysioNet/CinC challenges 2020 and 2021


def test_challenge2021_counts(shared_data):
    records = all_of(shared_data, "challenge2021")
    assert Counter(record.source.partition("/")[2] for record in records) == {
        "cpsc_2018": 6,
        "cpsc_2018_extra": 11,
        "ptb": 1,
        "ptb-xl": 8,
        "georgia": 18,
        "chapman_shaoxing": 6,
        "ningbo": 18,
    }
    found = codes(records)
    assert len(found) == 41
    assert [found[f"snomed:{code}"] for code in (426783006, 427084000, 284470004, 164889003)] == [17, 16, 14, 4]
    assert all(record.complete == {"snomed"} and record.patient is None for record in records)


@pytest.mark.parametrize(
    ("name", "age", "sex", "labels"),
    [("E00001", None, "F", {"426783006"}), ("E07512", 74, "M", {"426177001"})],
    ids=["header of 2020", "header of 2021"],
)
def test_challenge2021_reads_both_dialects(shared_data, name, age, sex, labels):
    record = next(r for r in all_of(shared_data, "challenge2021", source="georgia") if r.id == name)
    reference = wfdb.rdrecord(str(shared_data / "challenge2021" / "training" / "georgia" / "g1" / name))
    np.testing.assert_allclose(record.signal, reference.p_signal.T, atol=1e-6)
    assert (record.age, record.sex, record.leads, record.rate) == (age, sex, LEADS, 500)
    assert set(record.labels) == {f"snomed:{code}" for code in labels}


def test_challenge2021_s0001_is_the_ptb_record(shared_data):
    """The challenge has 12 of its 15 leads, rounded to 1 uV."""
    record = next(r for r in all_of(shared_data, "challenge2021") if r.id == "S0001")
    ptb = wfdb.rdrecord(str(shared_data / "wfdb" / "s0010_re"), channels=list(range(12)))
    assert record.rate == ptb.fs == 1000
    np.testing.assert_allclose(record.signal, ptb.p_signal.T, atol=1.001e-3)


def test_challenge2021_names_the_twin(shared_data):
    also = {record.id: record.extra.get("also") for record in all_of(shared_data, "challenge2021")}
    assert (also["HR06001"], also["A0001"]) == ("ptb_xl:06001_hr", "cpsc2018:A0001")
    assert not also["E00001"] and not also["S0001"]
    ids = {entry.id for entry in datasets.entries("ptb_xl", shared_data / "ptb-xl")}
    assert {challenge2021._also("HR00001")["also"]} <= {f"ptb_xl:{name}" for name in ids}


@pytest.mark.parametrize(("name", "source"), [("JS10646", "chapman_shaoxing"), ("JS10647", "ningbo"), ("100", None)])
def test_challenge2021_source_by_name(name, source):
    assert challenge2021._source(name) == source


def test_challenge2021_unknown_source(shared_data):
    with pytest.raises(UsageError, match="georgia"):
        all_of(shared_data, "challenge2021", source="georgie")


def small_challenge(folder, dx: str):
    """One record in the layout of the Chapman-Shaoxing-Ningbo database."""
    folder = folder / "WFDBRecords" / "01" / "010"
    folder.mkdir(parents=True)
    scipy.io.savemat(folder / "JS00001.mat", {"val": np.arange(200, dtype=np.int16).reshape(2, 100)}, format="4")
    lines = ["JS00001 2 500 100", *(f"JS00001.mat 16x1+24 1000/mV 16 0 0 0 0 {lead}" for lead in ("I", "II"))]
    (folder / "JS00001.hea").write_text("\n".join([*lines, "#Age: 300", "#Sex: Unknown", f"#Dx: {dx}", ""]))


def test_challenge2021_reads_the_layout_of_chapman(tmp_path):
    small_challenge(tmp_path, "426177001,164934002")
    assert datasets.detect(tmp_path) == "challenge2021"
    (record,) = datasets.records("challenge2021", tmp_path)
    np.testing.assert_allclose(record.signal, np.arange(200).reshape(2, 100) * 1e-3, atol=1e-7)
    assert set(record.labels) == {"snomed:426177001", "snomed:164934002"}
    assert record.age is None and record.sex is None and record.source == "challenge2021/chapman_shaoxing"


@pytest.mark.parametrize("dx", ["Unknown", ""])
def test_challenge2021_without_diagnosis_knows_nothing(tmp_path, dx):
    small_challenge(tmp_path, dx)
    (record,) = datasets.records("challenge2021", tmp_path)
    assert record.labels == {} and record.complete == frozenset()


def test_challenge2021_odd_code_names_file_and_code(tmp_path):
    small_challenge(tmp_path, "426177001,sinus")
    with pytest.raises(InputError, match=r"JS00001.*sinus"):
        list(datasets.records("challenge2021", tmp_path))


# CPSC 2018 and 2019


def test_cpsc2018_labels_and_signal(shared_data):
    records = {record.id: record for record in all_of(shared_data, "cpsc2018")}
    assert {name: list(record.labels) for name, record in records.items()} == {
        "A1980": ["cpsc2018:6"],
        "A1981": ["cpsc2018:8"],
        "A1982": ["cpsc2018:3"],
        "A1983": ["cpsc2018:1"],
        "A1985": ["cpsc2018:8"],
    }
    assert (records["A1980"].age, records["A1980"].sex) == (52, "M")
    assert max(einthoven(record) for record in records.values()) < 0.01


def test_cpsc2018_several_labels_and_lists(tmp_path):
    for part, name, labels in (("TrainingSet1", "A0001", "5,,"), ("TrainingSet2", "A3000", "2,5,9")):
        (tmp_path / part).mkdir()
        content = {"ECG": {"sex": "Female", "age": np.array([[np.nan]]), "data": np.ones((12, 50))}}
        scipy.io.savemat(tmp_path / part / f"{name}.mat", content)
        (tmp_path / part / "REFERENCE.csv").write_text(
            f"Recording,First_label,Second_label,Third_label\n{name},{labels}\n"
        )
    first, second = datasets.records("cpsc2018", tmp_path)
    assert list(second.labels) == ["cpsc2018:2", "cpsc2018:5", "cpsc2018:9"]
    assert (first.age, first.sex, first.complete) == (None, "F", {"cpsc2018"})


def test_cpsc2019_peaks(shared_data):
    records = all_of(shared_data, "cpsc2019")
    assert sum(len(record.beats) for record in records) == 1391
    offsets = []
    for record in records:
        for peak in record.beats["sample"]:
            near = record.signal[0, max(peak - 10, 0) : peak + 11]
            level = np.median(record.signal[0, max(peak - 100, 0) : peak + 100])
            offsets.append(np.abs(near - level).argmax() - min(peak, 10))
    assert Counter(offsets).most_common(1)[0][0] == 0  # taken as MATLAB counts them they would be 1 off


def test_cpsc2019_a_peak_outside_names_the_file(tmp_path):
    for folder in ("data", "ref"):
        (tmp_path / folder).mkdir()
    scipy.io.savemat(tmp_path / "data" / "data_00001.mat", {"ecg": np.zeros((100, 1))})
    scipy.io.savemat(tmp_path / "ref" / "R_00001.mat", {"R_peak": np.array([[1], [101]], np.uint16)})
    (entry,) = datasets.entries("cpsc2019", tmp_path)
    with pytest.raises(InputError, match="R_00001"):
        cpsc2019.read(entry)


@pytest.mark.parametrize("keep", [0, 60, 1000])
def test_a_matlab_file_cut_short(shared_data, tmp_path, keep):
    for folder, file in (("data", "data_00001.mat"), ("ref", "R_00001.mat")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_bytes((shared_data / "cpsc2019" / folder / file).read_bytes())
    data = tmp_path / "data" / "data_00001.mat"
    data.write_bytes(data.read_bytes()[:keep])
    with pytest.raises(InputError, match="data_00001"):
        list(datasets.records("cpsc2019", tmp_path))
