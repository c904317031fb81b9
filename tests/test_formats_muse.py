"""GE MUSE XML: samples bit for bit, the leads that it does not store, checksums, statements, beats, dates."""

from __future__ import annotations

import base64
import re
import zlib

import numpy as np
import pytest

import made_muse as made
from ecgraft import formats
from ecgraft.formats import _said, muse
from ecgraft.record import LEADS, InputError

KEY = "a secret of sixteen bytes"


def read(path, **given):
    return formats.read(path, format="muse", **given)


def file(folder, body, **more):
    path = folder / "a.xml"
    path.write_bytes(made.document(body, **more))
    return path


def one(*numbers, rate=500, more="", **lead):
    return made.waveform(made.lead("I", numbers, **lead), rate, more=more)


@pytest.mark.parametrize("rate", [240, 250, 500, 1000])
def test_what_is_written_is_read_bit_for_bit(tmp_path, rate):
    signal = np.random.default_rng(0).normal(size=(12, 300))
    path = made.save(tmp_path / "a.xml", signal, rate, LEADS)
    record = read(path)
    np.testing.assert_array_equal(record.signal, (np.rint(signal / made.STEP) * made.STEP).astype(np.float32))
    assert (record.leads, record.rate, record.id) == (LEADS, rate, "a")
    assert record.extra["unit"] == "MICROVOLTS" and record.extra["resolution"] == "0.001"
    assert muse.claims(path, path.read_bytes()[:4096]) == 2
    assert not muse.claims(path, b"<restingecgdata/>") and not muse.claims(path, b"\0\1")


def test_bytes_by_hand(tmp_path):
    """1, -1, 256 as little-endian int16 is 0100 ffff 0001; 4.88 uV a bit."""
    assert base64.b64encode(bytes.fromhex("0100ffff0001")) == b"AQD//wAB" and zlib.crc32(b"123456789") == 0xCBF43926
    path = file(tmp_path, one(0, 0, 0, packed="AQD/\n/wAB", per_bit="4.88", crc="0"))
    np.testing.assert_array_equal(read(path).signal[0], np.float32([0.00488, -0.00488, 1.24928]))


def test_eight_leads_become_twelve_in_exact_halves(tmp_path):
    x = np.random.default_rng(1).integers(-3000, 3000, (8, 50))
    record = read(made.save(tmp_path / "a.xml", x * made.STEP, 500, made.EIGHT))
    assert record.leads == LEADS
    one, two = x[:2].astype(float)
    expected = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2, "V6": x[7]}
    for name, numbers in expected.items():
        np.testing.assert_array_equal(record.lead(name), (numbers * 0.001).astype(np.float32))
    assert record.extra["derived"].startswith("III, aVR, aVL, aVF from I and II")
    total = record.lead("aVR").astype(float) + record.lead("aVL") + record.lead("aVF")
    np.testing.assert_allclose(total, 0, atol=1e-6)


def test_stored_leads_are_not_computed_again_and_few_are_not_added_to(tmp_path):
    x = np.random.default_rng(1).integers(-900, 900, (15, 20)) * made.STEP
    names = (*made.EIGHT, "aVR", "V3R", "V4R", "V7")
    record = read(made.save(tmp_path / "a.xml", x[:12], 500, names))
    assert record.leads == (*LEADS, "V3R", "V4R", "V7")
    np.testing.assert_allclose(record.lead("aVR"), x[8], atol=1e-7)
    assert record.extra["derived"].startswith("III, aVL, aVF from")
    assert read(made.save(tmp_path / "a.xml", x[:2], 500, ("I", "II"))).leads == ("I", "II")


def test_resolutions_that_differ(tmp_path):
    leads = [made.lead(name, [10, 20], per_bit="2" if name == "II" else "1") for name in made.EIGHT]
    record = read(file(tmp_path, made.waveform("".join(leads))))
    np.testing.assert_allclose(record.lead("III"), [0.010, 0.020], atol=1e-7)
    assert record.extra["resolution"] == "0.001 to 0.002"


@pytest.mark.parametrize(
    "per_bit, unit, step", [("4,88", "MICROVOLTS", 0.00488), ("2", "MILLIVOLTS", 2), ("1e-3", "VOLTS", 1)]
)
def test_units(tmp_path, per_bit, unit, step):
    np.testing.assert_allclose(read(file(tmp_path, one(3, per_bit=per_bit, unit=unit))).signal, [[3 * step]], rtol=1e-6)


