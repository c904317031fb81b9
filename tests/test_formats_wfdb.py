"""WFDB reader against the wfdb library and against files written here."""

import numpy as np
import pytest
import wfdb as library

from ecgraft import formats
from ecgraft.formats import wfdb
from ecgraft.record import InputError

STORED = ("100_3chan", "3000003_0003", "310derive", "310derive_2", "311derive", "binformats", "flacformats")
STORED += ("s0010_re", "test01_00s_skew")


def write(folder, name="r", fmt="16", T=400, leads=("I", "II", "V1"), units="mV", gain=500.0, **more):
    """A record of known digital values; returns them, (T, C)."""
    digital = np.random.default_rng(1).integers(-100, 100, (T, len(leads)))
    C = len(leads)
    library.wrsamp(
        name,
        fs=250,
        units=[units] * C,
        sig_name=list(leads),
        d_signal=digital,
        fmt=[fmt] * C,
        adc_gain=[gain] * C,
        baseline=[3] * C,
        write_dir=str(folder),
        **more,
    )
    return digital


def edit(folder, old, new, name="r"):
    path = folder / f"{name}.hea"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", STORED)
def test_every_storage_format_equals_the_library(shared_data, name):
    record = formats.read(shared_data / "wfdb" / f"{name}.hea")
    expected = library.rdrecord(str(shared_data / "wfdb" / name)).p_signal.T.astype(np.float32)
    np.testing.assert_array_equal(record.signal, expected)


@pytest.mark.parametrize(
    "path", ["ptb-xl/records500/00000/00001_hr", "ludb/data/1", "cpsc2021/Training_set_II/data_101_6", "mitdb/108"]
)
def test_databases_equal_the_library(shared_data, path):
    record = formats.read(shared_data / f"{path}.hea")
    expected = library.rdrecord(str(shared_data / path))
    np.testing.assert_array_equal(record.signal, expected.p_signal.T.astype(np.float32))
    assert record.rate == expected.fs


def test_fixed_segments_keep_the_fast_samples(shared_data):
    """041s: 4 samples a frame for the ECG, one for the others, in two segments."""
    folder = shared_data / "wfdb/multi-segment/041s"
    record = formats.read(folder / "041s.hea")
    assert (record.leads, record.rate) == (("III", "I", "V"), 500)
    assert record.extra["skipped"] == "ABP (mmHg), PAP (mmHg), PLETH (mV), RESP (mV)"
    both = [library.rdrecord(str(folder / name), smooth_frames=False).e_p_signal for name in ("041s01", "041s02")]
    expected = [np.concatenate([both[0][row], both[1][row]]).astype(np.float32) for row in range(3)]
    np.testing.assert_array_equal(record.signal, expected)


def test_variable_segments_with_gaps_equal_the_library(shared_data):
    path = shared_data / "wfdb/multi-segment/s25047/s25047-2704-05-04-10-44"
    record = formats.read(f"{path}.hea")
    expected = library.rdrecord(str(path), channels=[0, 1]).p_signal.T.astype(np.float32)
    assert np.isnan(record.signal[:, :25740]).all()
    np.testing.assert_array_equal(record.signal, expected)


def test_segments_with_a_gap_and_a_lead_that_is_not_in_all(tmp_path):
    first = write(tmp_path, "s1", T=30, leads=("II", "ECG", "RESP"), units="mV")
    second = write(tmp_path, "s2", T=20, leads=("RESP", "V1", "II"), units="uV", gain=1.0)
    (tmp_path / "m.hea").write_text("m/3 3 250 60\ns1 30\n~ 10\ns2 20\n# 60 F\n")
    record = formats.read(tmp_path / "m.hea")
    assert (record.leads, record.age, record.sex) == (("II", "ECG"), 60, "F")
    np.testing.assert_allclose(record.signal[:, :30], (first.T[:2] - 3) / 500, rtol=1e-6)
    assert np.isnan(record.signal[:, 30:40]).all() and np.isnan(record.signal[1, 40:]).all()
    np.testing.assert_allclose(record.signal[0, 40:], (second.T[2] - 3) / 1000, rtol=1e-6)
    assert formats.find(tmp_path) == [tmp_path / "m.hea"]
    (tmp_path / "m.hea").write_text("m/2 3 250 61\ns1 31\ns2 20\n")
    with pytest.raises(InputError, match="segment s1 has fewer than its 31 samples"):
        formats.read(tmp_path / "m.hea")


def test_slower_leads_are_held(shared_data):
    record = formats.read(shared_data / "wfdb/test01_00s_frame.hea")
    assert record.rate == 1000 and record.signal.shape == (3, 8000)
    np.testing.assert_array_equal(record.signal[0, ::2], record.signal[0, 1::2])


def test_units_gain_and_baseline(tmp_path):
    digital = write(tmp_path, units="uV", gain=0.5)
    record = formats.read(tmp_path / "r.hea")
    np.testing.assert_allclose(record.signal, (digital.T - 3) / 0.5 * 1e-3, rtol=1e-6)
    edit(tmp_path, "/uV", "/µV")
    np.testing.assert_array_equal(formats.read(tmp_path / "r.hea").signal, record.signal)


def test_no_gain_is_200_per_millivolt_and_said(tmp_path):
    digital = write(tmp_path)
    edit(tmp_path, "500.0(3)/mV", "0")
    record = formats.read(tmp_path / "r.hea")
    np.testing.assert_allclose(record.signal, digital.T / 200, rtol=1e-6)
    assert record.extra["assumed"] == "no gain given, 200 per mV taken: I, II, V1"


