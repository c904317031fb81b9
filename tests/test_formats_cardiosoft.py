"""CardioSoft XML against an encoder written here and a real file of CardioSoft 6.7."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import made_cardiosoft as made
from ecgraft import formats
from ecgraft.formats import cardiosoft
from ecgraft.record import LEADS, InputError

SECRET = "a secret of 16 bytes"


def ecg(C=2, T=200, seed=0):
    return np.random.default_rng(seed).normal(0, 0.02, (C, T)).cumsum(axis=1)


def expected(x):
    return (np.round(x / made.STEP) * made.STEP).astype(np.float32)


def written(tmp_path, text):
    path = tmp_path / "p.xml"
    path.write_text(text, encoding="latin-1")
    return path


def test_strips_are_read_bit_for_bit(tmp_path):
    x = ecg(12)
    record = formats.read(made.save(tmp_path / "p.xml", x, 500, LEADS))
    np.testing.assert_array_equal(record.signal, expected(x))
    assert (record.rate, record.leads, record.id, record.extra["format"]) == (500, LEADS, "p", "cardiosoft")
    assert (record.extra["unit"], record.extra["resolution"]) == ("uV", "0.001")


UNITS = [("uVperLsb", "4.88", 0.00488), ("mVperLsb", "0.005", 0.005), ("", "5", 0.005)]


@pytest.mark.parametrize("unit, step, factor", UNITS)
def test_units(tmp_path, unit, step, factor):
    digital = np.arange(-50, 50)[None]
    record = formats.read(written(tmp_path, made.document(made.strip(digital, 500, ["V1"], unit=unit, step=step))))
    np.testing.assert_array_equal(record.signal, (digital * factor).astype(np.float32))
    assert ("unit uV" in record.extra.get("assumed", "")) == (not unit)


def test_the_real_file_equals_plain_arithmetic(shared_data):
    path = shared_data / "formats" / "cardiology-xml" / "dummy_ecg.xml"
    record, beat = formats.read(path), formats.read(path, median=True)
    tree = ET.parse(path)
    for found, place in ((record, "StripData"), (beat, "RestingECGMeasurements/MedianSamples")):
        waves = tree.findall(f"{place}/WaveformData")
        data = np.array([[int(v) for v in wave.text.split(",")] for wave in waves])
        np.testing.assert_array_equal(found.signal, (data * 5 / 1000).astype(np.float32))
        assert (found.rate, found.leads) == (500, tuple(wave.get("lead") for wave in waves))
    assert (record.signal.shape, beat.signal.shape) == ((12, 5000), (12, 600))
    np.testing.assert_array_equal(record.lead("II")[:5], np.float32([0.045, 0.03, 0.015, 0, -0.01]))
    assert record.extra["median"] == "600 samples at 500 Hz, 12 leads" and record.leads == LEADS
    assert record.report.splitlines()[0] == "Normal sinus rhythm" and len(record.report.splitlines()) == 3
    assert record.values == {
        "heart rate": 74, "PR": 172, "P duration": 120, "QRS": 74, "QT": 394, "QTc": 437, "RR": 815,
        "P axis": 43, "QRS axis": -20, "T axis": 41,
    }  # fmt: skip
    assert (record.age, record.sex, record.patient, record.beats) == (None, None, None, None)
    assert record.extra["device"] == "GE CardioSoft V6.71"
    assert record.extra["filters"] == "low-pass 150 Hz, notch 50 Hz"


@pytest.mark.parametrize("by_second", [True, False])
@pytest.mark.parametrize("total", ["", "<SampleCountTotal>600</SampleCountTotal>"])
def test_a_whole_exercise_test_in_either_order(tmp_path, by_second, total):
    digital = np.round(ecg(3, 1000) / made.STEP).astype(int) + np.array([[0], [400], [-700]])
    text = made.document(made.whole(digital, 100, ("I", "2", "3"), by_second, total))
    record = formats.read(written(tmp_path, text))
    np.testing.assert_array_equal(np.round(record.signal / made.STEP), digital)
    assert (record.leads, record.rate) == (("I", "II", "III"), 100)
    order = "a second each" if by_second else "sample by sample"
    assert record.extra["assumed"] == f"FullDisclosure holds its leads {order}"


def test_a_last_second_that_is_not_whole(tmp_path):
    """By the second it cannot be told apart and is left out; sample by sample all is there."""
    digital = np.round(ecg(3, 1000) / made.STEP).astype(int)
    for by_second, kept in ((True, 900), (False, 990)):
        text = made.document(made.whole(digital, 100, ("I", "2", "3"), by_second))
        data = re.search("<FullDisclosureData>(.*)</FullDisclosureData>", text, re.DOTALL)[1]
        short = ",".join(re.findall(r"-?\d+", data)[: 3 * 990]) + ","
        record = formats.read(written(tmp_path, text.replace(data, short)))
        np.testing.assert_array_equal(np.round(record.signal / made.STEP), digital[:, :kept])


def test_most_leads_then_longest(tmp_path):
    paths = {path.stem: path for path in made.variants(tmp_path)}
    bike = formats.read(paths["bike"])
    assert (bike.signal.shape, bike.rate, bike.age) == ((3, 200), 50, 2.5)
    assert "Strip: 50 samples at 50 Hz, 3 leads" in bike.extra["skipped"]
    assert bike.extra["median"] == "30 samples at 50 Hz, 3 leads"
    assert formats.read(paths["bike"], median=True).signal.shape == (3, 30)
    assert formats.read(paths["mixed"]).extra["assumed"].endswith("sample by sample")
    assert formats.read(paths["inside"]).leads == LEADS[:3]
    text = made.document(made.strip(np.zeros((12, 9), int), 500, LEADS), made.whole(np.zeros((3, 200), int), 50, "I23"))
    assert formats.read(written(tmp_path, text)).leads == LEADS


def test_samples_of_a_median_beat_that_are_not_valid(tmp_path):
    beat = formats.read({path.stem: path for path in made.variants(tmp_path)}["rest"], median=True)
    assert np.isnan(beat.signal[:, :2]).all() and not np.isnan(beat.signal[:, 2:]).any()
    assert beat.extra["skipped"].startswith("the rhythm")


def test_statements_measurements_and_person(tmp_path):
    record = formats.read(made.save(tmp_path / "p.xml", ecg(), 500, ("I", "II")))
    assert record.report == "Normal sinus rhythm\nWhen compared with ECG of (date), nothing new"
    values = {"heart rate": 74, "PR": 172, "QRS": 74, "P axis": 43, "QRS axis": -20, "height": 175, "weight": 74.84}
    assert record.values == values
    assert (record.age, record.sex) == (53, "F")
    assert record.extra["filters"] == "high-pass 0.01 Hz, low-pass 100 Hz, notch 60 Hz"
    assert record.extra["device"] == "GE CardioSoft V6.73 12SL V21"
    final = formats.read(
        made.save(tmp_path / "p.xml", ecg(), 500, ("I", "II"), conclusion=("Abnormal", " "), person="")
    )
    assert (final.report, final.age, final.extra["derived"]) == ("Abnormal", 61, "age from the date of birth")


def test_leads_that_are_no_ecg_or_have_no_name(tmp_path):
    x = ecg(4)
    record = formats.read(made.save(tmp_path / "p.xml", x, 500, ("RESP", "", "V1", "V1")))
    assert record.leads == ("channel 2", "V1", "V1-2") and record.extra["skipped"] == "RESP"
    np.testing.assert_array_equal(record.signal, expected(x)[1:])


def test_nobody_is_named(tmp_path):
    lines = (*made.LINES, f"{made.NAMES[0].title()} has no change", f"seen for {made.NAMES[1]}")
    path = made.save(tmp_path / "p.xml", ecg(), 500, ("I", "II"), lines=lines, person="")
    hidden = (*made.NAMES[1:], made.NUMBER, "1950", "2011", "07-MAY-1997")
    for options in ({}, {"patient_key": SECRET}):
        record = formats.read(path, **options)
        said = repr((record.but(signal=np.zeros((2, 1))), record.extra, record.report))
        assert not [word for word in hidden if word.casefold() in said.casefold()]
        assert (record.patient is None) == (not options)


BAD = {
    "there is no waveform in it": ("<StripData>.*</StripData>", ""),
    "lead I is cut short, 200 of 900 samples": ("Total>200<", "Total>900<"),
    "sampling rate; give it with rate": ("<SampleRate.*?</SampleRate>", ""),
    "unknown unit 'furlong'": ("uVperLsb", "furlongPerLsb"),
    "its resolution is 0.0": ('perLsb">1<', 'perLsb">0<'),
    "its resolution is None": ("<Resolution.*</Resolution>", ""),
    "no ECG among its leads": ('lead="II?"', 'lead="SPO2"'),
    "among its samples": (">\n\t\t", ">\n\t\tten,"),
    "a number that is no sample": (">\n\t\t", ">\n\t\t1e300,"),
    "its root is 'Other' and not CardiologyXML": ("CardiologyXML", "Other"),
}


@pytest.mark.parametrize("why", BAD)
def test_bad_files(tmp_path, why):
    path = made.save(tmp_path / "p.xml", ecg(), 500, ("I", "II"))
    text = re.sub(*BAD[why], path.read_text(), flags=re.DOTALL)
    assert text != path.read_text()
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(why)):
        formats.read(path, format="cardiosoft")


def test_bad_full_disclosure(tmp_path):
    text = made.document(made.whole(np.zeros((3, 100), int), 50, ("I", "2", "3")))
    for old, new, why in (
        ("<LeadOrder>I,2,3<", "<LeadOrder><", "0 leads in its LeadOrder"),
        ("0,", "", "there is no waveform in it"),
        ("<LeadOrder>I,", "<LeadOrder>" + "I," * 400, "402 leads in its LeadOrder"),
    ):
        with pytest.raises(InputError, match=why):
            formats.read(written(tmp_path, text.replace(old, new)))


def test_options(tmp_path):
    path = made.save(tmp_path / "p.xml", ecg(), 500, ("I", "II"))
    assert formats.read(path, index=0).leads == ("I", "II")
    with pytest.raises(InputError, match="holds one record"):
        formats.read(path, index=1)
    with pytest.raises(InputError, match="no median beat"):
        formats.read(path, median=True)
    path.write_text(path.read_text().replace(">500<", "><").replace(' units="uVperLsb"', ""))
    record = formats.read(path, unit="mV", rate=250)
    assert (record.rate, record.extra["unit"]) == (250, "mV")


def test_every_variant_is_claimed_and_read(tmp_path):
    for path in made.variants(tmp_path):
        assert cardiosoft.claims(path, path.read_bytes()[: formats.HEAD]) == 2
        assert formats.detect(path) is cardiosoft and formats.read(path).extra["format"] == "cardiosoft"
    assert cardiosoft.claims(path, b"<?xml version='1.0'?><AnnotatedECG>") == 0
