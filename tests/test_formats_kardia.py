"""AliveCor's ATC files and API recordings against an encoder and bytes by hand."""

import json
import struct

import numpy as np
import pytest

import made_kardia as made
from ecgraft import formats
from ecgraft.record import InputError

SIX = ("I", "II", "III", "aVR", "aVL", "aVF")
X = np.random.default_rng(5).normal(size=(6, 90))
EXACT = (made.digital(X) * 500 / 1e6).astype(np.float32)
SECRET = "0123456789abcdef"


@pytest.mark.parametrize("crc", [False, True], ids=["sum", "crc32"])
def test_atc(tmp_path, crc):
    path = made.atc(tmp_path / "r", X, 300, SIX, crc=crc, flags=2 | 4 | 16, beats=[(10, 1), (40, 2), (70, 0), (900, 1)])
    record = formats.read(path)
    np.testing.assert_array_equal(record.signal, EXACT)
    assert (record.leads, record.rate, record.id, record.extra["resolution"]) == (SIX, 300, "r", "0.0005")
    assert record.extra["filters"] == "high-pass 0.1 Hz, notch 60 Hz"
    assert record.extra["device"] == "AliveCor, kardia_mobile, AliveECG 1.6.7"
    assert record.beats.tolist() == [(10, b"N"), (40, b"V"), (70, b"?")]  # the one at 900 is after the end


def test_atc_by_hand(tmp_path):
    """The example of the specification: samples 0, -297, 393, 4893 of 500 nV at 300 Hz."""
    data = bytes.fromhex("414c495645000000 02000000")
    fmt = b"fmt " + bytes.fromhex("08000000 01 2c01 f401 0e 0000")
    ecg = b"ecg " + bytes.fromhex("08000000 0000 d7fe 8901 1d13")
    data += b"".join(part + struct.pack("<I", sum(part)) for part in (fmt, ecg))
    (tmp_path / "r.atc").write_bytes(data)
    record = formats.read(tmp_path / "r.atc")
    np.testing.assert_array_equal(record.signal[0], np.float32([0, -0.1485, 0.1965, 2.4465]))
    assert record.leads == ("I",) and record.extra["filters"] == "notch 60 Hz"


def test_a_median_beat_is_told_and_read(tmp_path):
    path = made.atc(tmp_path / "r", X, 300, SIX, median=X[:2, :30])
    assert formats.read(path).extra["median"] == "30 samples at 300 Hz, 2 leads"
    beat = formats.read(path, median=True)
    np.testing.assert_array_equal(beat.signal, EXACT[:2, :30])
    assert beat.leads == ("I", "II") and "median" not in beat.extra
    with pytest.raises(InputError, match="no median beat"):
        formats.read(made.atc(tmp_path / "n", X, 300, SIX), median=True)


def test_a_lead_that_is_shorter_ends_in_nothing(tmp_path):
    record = formats.read(made.atc(tmp_path / "r", [X[0], X[1, :40]], 300, ("I", "V6")))
    assert np.isnan(record.signal[1, 40:]).all() and not np.isnan(record.signal[1, :40]).any()


def test_json(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(made.recording(X, 300, SIX)))
    record = formats.read(path, patient_key=SECRET)
    np.testing.assert_array_equal(record.signal, EXACT)
    assert (record.leads, record.rate, record.report) == (SIX, 300, "normal")
    assert record.labels == {"kardia:normal": 1}
    assert record.values == {"heart rate": 72, "QT": 400, "QTc": 438, "RR": 833}
    assert record.patient.startswith("key:") and formats.read(path).patient is None
    assert not [word for word in ("4711", "SN-99", "2024", "e8q0") if word in repr(record)]


def test_the_second_reader_agrees_on_what_identity_is(tmp_path):
    text = repr(formats.read(made.atc(tmp_path / "r", X, 300, SIX), patient_key=SECRET))
    assert not [word for word in ("AC6L", "58E0", "2b6f", "2010", "iPhone") if word in text]


def change(said: dict, **raw) -> dict:
    said["data"]["raw"] |= raw
    return said


JSON = made.recording(X[:1], 300, ("I",))
BAD = {
    "no rate": (lambda: change(made.recording(X[:1], 300, ("I",)), frequency="fast"), "data.raw.frequency is 'fast'"),
    "no unit": (lambda: change(made.recording(X[:1], 300, ("I",)), amplitudeResolution=None), r"unit \(--unit"),
    "no list": (
        lambda: change(made.recording(X[:1], 300, ("I",)), samples={"leadI": [1, "x"]}),
        "not a list of numbers",
    ),
    "twelve": (lambda: {"recordedAt": "", "patientID": "", "data12L": {}}, "12L recordings do not say"),
}


@pytest.mark.parametrize("case", BAD)
def test_json_that_is_no_recording(tmp_path, case):
    said, message = BAD[case][0](), BAD[case][1]
    (tmp_path / "r.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match=message):
        formats.read(tmp_path / "r.json")
    (tmp_path / "r.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="broken JSON"):
        formats.read(tmp_path / "r.json", format="kardia")


def test_atc_that_is_damaged(tmp_path):
    path = made.atc(tmp_path / "r", X, 300, SIX)
    whole = path.read_bytes()
    cases = {
        "cut short": whole[:-3],
        "no format block": whole[:288],
        "checksum of block 'ecg '": whole[:320] + bytes([whole[320] ^ 1]) + whole[321:],
        "no samples": whole[:308],
        "samples of format 2": whole[:288] + made.block("fmt ", struct.pack("<BHHBH", 2, 300, 500, 0, 0)),
    }
    for message, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            formats.read(path)
    path.write_bytes(whole[:30] + b"x" + whole[31:])
    assert formats.read(path).extra["assumed"] == "the checksum of block info is wrong"
