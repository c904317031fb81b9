"""Parquet: a row per sample, a row per record; what is said beside; files that are not what they seem."""

import subprocess
import sys

import numpy as np
import pytest

import made_parquet as made
from ecgraft import formats
from ecgraft.formats import _parquet_pages
from ecgraft.record import LEADS, InputError

pa = pytest.importorskip("pyarrow")
X = np.random.default_rng(6).normal(size=(3, 12, 300)).astype(np.float32)
NAMED = {f"{lead} (mV)": row for lead, row in zip(LEADS, X[0])}


@pytest.mark.parametrize("packing", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_row_per_sample(tmp_path, packing, version):
    columns = {"time": np.arange(300) / 500, **NAMED, "note": ["a"] * 300}
    path = made.parquet(tmp_path / "r", columns, compression=packing, data_page_version=version, row_group_size=70)
    record = formats.read(path)
    np.testing.assert_array_equal(record.signal, X[0])
    assert (record.leads, record.rate, record.id) == (LEADS, 500, "r") and formats.count(path) == 1
    assert record.extra["assumed"] == "time column in s"


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", "<i2", "<i4", "<i8"])
def test_numbers_of_every_kind(tmp_path, kind):
    values = np.round(X[0, 0] * 100).astype(kind)
    record = formats.read(made.parquet(tmp_path / "r", {"II": values}, {"fs": "250", "unit": "uV"}))
    np.testing.assert_array_equal(record.signal[0], (values.astype(np.float64) / 1000).astype(np.float32))
    assert (record.rate, record.leads) == (250, ("II",))


def test_metadata_of_columns_and_of_pandas(tmp_path):
    import pandas

    frame = pandas.DataFrame({"I": X[0, 0], "V1": X[0, 6]}, index=pandas.date_range("2024", periods=300, freq="4ms"))
    frame.attrs = {"units": "uV", "lead": 5}
    frame.to_parquet(tmp_path / "r.parquet")
    record = formats.read(tmp_path / "r.parquet")
    assert record.rate == 250 and np.array_equal(record.signal, (X[0, [0, 6]].astype(np.float64) / 1000).astype("f4"))
    fields = [pa.field(n, pa.float32(), metadata={"unit": u}) for n, u in (("I", "mV"), ("II", "V"), ("resp", "ohm"))]
    table = pa.table(
        [pa.array(row) for row in X[0, :3]], schema=pa.schema(fields, metadata={"Sampling rate": "100 Hz"})
    )
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, tmp_path / "r.parquet")
    record = formats.read(tmp_path / "r.parquet")
    np.testing.assert_array_equal(record.signal, [X[0, 0], X[0, 1] * np.float32(1000)])
    assert (record.rate, record.extra["skipped"]) == (100, "resp")


def test_missing_numbers_are_missing_samples(tmp_path):
    record = formats.read(made.parquet(tmp_path / "r", {"I": pa.array([1, None, 3])}), rate=100, unit="mV")
    np.testing.assert_array_equal(record.signal, [[1, np.nan, 3]])


ROWS = {
    "fs": [500, 250, 500],
    "lead_names": [list(LEADS)] * 3,
    "units": ["mV", "mV", "uV"],
    "age": [40, None, 300],
    "sex": ["female", "M", None],
    "patient_id": ["a", "b", "c"],
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
def test_a_row_per_record(tmp_path, turned, fixed):
    values = [x.T.tolist() if turned else x.tolist() for x in X]
    inner = pa.list_(pa.float32(), 12 if turned else 300) if fixed else pa.list_(pa.float32())
    path = made.parquet(tmp_path / "r", {"ECG": pa.array(values, pa.list_(inner)), **ROWS}, row_group_size=2)
    assert formats.count(path) == 3
    key = "0123456789abcdef"
    for i in (0, 1, 2, 1):
        record = formats.read(path, index=i, patient_key=key)
        scale = 1000 if i == 2 else 1
        np.testing.assert_array_equal(record.signal, (X[i].astype(np.float64) / scale).astype(np.float32))
        assert (record.rate, record.leads, record.id) == (ROWS["fs"][i], LEADS, f"r-{i}")
        assert (record.age, record.sex) == ([40, None, None][i], ["F", "M", None][i])
        assert record.patient.startswith("key:") and ROWS["patient_id"][i] not in record.extra.values()
    assert formats.read(path, index=0).patient is None
    with pytest.raises(InputError, match=r"3 records, one in each row; take one with index .* or import"):
        formats.read(path)
    with pytest.raises(InputError, match="no record 3; there are 3"):
        formats.read(path, index=3)


def test_a_list_in_a_column_for_each_lead(tmp_path):
    columns = {f"{lead} [uV]": [x[i].tolist() for x in X] for i, lead in enumerate(LEADS)}
    path = made.parquet(tmp_path / "r", columns | {"labels": ["N"] * 3})
    record = formats.read(path, index=2, rate=400)
    np.testing.assert_array_equal(record.signal, (X[2].astype(np.float64) / 1000).astype(np.float32))
    assert record.leads == LEADS
    uneven = made.parquet(tmp_path / "u", {"I": [[1.0, 2.0]], "II": [[1.0]]})
    with pytest.raises(InputError, match="its leads are of different lengths"):
        formats.read(uneven, rate=1, unit="mV")


def test_one_list_is_one_lead(tmp_path):
    path = made.parquet(tmp_path / "r", {"waveform": [X[0, 0].tolist()], "hz": [300]})
    record = formats.read(path, unit="mV")
    assert record.leads == ("ECG",) and record.rate == 300 and record.id == "r"
    np.testing.assert_array_equal(record.signal, X[0, :1])


BAD = {
    "two lists": ({"a": [[1.0]], "b": [[2.0]]}, "which of a, b is the ECG"),
    "words": ({"a": ["x"]}, "no columns of numbers, and no lists of them .a: string"),
    "no rows": ({"I": pa.array([], pa.float32())}, "no samples"),
    "no records": ({"ecg": pa.array([], pa.list_(pa.float32()))}, "no records"),
    "no signal": ({"ecg": pa.array([None], pa.list_(pa.float32()))}, "no signal in it"),
    "uneven": ({"ecg": [[[1.0, 2.0], [1.0]]]}, "of 2 different lengths"),
    "other": ({"resp": [1.0, 2.0]}, "no ECG among its columns"),
}


@pytest.mark.parametrize("case", BAD)
def test_tables_that_are_no_ecg(tmp_path, case):
    columns, message = BAD[case]
    with pytest.raises(InputError, match=message):
        formats.read(made.parquet(tmp_path / "r", columns), rate=100, unit="mV")


def test_files_that_are_damaged(tmp_path):
    path = made.parquet(tmp_path / "r", NAMED, {"fs": "500"})
    whole = path.read_bytes()
    for data in (whole[:-20], whole[:4] + bytes(len(whole) - 4), b"PAR1"):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"r\.parquet: cannot be read as Parquet"):
            formats.read(path)
    path.write_bytes(b"PARE" + whole[4:])
    with pytest.raises(InputError, match="encrypted"):
        formats.read(path)


