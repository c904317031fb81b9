"""Text tables as people and machines write them."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import made_csv as made
from ecgraft import formats
from ecgraft.formats._table import columns
from ecgraft.record import InputError, Record

X = np.round(np.random.default_rng(3).normal(size=(200, 3)), 3)
LEADS = ("I", "II", "V1")


def table(folder, head="", separator=",", point=".", time=None, values=X):
    """A CSV of X with an optional time column: `time(i)` is the text of row i."""
    rows = [[f"{v:.3f}".replace(".", point) for v in row] for row in values]
    rows = [[time(i), *row] for i, row in enumerate(rows)] if time else rows
    path = folder / "r.csv"
    path.write_text(head + "".join(separator.join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def check(record, rate, leads=LEADS):
    assert (record.leads, record.rate, record.id) == (leads, rate, "r")
    np.testing.assert_array_equal(record.signal, X.T.astype(np.float32))


@pytest.mark.parametrize(("separator", "point"), [*((s, ".") for s in ",;\t| "), *((s, ",") for s in ";\t| ")])
@pytest.mark.parametrize("named", [True, False])
def test_delimiters_and_decimal_signs(tmp_path, separator, point, named):
    head = separator.join(LEADS) + "\n" if named else ""
    path = table(tmp_path, head, separator, point)
    check(formats.read(path, rate=500, unit="mV", leads=None if named else "I,II,V1"), 500)


TIMES = {
    "seconds": ("time,I,II,V1\n", lambda i: f"{i / 500:.3f}", 500),
    "rounded": ("time [s],I,II,V1\n", lambda i: f"{i / 360:.3f}", 360),
    "milliseconds": ("Time (ms),I,II,V1\n", lambda i: f"{i * 4}", 250),
    "milliseconds unsaid": ("t,I,II,V1\n", lambda i: f"{i * 4}", 250),
    "clock": ("'Elapsed time','I','II','V1'\n'hh:mm:ss.mmm','mV','mV','mV'\n", lambda i: f"'0:00.{i * 4:03d}'", 250),
    "date": ("timestamp,I,II,V1\n", lambda i: f"2024-05-01 10:00:00.{i * 4:03d}", 250),
    "unnamed": ("", lambda i: f"{i / 250:.3f}", 250),
}


@pytest.mark.parametrize("kind", TIMES)
def test_the_rate_comes_from_the_time_column(tmp_path, kind):
    head, time, rate = TIMES[kind]
    path = table(tmp_path, head, time=lambda i: time(i % 250))
    check(formats.read(path, unit="mV", leads=None if head else "I,II,V1"), rate)


def test_sample_numbers_are_no_rate(tmp_path):
    path = table(tmp_path, "'sample #','MLI','MLII','V1'\n", time=str)
    check(formats.read(path, rate=360, unit="mV"), 360)
    with pytest.raises(InputError, match="--rate"):
        formats.read(path, unit="mV")


def test_units_of_columns(tmp_path):
    path = table(tmp_path, "I (mV),II [uV],V1 (V)\n")
    record = formats.read(path, rate=100)
    np.testing.assert_allclose(record.signal, X.T * np.array([[1], [1e-3], [1e3]]), rtol=1e-6)
    path = table(tmp_path, "I,II,V1\nuV,uV,uV\n")
    np.testing.assert_allclose(formats.read(path, rate=100).signal, X.T / 1000, rtol=1e-6)


def test_comments_quotes_and_byte_order_mark(tmp_path):
    path = table(tmp_path, '\ufeff# device 7\n\n"I","II","V1"\n')
    check(formats.read(path, rate=100, unit="mV"), 100)


def test_a_row_per_lead_is_turned(tmp_path):
    path = table(tmp_path, values=X.T)
    record = formats.read(path, rate=100, unit="mV", leads="I,II,V1")
    check(record, 100)
    assert record.extra["assumed"] == "a row per lead"


def test_empty_cells_are_missing_samples_and_other_columns_are_skipped(tmp_path):
    path = tmp_path / "r.csv"
    rows = [f"{i},{i},{i * 2}" for i in range(60)]
    rows[7] = ",7,14"
    path.write_text("II,RESP,CM5\n" + "\n".join(rows))
    record = formats.read(path, rate=100, unit="mV")
    assert record.leads == ("II", "CM5") and record.extra["skipped"] == "RESP"
    assert np.flatnonzero(np.isnan(record.signal[0])).tolist() == [7] and record.signal[1, 7] == 14


def test_a_word_among_the_numbers_is_named(tmp_path):
    path = table(tmp_path, "I,II,V1\n")
    lines = path.read_text().splitlines()
    lines[51] = "0.1,oops,0.2"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match="column II, row 51 of the numbers: 'oops'"):
        formats.read(path, rate=100, unit="mV")


BAD = {
    "rows of another length": (lambda p: p.write_text(p.read_text() + "1,2,3,4\n"), "Expected 3 fields"),
    "a gap in time": (
        lambda p: p.write_text("time,I\n" + "".join(f"{i + 9 * (i > 30)},1\n" for i in range(60))),
        "gap",
    ),
    "time that falls": (lambda p: p.write_text("time,I\n" + "".join(f"{-i * 0.1:.1f},1\n" for i in range(60))), "rise"),
    "only time": (lambda p: p.write_text("time\n" + "".join(f"{i / 100}\n" for i in range(60))), "no ECG among"),
    "words": (lambda p: p.write_text("some words\nand more\n" * 30), "not a format"),
    "empty": (lambda p: p.write_text(""), "not a format"),
    "binary": (lambda p: p.write_bytes(bytes(range(256)) * 20), "not a format"),
}


@pytest.mark.parametrize("case", BAD)
def test_tables_that_are_no_ecg(tmp_path, case):
    change, message = BAD[case]
    path = table(tmp_path, "I,II,V1\n")
    change(path)
    with pytest.raises(InputError, match=message) as error:
        formats.read(path, unit="mV", rate=100 if case == "rows of another length" else None)
    assert "r.csv" in str(error.value)


def test_lists_of_databases_are_not_taken_for_ecgs(shared_data):
    lists = ["ptb-xl/ptbxl_database.csv", "ludb/ludb.csv", "cpsc2018/REFERENCE.csv", "code15/exams.csv"]
    assert [formats.detect(shared_data / name) for name in lists] == [None] * 4


MICROVOLT = np.round(100 * X[:, 0], 3)
VERDICTS = {"en": "sinusRhythm", "de": "atrialFibrillation", "fr": "sinusRhythm", "es": "inconclusiveOther"}
RATES = {"en": 512, "de": 511.562, "fr": 511.4, "es": 512, "ja": 512}


@pytest.mark.parametrize("point", [".", ","])
@pytest.mark.parametrize("language", made.APPLE)
def test_exports_of_apples_health_app(tmp_path, language, point):
    path = made.apple(tmp_path / "r", MICROVOLT, language, point)
    record = formats.read(path, patient_key="0123456789abcdef")
    np.testing.assert_array_equal(record.signal[0], (MICROVOLT / 1000).astype(np.float32))
    assert (record.rate, record.leads, record.age) == (RATES[language], ("I",), 24)
    assert record.labels == {f"apple:{VERDICTS.get(language, 'sinusRhythm')}": 1}
    assert record.report == made.APPLE[language].split("|")[-3]
    assert record.extra["device"] == "Apple Watch7,12" and record.extra["derived"] == "age from the date of birth"
    assert not [word for word in ("Testman", "2002", "2026") if word in repr(record)]
    assert record.patient and formats.read(path).patient is None
    english = formats.read(made.apple(tmp_path / "e", MICROVOLT), patient_key="0123456789abcdef")
    assert english.patient == record.patient  # whatever language the date of birth is in


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        ("Atrial Fibrillation - High Heart Rate", {"apple:atrialFibrillation": 1}),
        ("Heart Rate Over 120", {"apple:inconclusiveHighHeartRate": 1}),
        ("Poor Recording", {"apple:inconclusivePoorReading": 1}),
        ("High Heart Rate - No Atrial Fibrillation Detected", {}),
        ("Something new", {}),
    ],
)
def test_verdicts_of_apple(tmp_path, verdict, code):
    path = made.apple(tmp_path / "r", MICROVOLT)
    path.write_text(path.read_text(encoding="utf-8").replace("Sinus Rhythm", verdict), encoding="utf-8")
    record = formats.read(path)
    assert record.labels == code and record.report == verdict


HEADS = {
    "colon": ("Device: X7\nSampling frequency: 500\nUnits: mV\nLeads: I, II, V1\n", 500),
    "equals": ("fs=250\nunit=mV\nleads=I II V1\n", 250),
    "blank": ("# rate 360\n# ECG in mV\n# unit: mV\nI,II,V1\n", 360),
    "comma": ("Sample Rate [Hz],128\nUnit,mV\nI,II,V1\n", 128),
    "kilohertz": ("% sampling rate = 0.5 kHz\nI (mV),II (mV),V1 (mV)\n", 500),
    "interval": ("Sampling interval (ms): 4\nunit: mV\nI,II,V1\n", 250),
    "of PhysioNet": ("'sample interval','MLI','MLII','V1'\n'0.00277778 sec','mV','mV','mV'\n", 360),
}


@pytest.mark.parametrize("kind", HEADS)
def test_lines_above_the_table_say_rate_unit_and_leads(tmp_path, kind):
    head, rate = HEADS[kind]
    check(formats.read(table(tmp_path, head, time=str if kind == "of PhysioNet" else None)), rate)


STEPS = [("Gain: 200 adu/mV", 0.005), ("Resolution: 5 uV/LSB", 0.005)]
STEPS += [("Resolution: 4.88 uV/LSB", 0.00488), ("Resolution: 0.03 mV/LSB", 0.03)]  # no whole number in 1 mV


@pytest.mark.parametrize(("said", "step"), STEPS)
def test_a_gain_scales_numbers_without_unit(tmp_path, said, step):
    whole = np.round(100 * X)
    record = formats.read(table(tmp_path, f"fs: 100\n{said}\nAge: 54\nSex: female\nI,II,V1\n", values=whole))
    np.testing.assert_allclose(record.signal, whole.T * step, rtol=1e-6)
    assert (record.extra["resolution"], record.age, record.sex) == (f"{step:g}", 54, "F")


def test_a_logger_of_polar(tmp_path):
    """Three columns of times: the phone's clock, which jitters, the sensor's, and milliseconds."""
    head = "Phone timestamp;sensor timestamp [ns];timestamp [ms];ecg [uV]\n"
    rows = [
        f"2021-05-16T08:08:{40 + i // 130}.{i // 73 * 73 * 1000 // 130 % 1000:03d};{599636646177065964 + i * 7692308}"
        f";{i * 1000 / 130:.6f};{i * i % 977}"
        for i in range(500)
    ]
    record = formats.read(made.write(tmp_path / "r", head + "\n".join(rows)), leads="I")
    assert (record.rate, record.leads) == (130, ("I",))
    np.testing.assert_array_equal(record.signal[0], (np.arange(500) ** 2 % 977 / 1000).astype(np.float32))


def test_one_time_for_every_few_samples(tmp_path):
    path = table(tmp_path, "timestamp [ms],I,II,V1\n", time=lambda i: str(i // 16 * 125))
    check(formats.read(path, unit="mV"), 128)


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        (np.arange(500) / 499.9, 499.9),  # more digits than a table has
        (np.round(np.arange(500) / 499.9, 6), 499.9),
        (np.round(np.arange(500) / 360, 3), 360),  # whole within what its digits can mean
        (np.arange(500) * 0.002 + np.random.default_rng(0).uniform(0, 5e-4, 500), 500),  # jitter
        (np.round(np.arange(40) / 511.4, 9), 511.4),
    ],
)
def test_a_rate_is_as_precise_as_the_times(times, rate):
    assert columns.rate_of(times, 1.0, "here") == pytest.approx(rate, rel=0)


ANY = st.lists(st.floats(width=32, allow_infinity=False), min_size=1, max_size=30)
LEAD = st.sampled_from(["I", "II", "V1", "CM5", "ECG (chest), left", 'a "b"', "X;y", "V1-2"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANY, min_size=1, max_size=4), st.floats(0.1, 1e5), st.sampled_from([".csv", ".tsv"]), st.data())
def test_what_is_written_is_read_back_bit_for_bit(tmp_path, rows, rate, ending, data):
    x = np.array([(row * 30)[: len(rows[0])] for row in rows], np.float32)
    leads = data.draw(st.lists(LEAD, min_size=len(x), max_size=len(x), unique=True))
    (path,) = formats.csv.write(Record(x, rate, leads), tmp_path / f"r{ending}")
    record = formats.read(path)
    assert record.leads == tuple(leads) and record.rate == rate
    np.testing.assert_array_equal(np.isnan(record.signal), np.isnan(x))
    kept = ~np.isnan(x)
    assert record.signal[kept].tobytes() == x[kept].tobytes()


def test_what_is_written_by_hand(tmp_path):
    x = np.array([[0.1, np.nan, -2.5], [1e-7, 3, 0.25]], np.float32)
    formats.write(Record(x, 500, ("II", "V1")), tmp_path / "r.csv")
    lines = ["time (s),II (mV),V1 (mV)", "0.000,0.1,1e-07", "0.002,,3.0", "0.004,-2.5,0.25"]
    assert (tmp_path / "r.csv").read_text(encoding="utf-8").splitlines() == lines
    formats.write(Record(x[:, :1], 499.7, ("II", "V1")), tmp_path / "s.tsv")
    lines = ["# Sampling rate: 499.7 Hz", "time (s)\tII (mV)\tV1 (mV)", "0.000000000000\t0.1\t1e-07"]
    assert (tmp_path / "s.tsv").read_text(encoding="utf-8").splitlines() == lines


def test_rows_that_are_longer_than_the_first_are_an_error(tmp_path, recwarn):
    path = made.write(tmp_path / "r", "I,II\n" + "1,2,3\n" + "1,2\n" * 30)
    with pytest.raises(InputError, match=r"r\.csv"):
        formats.read(path, rate=100, unit="mV")
    assert not recwarn.list


def test_a_row_per_record_with_a_list_in_a_cell(tmp_path):
    """As Withings exports ECGs (the unit is not in the file), and Fitbit."""
    rows = [
        f'ECG,2024-01-0{i + 1} 10:00:00,{300 + i},30,1,"{(1000 * X[:, i]).round().astype(int).tolist()}"'
        for i in range(3)
    ]
    path = made.write(tmp_path / "signal", "Type,Date,Frequency,Duration,Wear Position,Signal\n" + "\n".join(rows))
    assert formats.count(path) == 3
    for i in (0, 2, 1):
        record = formats.read(path, index=i, unit="uV")
        np.testing.assert_array_equal(record.signal[0], ((1000 * X[:, i]).round() / 1000).astype(np.float32))
        assert (record.rate, record.leads, record.id) == (300 + i, ("ECG",), f"signal-{i}")
    with pytest.raises(InputError, match="3 records, one in each row; take one with index"):
        formats.read(path, unit="uV")
    with pytest.raises(InputError, match=r"its unit; give it with unit"):
        formats.read(path, index=1)
    row = f'r1;250;10000;"{list(range(-20, 20))}"'
    path = made.write(tmp_path / "fitbit", f"reading_id;sampling_frequency;scaling_factor;waveform_samples\n{row}\n")
    record = formats.read(path)
    np.testing.assert_array_equal(record.signal[0], (np.arange(-20, 20) / 10000).astype(np.float32))
    assert (record.rate, record.id) == (250, "fitbit")


def test_the_layout_of_a_table_of_many_records_is_found_once(tmp_path, monkeypatch):
    rows = "".join(f'{i},250,"{list(range(i, i + 40))}"\n' for i in range(20))
    path = made.write(tmp_path / "rows", "id,frequency,signal\n" + rows)
    from ecgraft.formats import csv

    found = []
    monkeypatch.setattr(csv, "look", lambda *a, real=csv.look, **k: found.append(1) or real(*a, **k))
    for i in range(20):
        assert formats.read(path, "csv", index=i, unit="uV").signal[0, 0] == pytest.approx(i / 1000)
    assert len(found) == 1
