"""Writing DICOM waveforms: decoded by pydicom sample by sample, and read back."""

import numpy as np
import pydicom
import pytest

from ecgraft import formats
from ecgraft.record import LEADS, InputError, Record
from made_dicom import STEP

X = np.random.default_rng(3).integers(-2000, 2000, (12, 300)) * STEP


def read(path):
    return formats.read(path, format="dicom")


def written(folder, record):
    path = folder / f"w{len(list(folder.iterdir()))}.dcm"
    assert formats.write(record, path, format="dicom") == [path]
    return path, pydicom.dcmread(path), read(path)


@pytest.mark.parametrize(
    "leads, rate, length, name",
    [(LEADS, 500, 400, "12-lead ECG"), (LEADS, 500, 20_000, "General ECG"), (("II", "CM5"), 257.5, 90, "General ECG")]
    + [
        (("I",), 128, 90, "Ambulatory ECG"),
        (("I",), 2000, 90, "General 32-bit ECG"),
        (LEADS, 25, 90, "General 32-bit ECG"),
    ],
)
def test_writing_chooses_the_object_and_pydicom_reads_it(tmp_path, leads, rate, length, name):
    x = np.random.default_rng(1).normal(0, 1, (len(leads), length)).astype(np.float32)
    _, data, back = written(tmp_path, Record(x, rate, leads))
    assert data.SOPClassUID.name == f"{name} Waveform Storage" and (back.leads, back.rate) == (leads, rate)
    half = 0.51e-6 if "32" in name else 0.501e-3
    assert np.abs(back.signal - x).max() <= half
    np.testing.assert_array_equal(back.signal, (data.waveform_array(0).T * 1e-3).astype(np.float32))


def test_writing_keeps_what_is_known_and_names_nobody(tmp_path):
    x = X.astype(np.float32)
    x[2, 5:9] = np.nan
    values = {"QT": 401.5, "heart rate": 61.0, "P axis": -12.0, "height": 172.0, "weight": 70.5}
    record = Record(
        x, 500, LEADS, id="Jane", patient="key:0123", age=45.0, sex="F", values=values, report="Vorhofflimmern µ\nzwei"
    )
    path, data, back = written(tmp_path, record)
    np.testing.assert_array_equal(np.isnan(back.signal), np.isnan(x))
    np.testing.assert_array_equal(back.signal[~np.isnan(x)], x[~np.isnan(x)])
    assert (back.age, back.sex, back.values, back.report) == (45, "F", values, record.report)
    assert str(data.PatientID) == "key:0123" and data.Manufacturer == "ecgraft" and data.PatientIdentityRemoved == "YES"
    assert b"Jane" not in path.read_bytes()
    assert path.read_bytes() == written(tmp_path, record)[0].read_bytes()
    assert data.SOPInstanceUID != written(tmp_path, record.but(age=46.0))[1].SOPInstanceUID
    assert all(uid.is_valid for uid in (data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID))


def test_writing_keeps_the_step_or_takes_the_finest_that_holds(tmp_path):
    x = np.array([[-2.5, 0.0025, 81.9175], [1, 2, 3]], np.float32)
    _, data, back = written(tmp_path, Record(x, 500, ("I", "II"), extra={"resolution": "0.0025"}))
    np.testing.assert_array_equal(back.signal, x)
    steps = [str(c.ChannelSensitivity) for c in data.WaveformSequence[0].ChannelDefinitionSequence]
    assert steps == ["2.5", "1"]
    x = np.array([[-500.0, 0.03, 327.67]], np.float32)
    _, data, back = written(tmp_path, Record(x, 500, ("I",)))
    step = float(data.WaveformSequence[0].ChannelDefinitionSequence[0].ChannelSensitivity)
    assert 500e3 / 32767 <= step <= 500e3 / 32767 * 1.0001 and np.abs(back.signal - x).max() <= step * 0.5001e-3
    assert np.isnan(written(tmp_path, Record(np.full((1, 3), np.nan), 500, ("I",)))[2].signal).all()


@pytest.mark.parametrize(
    "age, said, back", [(0.05, "018D", 0.0493), (0.5, "006M", 0.5), (1.9, "022M", 1.8333), (101.7, "101Y", 101)]
)
def test_ages_are_written_in_the_unit_that_fits(tmp_path, age, said, back):
    _, data, record = written(tmp_path, Record(X[:1], 500, ("I",), age=age))
    assert data.PatientAge == said and record.age == back


def test_more_leads_than_a_group_holds_are_refused(tmp_path):
    names = tuple(f"E{i}" for i in range(25))
    with pytest.raises(InputError, match="25 leads; a DICOM ECG has at most 24"):
        formats.write(Record(np.ones((25, 3)), 500, names), tmp_path / "x.dcm", format="dicom")