def test_a_rate_is_base_and_exponent(tmp_path):
    assert read(file(tmp_path, made.waveform(made.lead("I", [1]), 5, exponent=2))).rate == 500
    assert read(file(tmp_path, made.waveform(made.lead("I", [1]), 2500, exponent=-1))).rate == 250


def test_every_variant_is_read(tmp_path):
    found = {path.stem: read(path, rate=500) for path in made.variants(tmp_path)}
    np.testing.assert_array_equal(found["hex"].signal, found["full"].signal[:1])
    np.testing.assert_array_equal(found["utf16"].signal, found["latin"].signal)
    assert found["comma"].leads == ("II", "V9") and "below 0 turns V9 over" in found["comma"].extra["assumed"]
    assert found["empty lead"].extra["skipped"] == "II (no samples)"
    later = found["later"]
    assert (
        later.signal.shape == (2, 45) and np.isnan(later.signal[1, :15]).all() and np.isnan(later.signal[0, 30:]).all()
    )
    assert found["bare"].rate == 500 and "median" not in found["bare"].extra
    assert found["original"].values == {k: v for k, v in found["full"].values.items() if k != "RR"}


def test_the_median_beat(tmp_path):
    path = next(path for path in made.variants(tmp_path) if path.stem == "full")
    record, beat = read(path), read(path, median=True)
    assert record.extra["median"] == "20 samples at 500 Hz, 8 leads" and record.signal.shape == (12, 30)
    np.testing.assert_array_equal(beat.signal, record.signal[:, :20])
    assert record.waves is None and beat.beats is None and beat.values == record.values
    long = made.waveform(made.lead("I", [0] * 600), kind="Median")
    block = f"<RestingECGMeasurements>{made.MEASURED}</RestingECGMeasurements>"
    beat = read(file(tmp_path, block + long), median=True)
    assert set(beat.waves.tolist()) == {(1, -1, 20, -1, 70), (2, -1, 100, -1, 145), (3, -1, -1, -1, 300)}
    with pytest.raises(InputError, match="no rhythm in it; export the ECG again with waveforms"):
        read(file(tmp_path, long))
    with pytest.raises(InputError, match="no median beat in it; read it without median"):
        read(file(tmp_path, one(1)), median=True)


def test_measurements(tmp_path):
    path = next(path for path in made.variants(tmp_path) if path.stem == "full")
    axes = {"P axis": 45, "QRS axis": -12, "T axis": 0}
    times = {"heart rate": 60, "PR": 160, "QRS": 90, "QT": 400, "QTc": 401, "RR": 1000, "P duration": 100}
    record = read(path)
    assert record.values == times | axes | {"height": 170, "weight": pytest.approx(69.85, abs=0.01)}
    assert record.extra["filters"] == "high-pass 0.16 Hz, low-pass 150 Hz, notch 60 Hz"
    assert (record.age, record.sex, record.extra["device"], record.extra["status"]) == (
        61,
        "F",
        "GE MAC55",
        "confirmed",
    )


def test_a_value_that_was_taken_out_is_not_taken_from_the_machine(tmp_path):
    edited = made.MEASURED.replace("<PRInterval>160</PRInterval>", "<PRInterval></PRInterval>")
    both = f"<RestingECGMeasurements>{edited}</RestingECGMeasurements>"
    both += f"<OriginalRestingECGMeasurements>{made.MEASURED}</OriginalRestingECGMeasurements>"
    assert "PR" not in read(file(tmp_path, both + one(1))).values
    nothing = "<RestingECGMeasurements><QRSCount>8</QRSCount></RestingECGMeasurements>"
    assert read(file(tmp_path, nothing + both[len(edited) + 49 :] + one(1))).values["PR"] == 160


def test_statements(tmp_path):
    path = next(path for path in made.variants(tmp_path) if path.stem == "full")
    assert (
        read(path).report
        == "Sinus rhythm with 1st degree A-V block\nWhen compared with ECG of (date), PR has increased"
    )
    each = re.sub("<StmtFlag>ENDSLINE</StmtFlag>", "", made.DIAGNOSIS)
    record = read(file(tmp_path, f"<Diagnosis>{each}</Diagnosis>" + one(1)))
    assert record.report.split("\n")[:2] == ["Sinus rhythm", "with 1st degree A-V block"]
    signed = "<Diagnosis><DiagnosisStatement><StmtText>Confirmed by: X</StmtText></DiagnosisStatement></Diagnosis>"
    original = f"<OriginalDiagnosis>{made.DIAGNOSIS}</OriginalDiagnosis>"
    assert read(file(tmp_path, signed + original + one(1))).report.startswith("Sinus rhythm")