def test_missing_samples_are_nan_and_flat_leads_stay(tmp_path):
    digital = write(tmp_path)
    digital[5:8, 1], digital[:, 2] = -32768, 40
    digital.astype("<i2").tofile(tmp_path / "r.dat")
    record = formats.read(tmp_path / "r.hea")
    assert np.flatnonzero(np.isnan(record.signal[1])).tolist() == [5, 6, 7]
    assert not np.isnan(record.signal[[0, 2]]).any() and np.ptp(record.signal[2]) == 0
    np.testing.assert_array_equal(record.signal, library.rdrecord(str(tmp_path / "r")).p_signal.T.astype(np.float32))


def test_other_channels_are_skipped_and_named(tmp_path):
    write(tmp_path, leads=("RESP", "CM5", "V1"))
    record = formats.read(tmp_path / "r.hea")
    assert record.leads == ("CM5", "V1") and record.extra["skipped"] == "RESP (mV)"
    expected = library.rdrecord(str(tmp_path / "r")).p_signal.T[1:].astype(np.float32)
    np.testing.assert_array_equal(record.signal, expected)


def test_two_leads_of_one_name_are_told_apart(tmp_path):
    write(tmp_path, leads=("ECG", "ECG7", "V1"))
    edit(tmp_path, "ECG7", "ECG")
    assert formats.read(tmp_path / "r.hea").leads == ("ECG", "ECG-2", "V1")


def test_signal_file_bare_name_and_header_are_one_record(tmp_path):
    write(tmp_path, comments=["Age: 61", "Sex: Female"])
    header, signal, bare = (formats.read(tmp_path / name) for name in ("r.hea", "r.dat", "r"))
    np.testing.assert_array_equal(header.signal, signal.signal)
    np.testing.assert_array_equal(header.signal, bare.signal)
    assert (header.id, header.age, header.sex) == ("r", 61, "F")
    assert formats.find(tmp_path) == [tmp_path / "r.hea"]


def test_length_is_taken_from_the_file_where_the_header_does_not_say(tmp_path):
    write(tmp_path)
    edit(tmp_path, "r 3 250 400", "r 3 250")
    assert formats.read(tmp_path / "r.hea").signal.shape == (3, 400)


@pytest.mark.parametrize("fmt", ["16", "212", "24"])
def test_a_truncated_file_says_how_much_is_there(tmp_path, fmt):
    write(tmp_path, fmt=fmt)
    data = (tmp_path / "r.dat").read_bytes()
    (tmp_path / "r.dat").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"r\.dat: cut short, 200 of 400 samples"):
        formats.read(tmp_path / "r.hea")


BAD = {
    "missing signal": ("r.dat", "other.dat", "signal file other.dat is missing"),
    "rate 0": ("r 3 250 400", "r 3 0 400", "rate 0.0 Hz"),
    "negative rate": ("r 3 250 400", "r 3 -250 400", "the rate in 'r 3 -250 400'"),
    "unknown unit": ("/mV 16 0 ", "/furlong 16 0 ", "lead I: unknown unit 'furlong'"),
    "unknown format": ("r.dat 16", "r.dat 999", "signal format 999"),
    "path trick": ("r.dat", "../r.dat", "cannot understand the signal line"),
    "absolute path": ("r.dat", "/etc/passwd", "cannot understand the signal line"),
    "remote path": ("r.dat", "s3://bucket/r.dat", "cannot understand the signal line"),
    "huge": ("r.dat 16 500.0(3)/mV", "r.dat 16+9999999999 500.0(3)/mV", "cut short"),
    "fewer lines": ("r 3 250", "r 9 250", "9 lines announced but 3 found"),
    "no record line": ("r 3 250 400", "!!", "cannot understand the record line"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_headers_are_named(tmp_path, case):
    old, new, message = BAD[case]
    write(tmp_path)
    path = edit(tmp_path, old, new)
    with pytest.raises(InputError) as error:
        wfdb.read(path)
    assert message in str(error.value) and "r.hea" in str(error.value) + "r.hea" * (case == "huge")


def test_a_length_beyond_all_bounds_is_refused_before_it_is_read(tmp_path):
    write(tmp_path, fmt="508")
    edit(tmp_path, "r 3 250 400", "r 3 250 99999999999")
    with pytest.raises(InputError, match="values in one record"):
        formats.read(tmp_path / "r.hea")


def test_no_ecg_among_the_signals(tmp_path):
    write(tmp_path, leads=("RESP", "ABP", "PLETH"))
    with pytest.raises(InputError, match=r"no ECG among its 3 signals \(RESP \(mV\), ABP \(mV\), PLETH \(mV\)\)"):
        formats.read(tmp_path / "r.hea")


def test_a_segment_that_is_itself_in_segments_does_not_loop(tmp_path):
    (tmp_path / "loop.hea").write_text("loop/2 1 250 20\nloop 10\nloop 10\n")
    with pytest.raises(InputError, match="records of one segment"):
        formats.read(tmp_path / "loop.hea")


def test_a_unit_that_is_given_stands_in_for_an_unknown_one(tmp_path):
    digital = write(tmp_path, units="adu", gain=1.0)
    record = formats.read(tmp_path / "r.hea", unit="uV")
    np.testing.assert_allclose(record.signal, (digital.T - 3) * 1e-3, rtol=1e-6)
