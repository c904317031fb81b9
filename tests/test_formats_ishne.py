"""ISHNE Holter files and their annotations, against an encoder that writes them field by field."""

import warnings

import numpy as np
import pytest

import made_ishne as made
from ecgraft import formats
from ecgraft.record import InputError

KEY = "0123456789abcdef"
X = np.round(np.random.default_rng(0).normal(size=(3, 400)), 3)


def read(path, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return formats.read(path, format="ishne", **given)


def test_by_hand(tmp_path):
    """Two leads of three samples, 2 uV a step: every byte that counts is written here."""
    data = bytearray(522)
    data[:8], data[10:14], data[14:18], data[18:22], data[22:26] = (
        b"ISHNE1.0",
        b"\2\0\0\0",
        b"\3\0\0\0",
        b"\x0a\2\0\0",
        b"\x0c\2\0\0",
    )
    data[156:158], data[158:162], data[206:210], data[272:274] = b"\2\0", b"\6\0\x0b\0", b"\xd0\7\x88\x13", b"\xc8\0"
    (tmp_path / "a.ecg").write_bytes(data + b"hi" + b"\1\0\2\0" + b"\xff\xff\0\x80" + b"\0\x80\xff\x7f")
    record = read(tmp_path / "a.ecg")
    expected = np.float32([[0.002, -0.002, np.nan], [0.01, np.nan, 163.835]])
    np.testing.assert_array_equal(record.signal, expected)
    assert (record.leads, record.rate, record.extra["resolution"]) == (("II", "V1"), 200, "0.002 to 0.005")
    assert (record.sex, record.age, record.beats) == (None, None, None) and "assumed" not in record.extra


@pytest.mark.parametrize("count", [1, 2, 3])
def test_samples_come_back_to_the_last_bit(tmp_path, count):
    leads = ("aVR", "ES", "V6")[:count]
    record = read(made.save(tmp_path / "a.ecg", X[:count], 180, leads))
    assert np.array_equal(record.signal, X[:count].astype(np.float32)) and record.leads == leads
    assert read(made.save(tmp_path / "b.ecg", X[:1], 180, ("I",), steps=[2440])).signal[0, 0] == np.float32(
        round(X[0, 0] * 1e6 / 2440) * 2440 / 1e6
    )


def test_a_long_recording_is_read_in_blocks(tmp_path):
    digital = np.random.default_rng(0).integers(-(2**15) + 1, 2**15, (200_000, 3)).astype("<i2")
    path = tmp_path / "a.ecg"
    path.write_bytes(made.header(3, 500, [5, 6, 7], 200_000, steps=[1000, 3051, 32767]) + digital.tobytes())
    expected = (digital.T.astype(float) * np.array([[1000], [3051], [32767]]) / 1e6).astype(np.float32)
    assert np.array_equal(read(path).signal, expected)


def test_leads_without_a_name(tmp_path):
    path = made.save(tmp_path / "a.ecg", X, 200, (), specs=[0, 6, 99])
    assert read(path).leads == ("ECG1", "II", "ECG3")
    assert read(path, leads="CM5,CS1").leads == ("CM5", "II", "CS1") and read(path, leads="V1,V2,V3").leads[0] == "ECG1"
    assert read(made.save(tmp_path / "b.ecg", X[:1], 200, (), specs=[1])).leads == ("ECG",)
    assert read(made.save(tmp_path / "c.ecg", X[:2], 200, (), specs=[6, 6])).leads == ("II", "II-2")


def test_what_the_header_leaves_open(tmp_path):
    same = {
        "the checksum of the header is wrong; it is taken as it stands": {"sum": 0xBEEF},
        "the samples begin at byte 527; the header says 527 and 530": {"text": b"hello", "offset": 530},
        "400 samples of each lead are there, the header says 86400": {"samples": 86400},
        "": {"samples": 1200},
        None: {"sum": 0},
    }
    for said, more in same.items():
        record = read(made.save(tmp_path / "a.ecg", X, 200, ("I", "II", "III"), **more))
        assert np.array_equal(record.signal, X.astype(np.float32)) and record.extra.get("assumed", "") == (said or "")
    data = made.header(1, 200, [6], 4, text=b"ab", offset=525)  # the checksum says that the offset is right
    head = data[:8] + made.crc(data[10:] + b"?").to_bytes(2, "little") + data[10:]
    (tmp_path / "b.ecg").write_bytes(head + b"?" + made.short(1, 2, 3, 4))
    assert read(tmp_path / "b.ecg").signal.tolist() == [np.float32([0.001, 0.002, 0.003, 0.004]).tolist()]
    swapped = bytearray(made.save(tmp_path / "c.ecg", X, 200, ("I", "II", "III")).read_bytes())
    swapped[8], swapped[9] = swapped[9], swapped[8]
    (tmp_path / "c.ecg").write_bytes(swapped)
    assert "assumed" not in read(tmp_path / "c.ecg").extra
    path = made.save(tmp_path / "d.ecg", X, 200, ("I", "II", "III"), steps=[1000, 0, -9])
    with pytest.raises(InputError, match="does not say its unit; give it with unit"):
        read(path)
    record = read(path, unit="uV")
    assert np.array_equal(record.signal, X.astype(np.float32)) and "no resolution of II, III" in record.extra["assumed"]
    path = made.save(tmp_path / "e.ecg", X, 0, ("I", "II", "III"))
    with pytest.raises(InputError, match="does not say its sampling rate"):
        read(path)
    assert read(path, rate=128).rate == 128


def test_quality_pacemaker_sex_and_age(tmp_path):
    more = {"sex": 1, "born": (31, 12, 1950), "recorded": (30, 12, 2001), "quality": [1, 3, 5], "pacemaker": 3}
    record = read(made.save(tmp_path / "a.ecg", X, 200, ("I", "II", "III"), **more))
    assert (record.sex, record.age, record.extra["pacemaker"]) == ("M", 50, "yes")
    assert record.extra["quality"] == "II: frequent noise; III: frequent disconnection"
    assert (
        read(made.save(tmp_path / "b.ecg", X, 200, ("I", "II", "III"), born=(1, 1, 1850), recorded=(1, 1, 2001))).age
        is None
    )
    assert (
        read(made.save(tmp_path / "c.ecg", X, 200, ("I", "II", "III"), born=(31, 2, 1950), recorded=(1, 1, 2001))).age
        is None
    )


def test_beats_beside_it(tmp_path):
    path = made.save(tmp_path / "a.ecg", X[:2], 200, ("II", "V1"))
    assert formats.plugs.find("formats", "ishne").parts(path) == []
    marks = [("N", 0), ("V", 90), ("S", 5), ("P", 1), ("B", 1), ("U", 1), ("X", 2), ("C", 3), ("N", 200), ("N", 300)]
    made.annotate(path, 200, 17, marks)
    record = read(path)
    at = [17, 107, 112, 113, 114, 115, 320]
    assert record.beats.tolist() == list(zip(at, [b"N", b"V", b"S", b"/", b"B", b"Q", b"N"]))
    assert record.extra["skipped"] == "3 annotations that are no beats, or behind the end"
    assert [p.name for p in formats.survey(tmp_path).parts] == ["a.ann"] and formats.find(tmp_path) == [path]
    made.annotate(path, 200, 0, [("!", 65535), ("N", 1)])
    record = read(path)
    assert len(record.beats) == 0 and record.extra["skipped"].startswith("1 annotations")
    made.annotate(path, 500, 17, marks)
    assert read(path).beats is None and "not its own" in read(path).extra["skipped"]
    path.with_suffix(".ann").write_bytes(path.with_suffix(".ann").read_bytes()[:500])
    assert read(path).beats is None and "cut short" in read(path).extra["skipped"]
    path.with_suffix(".ann").write_bytes(b"something else")
    assert "skipped" not in read(path).extra


def test_a_person_leaves_a_hash_alone(tmp_path):
    more = {"first": b"Haagse", "last": b"Harry", "number": b"MCH-0234567", "born": (2, 5, 1951), "text": b"Dr Jones"}
    path = made.save(tmp_path / "a.ecg", X, 200, ("I", "II", "III"), recorded=(3, 3, 2002), **more)
    record, known = read(path), read(path, patient_key=KEY)
    assert record.patient is None and known.patient == formats.understand({"patient_key": KEY}).patient("mch-0234567")
    said = repr(known) + str(known.extra)
    assert not any(word in said for word in ("Haagse", "Harry", "MCH", "0234567", "1951", "2002", "Jones"))
    path = made.save(tmp_path / "a.ecg", X, 200, ("I", "II", "III"), **(more | {"number": b""}))
    assert read(path, patient_key=KEY).patient == formats.understand({"patient_key": KEY}).patient(
        "", "Haagse Harry", "1951-05-02"
    )


def test_what_is_wrong_is_named(tmp_path):
    path = made.save(tmp_path / "a.ecg", X, 200, ("I", "II", "III"))
    whole = path.read_bytes()
    wrong = {
        "cut short inside of its header": whole[:400],
        "a header and no samples": whole[:525],
        "13 leads in its header": whole[:156] + b"\x0d\0" + whole[158:],
        "begin at byte 65536522, but it has": whole[:10] + b"\0\0\xe8\3" + whole[14:22] + b"\0\0\0\0" + whole[26:],
        "annotations, which hold no signal": b"ANN  1.0" + whole[8:],
        "does not begin with ISHNE1": b"x" * 900,
    }
    for said, data in wrong.items():
        path.write_bytes(data)
        with pytest.raises(InputError, match=said):
            read(path)
    path.write_bytes(whole[:-3])
    assert read(path).signal.shape == (3, 399)
    with pytest.raises(InputError, match="median"):
        read(path, median=True)