DAMAGE = """
import sys
from ecgraft import formats
whole = open(sys.argv[1], "rb").read()
for at in range(len(whole) - 400, len(whole) - 8):
    with open(sys.argv[1], "wb") as file:
        file.write(whole[:at] + bytes([(whole[at] + 2) % 256]) + whole[at + 1 :])
    try:
        formats.read(sys.argv[1], format="parquet", index=0, rate=1, unit="mV")
    except ValueError:
        pass
"""


def test_size_statistics_that_lie_do_not_end_the_process(tmp_path):
    """pyarrow 26 ends the process on such files where one asks for a column's metadata."""
    path = made.parquet(tmp_path / "r", {"signal": X[:, 0].tolist()})
    done = subprocess.run([sys.executable, "-c", DAMAGE, str(path)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr


def test_pages_that_claim_too_much_are_not_unpacked(tmp_path):
    """A page of some bytes that says it unpacks to 2 GB: the size is in the page's head alone."""
    path = made.parquet(
        tmp_path / "r", {"I": np.zeros(50_000)}, {"fs": "500"}, compression="zstd", use_dictionary=False
    )
    whole = path.read_bytes()
    _parquet_pages.check(path, {"I"})
    head, used = _parquet_pages._structure(whole, 4, 0)
    said = varint(head[2])
    at = whole.index(said)
    assert head[2] >= 160_000 and at < used  # 20,000 values
    (tmp_path / "bomb").write_bytes(whole[:at] + varint(2**31 - 1) + whole[at + len(said) :])
    with open(tmp_path / "bomb", "rb") as file, pytest.raises(InputError, match="no ECG is compressed so much"):
        _parquet_pages._pages(file, 4, 100, "bomb")


def varint(number: int) -> bytes:
    """A positive number as Thrift writes it: doubled, seven bits a byte."""
    number, data = 2 * number, b""
    while number > 127:
        data, number = data + bytes([number & 127 | 128]), number >> 7
    return data + bytes([number])


def test_many_values_in_few_bytes_are_refused(tmp_path):
    path = made.parquet(tmp_path / "r", {"I": np.zeros(10_000_000, np.int8)}, {"fs": "500", "unit": "mV"})
    assert path.stat().st_size < 50_000
    with pytest.raises(InputError, match="no ECG is compressed so much"):
        formats.read(path)


def test_without_pyarrow_the_message_names_it(tmp_path, monkeypatch):
    path = made.parquet(tmp_path / "r", NAMED, {"fs": "500"})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'ecgraft\[formats\]'"):
        formats.read(path)


def test_thrift_by_hand():
    """Field 2 = 1, field 3 = -2, a list of two numbers in field 20, a text in 21, true in 22."""
    data = bytes([0x25, 2, 0x15, 3, 0x09, 40, 0x25, 4, 6, 0x18, 2]) + b"ab" + bytes([0x11, 0])
    assert _parquet_pages._structure(data, 0, 0) == ({2: 1, 3: -2, 20: [2, 3], 21: b"ab", 22: True}, len(data))
