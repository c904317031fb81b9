"""The WFDB writer: what it writes is what it was given, for this reader and for the wfdb library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wfdb as library

import made_wfdb as made
from ecgraft import formats
from ecgraft.formats import wfdb
from ecgraft.record import BEAT, LEADS, RHYTHM, SPAN, WAVE, InputError, Record

T = 700


def record(signal, **more) -> Record:
    leads = more.pop("leads", LEADS[: len(signal)])
    return Record(np.asarray(signal, np.float32), more.pop("rate", 250), leads, id="r", **more)


def both_ways(one: Record, folder: Path) -> tuple[Record, object]:
    """Read again here and by the library."""
    paths = wfdb.write(one, folder / "r.hea")
    assert paths[0] == folder / "r.hea" and all(path.is_file() for path in paths)
    again, theirs = formats.read(paths[0]), library.rdrecord(str(folder / "r"))
    np.testing.assert_array_equal(again.signal, theirs.p_signal.T.astype(np.float32))
    digital = library.rdrecord(str(folder / "r"), physical=False)
    assert [total % 65536 for total in theirs.checksum] == digital.calc_checksum()
    assert theirs.init_value == digital.d_signal[0].tolist()
    assert again.leads == one.leads and again.rate == theirs.fs == one.rate
    return again, theirs


def digits(span: int, leads: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-span, span + 1, (leads, T)).astype(float)


@pytest.mark.parametrize("span", [1, 40, 3000, 32767])
@pytest.mark.parametrize("gain", [1000.0, 200.0, 204.8, 1 / 0.00488, 400.0, 287.43, 3276.8, 2000.0, 16.0, 1e5])
def test_samples_of_an_ad_converter_come_back_bit_by_bit(tmp_path, gain, span):
    one = record(digits(span) / gain)
    again, theirs = both_ways(one, tmp_path)
    np.testing.assert_array_equal(again.signal, one.signal)
    assert theirs.fmt == ["16"] * 3


@pytest.mark.parametrize("step", [0.0025, 0.00488, 0.0001, 0.00125, 1 / 3])
def test_and_those_that_were_multiplied(tmp_path, step):
    one = record(digits(3000) * step)
    np.testing.assert_array_equal(both_ways(one, tmp_path)[0].signal, one.signal)


def test_leads_of_their_own_gain_and_offset(tmp_path):
    """An offset that 16 bits do not hold goes into the baseline."""
    whole = digits(3000, 4) + np.array([[0], [40_000], [-70_000], [1024]])
    one = record(whole / np.array([[1000], [1000], [2000], [204.8]]))
    again, theirs = both_ways(one, tmp_path)
    np.testing.assert_array_equal(again.signal, one.signal)
    assert theirs.fmt == ["16"] * 4 and theirs.baseline[0] == 0


@pytest.mark.parametrize("gain", [32000.0, 2**27 / 1000, 20971.52, 1e5])
def test_converters_of_24_bits(tmp_path, gain):
    time = np.arange(2000) / 500
    beats = 2 * np.sin(7 * time) ** 31 + 0.01 * np.random.default_rng(0).normal(size=(3, 2000)) + 3
    one = record(np.rint(beats * gain) / gain)
    again, theirs = both_ways(one, tmp_path)
    np.testing.assert_array_equal(again.signal, one.signal)
    assert theirs.fmt == ["24"] * 3


@pytest.mark.parametrize(("span", "format", "most"), [(3, "16", 5e-5), (30, "16", 5e-4), (100, "24", 1e-5)])
def test_other_samples_to_half_a_step_of_a_microvolt_at_most(tmp_path, span, format, most):
    one = record(np.random.default_rng(0).uniform(-span, span, (3, T)))
    again, theirs = both_ways(one, tmp_path)
    assert np.abs(again.signal - one.signal).max() <= most + span * 2**-24 and theirs.fmt == [format] * 3


def test_ranges_that_no_ecg_has(tmp_path):
    one = record(np.random.default_rng(0).normal(size=(2, T)) * [[1e6], [1e30]])
    again, theirs = both_ways(one, tmp_path)
    np.testing.assert_allclose(again.signal, one.signal, atol=1e-8 * 5e30)
    assert theirs.fmt == ["32"] * 2


def test_flat_leads_and_missing_samples(tmp_path):
    signal = np.full((5, T), np.nan)
    signal[0], signal[1], signal[2, 5:9] = 0, 1 / 3, 7
    signal[3], signal[4] = digits(50)[0] / 200, 1
    signal[3, :3], signal[4, 7:9] = np.nan, np.nan
    again, _ = both_ways(record(signal), tmp_path)
    np.testing.assert_array_equal(again.signal, np.where(np.isfinite(signal), signal, np.nan).astype(np.float32))


def test_an_infinite_sample_is_missing(tmp_path):
    signal = digits(50) / 200
    signal[0, 3], signal[1, 4] = np.inf, -np.inf
    found = both_ways(record(signal), tmp_path)[0].signal
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 3], [1, 4]]


@pytest.mark.parametrize("rate", [250, 359.9712, 62.4725 * 4, 1e-3, 99999.5])
def test_rates(tmp_path, rate):
    assert both_ways(record(digits(9), rate=rate), tmp_path)[0].rate == rate


def test_every_field_comes_back(tmp_path):
    labels = {"snomed:164889003": 1, "snomed:426783006": 0, "scp:NORM": 1, "own:a, b: c": 0, "snomed:x": 1}
    one = record(
        digits(99),
        age=61.5,
        sex="F",
        labels=labels,
        complete=frozenset({"scp", "snomed"}),
        values={"QT": 401.25, "heart rate": 61.0, "P axis": -12.0, "odd": 1e-7},
        report="Sinusrhythmus, überdrehter Linkstyp\nDx: nothing",
        patient="x:1",
    )
    again, _ = both_ways(one, tmp_path)
    for field in ("age", "sex", "labels", "complete", "values", "report"):
        assert getattr(again, field) == getattr(one, field), field
    assert again.patient is None and "x:1" not in (tmp_path / "r.hea").read_text()


def test_beats_and_rhythms_come_back(tmp_path):
    beats = np.array([(0, b"N"), (50, b"V"), (51, b"?"), (699, b"/")], BEAT)
    rhythms = np.array([(0, 50, "N"), (50, 100, "AFIB"), (300, 600, "VT")], RHYTHM)
    one = record(digits(99), beats=beats, rhythms=rhythms)
    again, _ = both_ways(one, tmp_path)
    assert again.beats.tolist() == [(0, b"N"), (50, b"V"), (51, b"Q"), (699, b"/")]  # Q: not classified
    assert again.rhythms.tolist() == rhythms.tolist()
    theirs = library.rdann(str(tmp_path / "r"), "atr")
    assert theirs.sample.tolist() == [0, 0, 50, 50, 51, 100, 300, 600, 699] and theirs.fs == 250
    assert theirs.symbol == list("+N+VQ+++/")
    assert [note.strip("\0") for note in theirs.aux_note] == ["(N", "", "(AFIB", "", "", "(", "(VT", "(", ""]


def test_waves_come_back(tmp_path):
    rows = [(1, 0, 10, 12, 14), (2, 0, 20, 22, 25), (3, 0, -1, 33, 40), (2, 2, 0, 0, 8), (3, 2, 15, 16, -1)]
    waves = np.array(rows, WAVE)
    scored = np.array([(0, 10, 41), (2, 0, 700)], SPAN)
    again, _ = both_ways(record(digits(99), waves=waves, scored=scored), tmp_path)
    assert again.waves.tolist() == rows and again.scored.tolist() == scored.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.dat", "r.hea", "r.i", "r.ii", "r.iii"]
    theirs = library.rdann(str(tmp_path / "r"), "i")
    assert theirs.symbol == list("(p)(N)t)") and theirs.sample.tolist() == [10, 12, 14, 20, 22, 25, 33, 40]


def test_waves_of_all_leads_and_none_scored(tmp_path):
    waves = np.array([(2, -1, 20, 22, 25), (2, 1, 21, 22, 25)], WAVE)
    again, _ = both_ways(record(digits(99), waves=waves), tmp_path)
    assert sorted(again.waves.tolist()) == sorted(waves.tolist()) and again.scored is None
    empty = record(digits(99), waves=np.empty(0, WAVE), scored=np.array([(-1, 5, 9)], SPAN))
    (tmp_path / "b").mkdir()
    again, _ = both_ways(empty, tmp_path / "b")
    assert again.waves.tolist() == [] and again.scored.tolist() == [(-1, 5, 9)]


def test_names_that_wfdb_does_not_have(tmp_path):
    one = record(digits(9, 4), leads=("atr", "a lead\nof 2 lines", "V 1 µ", "ECG"), waves=np.empty(0, WAVE))
    paths = formats.write(one, tmp_path / "a b.c.hea")
    assert [path.name for path in paths[:2]] == ["a_b_c.hea", "a_b_c.dat"]
    assert {path.suffix for path in paths[2:]} == {".atr_", ".a_lead_of_2_lines", ".v_1", ".ecg_"}
    again = formats.read(paths[0])
    assert again.leads == ("atr", "a lead of 2 lines", "V 1 µ", "ECG") and again.beats is None
    np.testing.assert_array_equal(library.rdrecord(str(paths[0].with_suffix(""))).p_signal.T.shape, again.signal.shape)


def test_nothing_is_written_over(tmp_path):
    wfdb.write(record(digits(9)), tmp_path / "r.dat")
    (tmp_path / "r.hea").unlink()
    with pytest.raises(InputError, match=r"r\.dat is there already"):
        wfdb.write(record(digits(9)), tmp_path / "r.hea")
    assert not (tmp_path / "r.hea").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("ptb-xl/records500/00000/00001_hr", "ludb/data/1", "mitdb/108", "qtdb/sele0112", "wfdb/s0010_re"),
        *("wfdb/3000003_0003", "wfdb/mixedsignals", "wfdb/test01_00s_skewframe", "wfdb/flacformats"),
        "wfdb/multi-segment/041s/041s",
    ],
)
def test_real_records_come_back_bit_by_bit(shared_data, tmp_path, name):
    one = formats.read(shared_data / f"{name}.hea")
    again = formats.read(wfdb.write(one, tmp_path / "r.hea")[0])
    np.testing.assert_array_equal(again.signal, one.signal)
    for field in ("beats", "rhythms", "waves", "scored"):
        before, after = getattr(one, field), getattr(again, field)
        assert (before is None) == (after is None) and (before is None or before.tolist() == after.tolist()), field


def test_segments_of_several_gains(shared_data, tmp_path):
    """Eighteen gains in one lead lie on no grid of 24 bits: half a step of what holds them."""
    one = formats.read(shared_data / "wfdb/multi-segment/s25047/s25047-2704-05-04-10-44.hea")
    again = formats.read(wfdb.write(one, tmp_path / "r.hea")[0])
    np.testing.assert_array_equal(np.isnan(again.signal), np.isnan(one.signal))
    assert np.nanmax(np.abs(again.signal - one.signal)) <= 2.6e-4


def test_what_another_encoder_writes_comes_back(tmp_path):
    for path in made.variants(tmp_path):
        one = formats.read(path)
        again = formats.read(formats.write(one, tmp_path / "out" / path.name)[0])
        np.testing.assert_array_equal(again.signal, one.signal)
        assert again.labels == one.labels and again.report == one.report
