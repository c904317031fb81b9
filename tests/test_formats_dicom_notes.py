"""What is noted on DICOM waveforms, against an encoder written from the standard; and that nobody is named."""

import numpy as np

import made_dicom as made
from ecgraft import formats
from ecgraft.formats import Given
from made_dicom import STEP, Form, channel, finding, group, mark, measure, text

X = np.random.default_rng(3).integers(-2000, 2000, (12, 300)) * STEP
KEY = "a secret of enough bytes"


def read(path, **given):
    return formats.read(path, format="dicom", **given)


def build(folder, groups, **more):
    return made.file(folder / "x.dcm", groups, **more)


def test_statements_findings_and_measurements(tmp_path):
    notes = [text("Sinus rhythm "), text("Left axis deviation"), finding("164889003", "Atrial fibrillation")]
    notes += [
        finding("F-000B7", "Normal ECG", "SRT"),
        finding("10:8464", "LBBB beat", "MDC"),
        finding("x y", "?", "99LOCAL"),
    ]
    notes += [finding("59118001", "RBBB", answer=("373067005", "SCT", "No"))]
    notes += [finding("271921002", "ECG finding", answer=("164865005", "SCT", "Infarct"))]
    notes += [
        measure("2:16160", "QT", 0.4, "s"),
        measure("8867-4", "Heart rate", 61, "/min", "LN"),
        measure("x", "PR Interval", 160),
    ]
    notes += [measure("MDC_ECG_TIME_PD_QRS", "", 90), measure("2:15880", "QTcB", 410), measure("2:15876", "QTc", 405)]
    notes += [
        measure("5.10.3-13", "QRS Axis", -30, "deg", "SCPECG"),
        measure("5.10.3-15", "T Axis", 999, "deg", "SCPECG"),
    ]
    notes += [
        measure("2:16128", "P axis", 1, "rad"),
        measure("2:16000", "RR", 29999),
        measure("2:16156", "QRS", 80, channels=(1, 2)),
    ]
    record = read(made.save(tmp_path / "x.dcm", X[:2], 500, ("I", "II"), notes=notes))
    said = "Sinus rhythm|Left axis deviation|Atrial fibrillation|Normal ECG|LBBB beat|RBBB: no|Infarct"
    assert record.report == said.replace("|", "\n")
    snomed = {"snomed:164889003": 1, "snomed:164854000": 1, "snomed:59118001": 0, "snomed:164865005": 1}
    assert record.labels == snomed | {"mdc:10:8464": 1} and not record.complete
    rest = {"QT": 400, "heart rate": 61, "PR": 160, "QRS": 90, "QTc": 405, "QRS axis": -30, "P axis": 57.29578}
    assert record.values == rest


def test_waves_and_beats_of_the_rhythm(tmp_path):
    """Positions count from 1. A set that fits into the median beat and overlaps another is the median beat's."""
    parts = ("5.10.3-1", "5.10.3-2", "5.10.3-3", "5.7.1-3", "5.10.3-4", "5.10.3-5")
    sets = {2: (3, 6, 8, 10, 12, 18), 100: (4, 7, 9, 11, 13, 19), 101: (34, 37, 39, 41, 43, 49)}
    notes = [mark(p, "", at, several) for several, places in sets.items() for p, at in zip(parts, places)]
    rows = [channel("I"), channel("II")]
    two = [
        group(Form(), np.ones((2, 60), int), 20, rows),
        group(Form(), np.ones((2, 25), int), 20, rows, label="MEDIAN"),
    ]
    path = build(tmp_path, two, notes=notes)
    record = read(path)
    expected = [(1, -1, 3, -1, 6), (2, -1, 8, 10, 12), (1, -1, 33, -1, 36), (2, -1, 38, 40, 42)]
    assert [row for row in record.waves.tolist() if row[0] < 3] == expected
    assert [row[4] for row in record.waves.tolist() if row[0] == 3] == [18, 48]
    assert record.beats.tolist() == [(10, b"?"), (40, b"?")]
    assert record.extra["skipped"] == "6 marks of the median beat or another group"
    assert read(path, median=True).waves["offset"].max() == 17
    assert read(build(tmp_path, two, notes=notes[:6])).waves is None
    own = [mark("5.10.3-3", "", 8, channels=(2, 0)), mark("5.10.3-3", "", 28, several=3)]
    path = build(tmp_path, two, notes=own)
    assert read(path).waves["onset"].tolist() == [27] and read(path, median=True).waves["onset"].tolist() == [7]