def test_reports_keep_words_that_are_names_where_they_are_words():
    lines = ["Left bundle branch block", "Block, Anna: see Block", "UNCONFIRMED", "  ", "Also confirmed by: Block"]
    assert _said.report(lines, ["Block"]) == "Left bundle branch block\nBlock, Anna: see (name)\nUNCONFIRMED"
    assert _said.report(["Miller, Anna", "seen by miller"], ["Miller", "Anna"]) == "(name), (name)\nseen by (name)"
    assert _said.names(["ECG Lab", "Dr. Who Long"]) == ["ECG Lab", "Dr. Who Long", "Who"]
    assert _said.report(["Befundet durch Dr. X am 1.2.2020", "vom 01.02.2020 10:11"]) == "vom (date)"


def test_beats_are_in_ms(tmp_path):
    """As in exports of MUSE 9: 614, 1914 ... 9312 ms in 10 s at 500 Hz, where the heart rate is 48."""
    times = (614, 1914, 3132, 4384, 5600, 6802, 8046, 9312)
    wave = one(*[0] * 5000)
    record = read(file(tmp_path, made.beats(*times, rr=1242) + wave))
    assert record.beats["sample"].tolist() == [time // 2 for time in times]
    assert set(record.beats["symbol"]) == {b"?"} and "assumed" not in record.extra
    for rr in (1242, ""):  # other exports have samples
        record = read(file(tmp_path, made.beats(*(t // 2 for t in times), shapes=(0,) * 7 + (1,), rr=rr) + wave))
        assert record.beats["sample"].tolist() == [time // 2 for time in times]
        assert record.extra["assumed"] == "times of QRS complexes are samples"
    assert record.extra["skipped"] == "shapes of beats: 7 of 0, 1 of 1"
    assert read(file(tmp_path, made.beats(-5, "x", 99999) + wave)).beats is None


def test_checksums(tmp_path):
    good, bad = made.lead("I", [1, 2]), made.lead("II", [3, 4], crc="77")
    with pytest.raises(InputError, match="the checksum of II is wrong, its samples are damaged; get it again"):
        read(file(tmp_path, made.waveform(good + bad)))
    assert "none of the checksums fits" in read(file(tmp_path, made.waveform(bad))).extra["assumed"]
    signed = zlib.crc32(np.array([3, 4], "<i2").tobytes()) - 2**32
    assert "assumed" not in read(file(tmp_path, one(3, 4, crc=signed))).extra
    assert "assumed" not in read(file(tmp_path, one(3, 4, crc=""))).extra


def test_quality_and_unused_elements_are_told(tmp_path):
    more = "<BaselineSway>TRUE</BaselineSway><FirstSampleBaseline>12</FirstSampleBaseline>"
    record = read(
        file(tmp_path, one(1, 2, more="<X/>").replace("<LeadOff>FALSE</LeadOff>", "<LeadOff>TRUE</LeadOff>" + more))
    )
    assert record.extra["quality"] == "LeadOff I; BaselineSway I"
    assert record.extra["assumed"] == "FirstSampleBaseline 12 of I does not count"
    np.testing.assert_array_equal(record.signal, np.float32([[0.001, 0.002]]))


@pytest.mark.parametrize(
    "patient, test, age",
    [
        ("<PatientAge>7</PatientAge><AgeUnits>MONTHS</AgeUnits>", "", round(7 / 12, 4)),
        ("<PatientAge>0</PatientAge><AgeUnits>DAYS</AgeUnits>", "", 0),
        ("<PatientAge>0</PatientAge><AgeUnits>YEARS</AgeUnits>", "", None),
        ("<PatientAge>255</PatientAge><AgeUnits>YEARS</AgeUnits>", "", None),
        ("<DateofBirth>08-18-1950</DateofBirth>", "08-17-2011", 60),  # month first
        ("<DateofBirth>18.08.1950</DateofBirth>", "17.08.2011", 60),  # German
        ("<DateofBirth>18/08/1950</DateofBirth>", "03/09/2011", 61),  # French: the 18 says that the day comes first
        ("<DateofBirth>1950-08-18</DateofBirth>", "2011-08-17", 60),
        ("<DateofBirth>18-MÄR-1950</DateofBirth>", "17-MAR-2011", 60),
        ("<DateofBirth>06-10-1900</DateofBirth>", "09-22-20XX", None),
        ("<DateofBirth>13-13-1950</DateofBirth>", "08-17-2011", None),
        ("<DateofBirth>08-17-2012</DateofBirth>", "08-17-2011", None),
    ],
)
def test_ages(tmp_path, patient, test, age):
    record = read(file(tmp_path, one(1), patient=patient, test=f"<AcquisitionDate>{test}</AcquisitionDate>"))
    assert record.age == age and ("derived" in record.extra) == bool(test and age)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("</RestingECG>", "", "broken XML"),
        ("RestingECG>", "Resting>", "its root is 'Resting' and not RestingECG"),
        ("<Type>0", "", "broken XML"),
        ("MICROVOLTS", "APPLES", "lead I: unknown unit 'apple'; say what it is with unit"),
        ("<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>", "", "does not say its unit"),
        ("PerBit>1<", "PerBit>0<", "lead I: its resolution is 0"),
        ("PerBit>1<", "PerBit>x<", "lead I: LeadAmplitudeUnitsPerBit is no number"),
        ("CountTotal>2<", "CountTotal>3<", "lead I: 2 samples of 3; it is cut short"),
        (
            "<LeadSampleCountTotal>2<",
            "<LeadSampleCountTotal>9<",
            "2 samples of 9; it is cut short, or compressed, which cannot be read",
        ),
        ("AQACAA==", "AQACAA=", "lead I: its samples are no Base64"),
        ("AQACAA==", "AQA*AA==", "lead I: its samples are no Base64"),
        ("AQACAA==", "AQAC", "lead I: 1 samples of 2; it is cut short"),
        ("AQACAA==", "", "none of its 1 leads has samples; export the ECG again with waveforms"),
        ("SampleSize>2<", "SampleSize>3<", "lead I: samples of 3 bytes; only 1, 2 and 4 are known"),
        ("SampleBase>500<", "SampleBase>0<", "a rate of 0 x 10"),
        ("<SampleBase>500</SampleBase>", "", "does not say its sampling rate"),
        ("Exponent>0<", "Exponent>99<", "a rate of 500 x 10.99 Hz"),
        ("SampleBase>500<", "SampleBase>500000<", "it must be above 0 and at most 100000"),
        ("Waveform>", "Waves>", "no rhythm in it; export the ECG again with waveforms"),
        ('"restecg.dtd"', '"restecg.dtd" [<!ENTITY a "b">]', "declares entities"),
        ("<LeadOff>", "<LeadOffsetFirstSample>-4</LeadOffsetFirstSample><LeadOff>", "LeadOffsetFirstSample is -4"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    path = file(tmp_path, made.beats(1) + one(1, 2))
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    with pytest.raises(InputError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)


def test_what_follows_the_samples_is_told_and_other_records_refused(tmp_path):
    path = file(tmp_path, one(1, 2, 3, count=2))
    record = read(path, index=0)
    assert record.signal.shape == (1, 2) and record.extra["assumed"] == "the first 2 of 3 samples are lead I"
    with pytest.raises(InputError, match="no record 1 in it; it holds one"):
        read(path, index=1)


def test_sizes_that_files_claim_are_refused_before_they_are_allocated(tmp_path):
    late = made.lead("I", [1]), made.lead("II", [1], more="<LeadOffsetFirstSample>2e9</LeadOffsetFirstSample>")
    with pytest.raises(InputError, match="values in"):
        read(file(tmp_path, made.waveform("".join(late))))
    with pytest.raises(InputError, match="65 leads; at most 64"):
        read(file(tmp_path, made.waveform(made.lead("I", [1]) * 65)))


def test_nobody_is_named(tmp_path):
    for path in made.variants(tmp_path):
        record = read(path, rate=500)
        for secret in ("99887766", "Quastenflosser", "Latimeria", "Lätimeria", "Wellenreiter", "Anna", "Tiefsee"):
            assert secret not in re.sub(str(tmp_path), "", repr(record)), (path, secret)
        for secret in ("1950", "2010", "2011", "001234567"):
            assert secret not in " ".join([record.report or "", *record.extra.values()])
        assert record.patient is None
    found = {read(path, rate=500, patient_key=KEY).patient for path in made.variants(tmp_path)}
    assert len(found) == 1 and found.pop().startswith("key:")


def test_beats_count_from_the_first_sample_of_the_record(tmp_path):
    """Leads that begin 20 samples (40 ms) after the ECG: a QRS at 60 ms is their sample 10."""
    late = "<LeadOffsetFirstSample>20</LeadOffsetFirstSample>"
    body = made.waveform(made.lead("I", range(500), more=late)) + made.beats(20, 60, 860, rr=800)
    record = read(file(tmp_path, body))
    assert record.signal.shape == (1, 500) and record.beats["sample"].tolist() == [10, 410]
