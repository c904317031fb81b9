"""WFDB reader against the wfdb library and against files written here."""

import numpy as np
import pytest
import wfdb as library

import made_wfdb
from ecgraft import formats
from ecgraft.formats import Given, wfdb
from ecgraft.record import InputError


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
        wfdb.read(path, Given())
    assert message in str(error.value) and "r.hea" in str(error.value) + "r.hea" * (case == "huge")


def test_a_length_beyond_all_bounds_is_refused_before_it_is_read(tmp_path):
    write(tmp_path, fmt="508")
    edit(tmp_path, "r 3 250 400", "r 3 250 99999999999")
    with pytest.raises(InputError, match=r"r\.dat: cut short, 400 of 99999999999 samples"):
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


FORMATS = [*made_wfdb.BITS, *made_wfdb.FLAC]


@pytest.mark.parametrize("samples", [101, 102, 103])  # groups of 2 and 3 end in all ways
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_by_hand(tmp_path, format, samples):
    """Bit for bit, with the largest and the smallest sample, and the code for no sample."""
    bits = made_wfdb.BITS.get(format, int(format[1:]) if format in made_wfdb.FLAC else 0)
    half = 1 << bits - 1
    digital = made_wfdb.noise(3, samples, half - 1)
    digital[0][:3], digital[2][-2:] = [half - 1, 1 - half, -half], [half - 1, -half]
    path = made_wfdb.raw(tmp_path / "r", digital, 250, ("I", "II", "V1"), format, "200/mV", baseline=7)
    whole = np.array(digital, float)
    expected = np.where(whole == -half, np.nan, (whole - 7) / 200).astype(np.float32)
    np.testing.assert_array_equal(formats.read(path).signal, expected)
    if format not in made_wfdb.FLAC:
        found = library.rdrecord(str(tmp_path / "r")).p_signal.T
        np.testing.assert_array_equal(found.astype(np.float32), expected)


def test_differences_are_summed_from_the_initial_value(tmp_path):
    digital = [[1, 2, -3], [-100, 5, 5]]
    path = made_wfdb.raw(tmp_path / "r", digital, 250, ("I", "II"), "8", "1000/mV", initial=[10, -20])
    np.testing.assert_allclose(formats.read(path).signal, [[0.011, 0.013, 0.01], [-0.12, -0.115, -0.11]], rtol=1e-6)


def test_the_31st_bit_of_format_311_is_no_part_of_a_sample(tmp_path):
    path = made_wfdb.raw(tmp_path / "r", [[1, 2, 3]], 250, ("I",), "311")
    data = bytearray((tmp_path / "r.dat").read_bytes())
    data[3] |= 0xC0
    (tmp_path / "r.dat").write_bytes(data)
    np.testing.assert_allclose(formats.read(path).signal, [[0.001, 0.002, 0.003]], rtol=1e-6)


def test_skew_of_a_lead_with_several_samples_a_frame(tmp_path):
    """Two frames late are eight samples, and eight are missing at the end (the library leaves six of them at 0)."""
    digital = [*made_wfdb.noise(1, 20, 99), *made_wfdb.noise(1, 80, 99, 1)]
    path = made_wfdb.raw(tmp_path / "r", digital, 60, ("I", "II"), "16", per_frame=[1, 4], skew=[0, 2], offset=30)
    record = formats.read(path)
    assert record.rate == 240 and record.extra["derived"] == "I is at 60 Hz, held"
    np.testing.assert_allclose(record.signal[1, :-8], np.array(digital[1])[8:] / 1000, rtol=1e-6)
    assert np.isnan(record.signal[1, -8:]).all()
    np.testing.assert_allclose(record.signal[0], np.repeat(digital[0], 4) / 1000, rtol=1e-6)


def test_rates_that_are_no_multiple_are_held(tmp_path):
    digital = [[10, 20], [1, 2, 3, 4], [5, 6, 7, 8, 9, 10]]
    path = made_wfdb.raw(tmp_path / "r", digital, 10, ("I", "II", "V1"), "16", per_frame=[1, 2, 3])
    expected = [[10, 10, 10, 20, 20, 20], [1, 1, 2, 3, 3, 4], [5, 6, 7, 8, 9, 10]]
    np.testing.assert_allclose(formats.read(path).signal, np.array(expected) / 1000, rtol=1e-6)


def test_the_time_of_day_is_not_the_length(tmp_path):
    """The library takes the 12 of 12:30:00 for the length where there is none."""
    write(tmp_path)
    edit(tmp_path, "r 3 250 400", "r 3 2.5e2 12:30:00 01/02/2003")
    record = formats.read(tmp_path / "r.hea")
    assert record.signal.shape == (3, 400) and record.rate == 250


NAMES = {
    "names that say nothing": (("col 0", "col 1", "col 2"), "II,V1,V5", ("II", "V1", "V5")),
    "names of leads stand": (("I", "col 1", "V2"), "II,V1,V5", ("I", "col 1", "V2")),
    "other names stand": (("CM5", "CC5", "ML"), "II,V1,V5", ("CM5", "CC5", "ML")),
    "too many": (("ECG1", "ECG2", "ECG3"), "standard", ("ECG1", "ECG2", "ECG3")),
    "no ECG by its name": (("RESP", "ABP", "PLETH"), "II,V1,V5", ("II", "V1", "V5")),
    "of the ECGs": (("RESP", "ECG 1", "ECG 2"), "II,V1", ("II", "V1")),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_that_are_given(tmp_path, case):
    there, given, expected = NAMES[case]
    write(tmp_path, leads=there)
    assert formats.read(tmp_path / "r.hea", leads=given).leads == expected


def test_names_that_are_given_for_segments(tmp_path):
    path = made_wfdb.segments(tmp_path)
    for part in tmp_path.glob("*.hea"):
        part.write_text(part.read_text().replace(" II\n", " col 0\n").replace(" V1\n", " col 1\n"))
    before = formats.read(path)
    after = formats.read(path, leads="V2,V3")
    assert (before.leads, after.leads) == (("col 0", "col 1"), ("V2", "V3"))
    np.testing.assert_array_equal(before.signal, after.signal)


def test_median_and_index(tmp_path):
    write(tmp_path)
    assert formats.read(tmp_path / "r.hea", index=0).leads == ("I", "II", "V1")
    with pytest.raises(InputError, match="it holds one record"):
        formats.read(tmp_path / "r.hea", index=1)
    with pytest.raises(InputError, match="no median beat"):
        formats.read(tmp_path / "r.hea", median=True)


def test_what_is_told(tmp_path):
    write(tmp_path, units="uV", gain=0.5, leads=("RESP", "II", "V1"))
    extra = {"format": "wfdb", "unit": "uV", "resolution": "0.002", "skipped": "RESP (uV)"}
    assert formats.read(tmp_path / "r.hea").extra == extra


def test_a_byte_order_mark(tmp_path):
    write(tmp_path)
    (tmp_path / "r.hea").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "r.hea").read_bytes())
    assert formats.read(tmp_path / "r.hea").extra["format"] == "wfdb"


def test_a_broken_header_is_not_taken_for_a_table(tmp_path):
    (tmp_path / "r.hea").write_text("a/../b 9 250 60\n" + "1 2\n" * 40)
    with pytest.raises(InputError, match=r"cannot understand the record line 'a/../b"):
        formats.read(tmp_path / "r.hea", rate=250, unit="mV", leads="I,II")
    assert formats.find(tmp_path) == [tmp_path / "r.hea"]  # an import lists it as broken