def test_waves_and_beats_by_codes_of_today(tmp_path):
    notes = [mark("10:256", "P wave", [11, 20], where="SEGMENT", scheme="MDC", channels=(1, 2))]
    notes += [
        mark("10:1600", "QRS", [31, 40, 61, 70], where="MULTISEGMENT", scheme="MDC"),
        mark("10:576", "R", 35, scheme="MDC"),
    ]
    notes += [mark("10:8208", "", [35, 65], where="MULTIPOINT", scheme="MDC"), mark("10:8336", "", 95, scheme="MDC")]
    notes += [
        mark("10:256", "P wave", [1, 5], where="SEGMENT", scheme="MDC", channels=(2, 0)),
        mark("10:8208", "", 999, scheme="MDC"),
    ]
    record = read(made.save(tmp_path / "x.dcm", X[:2], 500, ("I", "II"), notes=notes))
    assert record.waves.tolist() == [(1, 1, 10, -1, 19), (2, -1, 30, 34, 39), (2, -1, 60, -1, 69)]
    assert record.beats.tolist() == [(34, b"N"), (64, b"N"), (94, b"V")]


def test_nobody_is_named(tmp_path):
    more = [(0x00100010, "PN", "Smith^Jane"), (0x00100020, "LO", "MRN-4711"), (0x00100030, "DA", "19500102")]
    more += [(0x00080020, "DA", "20010203"), (0x00181000, "LO", "SERIAL7"), (0x00081070, "PN", "Nurse^Joy")]
    lines = ["Sinus rhythm", "ECG of JANE SMITH", "see MRN-4711", "Confirmed by: Dr House", "Reviewed by Joy"]
    lines += ["PR longer than on 2001-02-03", "told Mrs Smith"]
    path = made.save(tmp_path / "x.dcm", X[:2], 500, ("I", "II"), notes=[text(line) for line in lines], more=more)
    record = read(path)
    assert record.patient is None and record.report == "Sinus rhythm\nPR longer than on (date)\ntold Mrs (name)"
    assert record.extra["skipped"] == "4 lines of text that name somebody"
    seen = repr(record) + repr(read(path, patient_key=KEY))
    for secret in ("Smith", "SMITH", "4711", "1950", "2001", "SERIAL7", "Joy", "House"):
        assert secret not in seen
    assert read(path, patient_key=KEY).patient == Given(patient_key=KEY.encode()).patient("MRN-4711")


def test_text_in_other_letters(tmp_path):
    more = [(0x00080005, "CS", "ISO_IR 100")]
    notes = [[(0x00700006, "ST", "Rythme régulier".encode("latin-1")), (0x0040A0B0, "US", [1, 0])]]
    assert read(made.save(tmp_path / "x.dcm", X[:1], 500, ("I",), notes=notes, more=more)).report == "Rythme régulier"


def test_character_sets_that_are_none_of_dicom_are_read_as_latin(tmp_path):
    notes = [[(0x00700006, "ST", "Rythme r\xe9gulier".encode("latin-1")), (0x0040A0B0, "US", [1, 0])]]
    for name in ("zlib_codec", "a\0b", "ISO_IR 999"):
        more = [(0x00080005, "CS", name)]
        record = read(made.save(tmp_path / "x.dcm", X[:1], 500, ("I",), notes=notes, more=more))
        assert record.report == "Rythme r\xe9gulier"
