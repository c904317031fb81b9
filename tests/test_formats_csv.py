"""Text tables as people and machines write them."""

import numpy as np
import pytest

from ecgraft import formats
from ecgraft.record import InputError

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
