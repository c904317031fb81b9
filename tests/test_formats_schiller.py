"""Schiller XML against an encoder written here and the real file of CardIO's test data."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import made_schiller as made
from ecgraft import formats
from ecgraft.formats import schiller
from ecgraft.record import LEADS, QRS, InputError

SECRET = "a secret of 16 bytes"


def ecg(C=2, T=200, seed=0):
    return np.random.default_rng(seed).normal(0, 0.05, (C, T)).cumsum(axis=1)


def expected(x):
    return (np.round(x / made.STEP) * made.STEP).astype(np.float32)


def written(tmp_path, text):
    path = tmp_path / "p.xml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("mark", [",", ";", " ", ", ", ",\n\t"])
def test_samples_are_read_bit_for_bit(tmp_path, mark):
    x = ecg(12)
    record = formats.read(made.save(tmp_path / "p.xml", x, 500, [n.upper() for n in LEADS], block={"mark": mark}))
    np.testing.assert_array_equal(record.signal, expected(x))
    assert (record.rate, record.leads, record.id, record.extra["format"]) == (500, LEADS, "p", "schiller")
    assert (record.extra["unit"], record.extra["resolution"]) == ("uV", "0.001")


@pytest.mark.parametrize("unit, per_bit, factor", [("UV", "2.5", 0.0025), ("mV", "0.004", 0.004), ("NV", "100", 1e-4)])
def test_units(tmp_path, unit, per_bit, factor):
    digital = np.arange(-50, 50)[None]
    text = made.document(made.block(digital, 500, ["V1"], unit=unit, per_bit=per_bit), marks={})
    record = formats.read(written(tmp_path, text))
    np.testing.assert_array_equal(record.signal, (digital * factor).astype(np.float32))
    assert float(record.extra["resolution"]) == factor


def test_the_real_file_equals_plain_arithmetic(shared_data):
    path = shared_data / "formats" / "schiller" / "sample.xml"
    record, beat = formats.read(path), formats.read(path, median=True)
    block = {w.findtext("type"): w for w in ET.parse(path).iter("wavedata")}
    for found, kind in ((record, "ECG_RHYTHMS"), (beat, "ECG_AVERAGES")):
        data = [[float(v) for v in c.findtext("data").split(",") if v] for c in block[kind].findall("channel")]
        np.testing.assert_array_equal(found.signal, (np.array(data) / 1000).astype(np.float32))
        assert (found.rate, found.leads) == (500, LEADS)
    assert (record.signal.shape, beat.signal.shape) == ((12, 5000), (12, 500))
    np.testing.assert_array_equal(
        record.lead("I")[:9], np.float32([-60, -59, -59, -59, -59, -59, -59, -59, -57]) / 1000
    )
    assert record.extra["median"] == "500 samples at 500 Hz, 12 leads" and beat.extra["skipped"] == "the rhythm"
    assert (record.age, record.sex, record.report, record.patient) == (None, None, None, None)
    assert record.values == {
        "heart rate": 69, "RR": 869, "P duration": 108, "PR": 174, "QRS": 94, "QT": 370, "QTc": 397,
        "P axis": 42, "QRS axis": 0, "T axis": 3,
    }  # fmt: skip
    assert record.extra["device"] == "Schiller EmbeddedECG AT-10P (252)"
    assert record.extra["filters"] == "high-pass 0.05 Hz, low-pass 150 Hz, notch 50 Hz"


def test_einthoven_holds_in_the_real_file(shared_data):
    record = formats.read(shared_data / "formats" / "schiller" / "sample.xml")
    one, two, three, aVR, aVL, aVF = (record.lead(name).astype(float) for name in LEADS[:6])
    np.testing.assert_allclose(one + three, two, atol=1e-6)
    for lead, exact in ((aVR, -(one + two) / 2), (aVL, (one - three) / 2), (aVF, (two + three) / 2)):
        assert np.abs(lead - exact).max() < 0.00051


def test_marks_of_qrs_lie_around_the_steepest_samples_of_the_real_file(shared_data):
    record = formats.read(shared_data / "formats" / "schiller" / "sample.xml")
    assert len(record.waves) == 11 and (record.waves["kind"] == QRS).all() and (record.waves["lead"] == -1).all()
    slope = np.abs(np.gradient(record.signal, axis=1)).sum(axis=0)
    for wave in record.waves:
        around = slice(wave["onset"] - 100, wave["offset"] + 100)
        assert wave["onset"] <= around.start + slope[around].argmax() <= wave["offset"]


def test_the_rhythm_with_most_leads_is_read(tmp_path):
    paths = {path.stem: path for path in made.variants(tmp_path)}
    several = formats.read(paths["several"])
    assert (several.leads, several.rate, several.signal.shape) == (LEADS, 250, (12, 200))
    assert several.extra["skipped"].count("ECG_RHYTHMS of 2 leads, 60 samples") == 2
    assert formats.read(paths["beats"]).extra["median"] == "50 samples at 500 Hz, 2 leads"
    assert formats.read(paths["beats"], median=True).signal.shape == (2, 50)
    assert "the block ECG is the rhythm" in formats.read(paths["unmarked"]).extra["assumed"]


def test_marks_that_do_not_fit_are_left_out(tmp_path):
    """23 and 22 samples are 92 ms at 250 Hz, but 46 ms at 500 Hz, where the device has measured 90 ms."""
    record = formats.read(made.save(tmp_path / "p.xml", ecg(), 250, ("I", "II")))
    assert [tuple(wave) for wave in record.waves] == [(QRS, -1, 20, -1, 43), (QRS, -1, 120, -1, 142)]
    assert record.scored is None and "onsets of P and ends of T" in record.extra["skipped"]
    other = formats.read(made.save(tmp_path / "p.xml", ecg(), 500, ("I", "II")))
    assert other.waves is None and "do not fit the rhythm" in other.extra["skipped"]


def test_statements_measurements_and_person(tmp_path):
    record = formats.read(made.save(tmp_path / "p.xml", ecg(), 250, ("I", "II")))
    assert record.report == "Normal ECG"
    values = {"heart rate": 61, "RR": 980, "PR": 150, "QRS": 90, "QT": 400, "QRS axis": -21, "weight": 80.5}
    assert record.values == values
    assert (record.age, record.sex) == (61, "F") and record.extra["derived"] == "age from the date of birth"
    final = {path.stem: path for path in made.variants(tmp_path)}["final"]
    assert formats.read(final).report == "final"


def test_a_date_that_was_taken_out_gives_no_age(tmp_path):
    path = made.save(tmp_path / "p.xml", ecg(), 250, ("I", "II"))
    path.write_text(path.read_text().replace(made.DAY, "19700101"))
    assert formats.read(path).age is None


def test_channels_without_samples_or_of_other_signals(tmp_path):
    digital = np.arange(12).reshape(4, 3)
    text = made.document(made.block(digital, 500, ["I", "RESP", "V1", "I"]), marks={})
    record = formats.read(written(tmp_path, text.replace("6,7,8,", "")))
    assert record.leads == ("I", "I-2") and record.extra["skipped"] == "RESP; V1 (no samples)"
    short = formats.read(
        written(tmp_path, re.sub(r"<samplecount>\d+</samplecount>", "", text).replace("9,10,11,", "9,,"))
    )
    np.testing.assert_array_equal(short.lead("I-2"), np.float32([0.009, np.nan, np.nan]))


def test_nobody_is_named(tmp_path):
    texts = (("INTERPRETATION", f"Normal ECG of {made.NAMES[0]}\nseen by {made.NAMES[2]} on 01.12.2011"),)
    path = made.save(tmp_path / "p.xml", ecg(), 250, ("I", "II"), texts=texts)
    hidden = (*made.NAMES, made.NUMBER, made.BORN, made.DAY, made.SERIAL, "01.12.2011")
    for options in ({}, {"patient_key": SECRET}):
        record = formats.read(path, **options)
        said = repr((record.but(signal=np.zeros((2, 1))), record.extra, record.report))
        assert not [word for word in hidden if word.casefold() in said.casefold()]
        assert (record.patient is None) == (not options)


BAD = {
    "there is no rhythm in it": ("ECG_RHYTHMS", "ECG_AVERAGES"),
    "lead II is cut short, 200 of 900 samples": ("(?s)(.*)<samplecount>200", r"\1<samplecount>900"),
    "samples are 'BASE64'": ("COMMASEPARATE", "BASE64"),
    "with exponent 2": ("<exponent>1<", "<exponent>2<"),
    "sampling rate; give it with rate": ("<samplerate>.*?</samplerate>", ""),
    "unknown unit 'KG'": ("<units>UV<", "<units>KG<"),
    "does not say its unit": ("<units>UV<", "<units><"),
    "its resolution is 0.0": ("<unitperbit>1.0", "<unitperbit>0.0"),
    "its resolution is None": ("<unitperbit>.*</unitperbit>", ""),
    "no ECG among its channels": ("<name>II?</name>", "<name>SPO2</name>"),
    "among its samples": ("<data>", "<data>ten,"),
    "a number that is no sample": ("<data>", "<data>1e300,"),
    "Other' and not SchillerEDI": ("SchillerEDI", "Other"),
}


@pytest.mark.parametrize("why", BAD)
def test_bad_files(tmp_path, why):
    path = made.save(tmp_path / "p.xml", ecg(), 250, ("I", "II"))
    text = re.sub(*BAD[why], path.read_text(), flags=re.DOTALL)
    assert text != path.read_text()
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(why)):
        formats.read(path, format="schiller")


def test_options(tmp_path):
    path = made.save(tmp_path / "p.xml", ecg(), 250, ("I", "II"))
    assert formats.read(path, index=0).leads == ("I", "II")
    with pytest.raises(InputError, match="holds one record"):
        formats.read(path, index=1)
    with pytest.raises(InputError, match="no median beat"):
        formats.read(path, median=True)
    path.write_text(path.read_text().replace("<units>UV<", "<units><").replace("<value>250<", "<value><"))
    record = formats.read(path, unit="uV", rate=500)
    assert (record.rate, record.extra["unit"]) == (500, "uV")
    many = made.document(made.block(np.zeros((65, 2), int), 500, [f"L{i}" for i in range(65)]))
    with pytest.raises(InputError, match="65 leads; at most 64"):
        formats.read(written(tmp_path, many))


def test_every_variant_is_claimed_and_read(tmp_path):
    for path in made.variants(tmp_path):
        assert schiller.claims(path, path.read_bytes()[: formats.HEAD]) == 2
        assert formats.detect(path) is schiller and formats.read(path).extra["format"] == "schiller"
    assert schiller.claims(path, b"<?xml version='1.0'?><CardiologyXML>") == 0
