"""EDF, EDF+, BDF, BDF+: reading and writing, against an encoder of their own, pyedflib and edfio."""

import warnings
from fractions import Fraction

import numpy as np
import pytest

import made_edf as made
from ecgraft import formats
from ecgraft.formats._digital import Scale, int24
from ecgraft.record import BEAT, LEADS, RHYTHM, SPAN, InputError, Record, waves_array

W = made.wave()
PERSON = {"patient": "MCH-0234567 F 02-MAY-1951 Haagse_Harry", "recording": "Startdate 02-MAR-2002 EMG561 BK/JOP Sony"}
KEY = "0123456789abcdef"


def read(path, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return formats.read(path, format="edf", **given)


def one(tmp_path, records=None, *, name="a.edf", **more):
    """A file of one signal."""
    head = {key: more.pop(key) for key in list(more) if key not in ("label", "unit", "physical", "digital", "filters")}
    return made.raw(tmp_path / name, [{"label": "ECG II"} | more], records or [[W], [W]], **head)


def test_a_digital_value_is_rounded_once():
    """Against rational numbers: of all float32 the nearest, by whichever way it is computed."""
    codes = np.arange(-32768, 32768, dtype=np.int16)
    for gain, offset in ((Fraction(1, 200), Fraction(-1024, 200)), (Fraction(244140625, 10**11), Fraction(-3, 7))):
        x = Scale(gain, offset)(codes)
        for place in range(0, 65536, 997):
            true, found = gain * int(codes[place]) + offset, x[place]
            near = [np.nextafter(found, np.float32(side)) for side in (-np.inf, np.inf)]
            assert all(abs(Fraction(float(found)) - true) <= abs(Fraction(float(other)) - true) for other in near)
    assert Scale(Fraction(1, 1000), missing=-5)(np.array([-5, 0, 7], np.int16)).tolist() == pytest.approx(
        [np.nan, 0, 0.007], nan_ok=True
    )
    three = np.array([[[0, 0, 0x80], [0xFF, 0xFF, 0xFF], [0x01, 0x02, 0x03]]], np.uint8)
    assert (
        int24(three).tolist() == [[-(2**23), -1, 0x030201]]
        and int24(three[..., ::-1], ">").tolist() == int24(three).tolist()
    )


@pytest.mark.parametrize("width", [2, 3])
def test_samples_leads_units_and_ranges(tmp_path, width):
    signals = [
        {"label": "ECG II", "unit": "uV"},
        {"label": "EKG V1-Ref", "unit": b"\xb5V", "physical": (-5000, 4998.779), "digital": (-2048, 2047)},
        {"label": "ECG LA-RA", "unit": "mV", "physical": (3.2767, -3.2768), "digital": (-32768, 32767)},
        {"label": "ECG1", "unit": "V"},
    ]
    path = made.raw(tmp_path / "a.edf", signals, [[W] * 4, [W] * 4], width=width)
    record, d = read(path), np.concatenate([W, W]).astype(float)
    assert record.leads == ("II", "V1", "I", "ECG1") and record.rate == 50 and record.id == "a"
    expected = [
        d / 1000,
        (-5000 + (d + 2048) * 9998.779 / 4095) / 1000,
        3.2767 - (d + 32768) * 6.5535 / 65535,
        d * 1000,
    ]
    np.testing.assert_allclose(record.signal, expected, rtol=2e-7, atol=1e-9)
    assert record.extra["unit"] == "uV; µV; mV; V" and record.extra["filters"] == "high-pass 0.05 Hz, low-pass 150 Hz"
    assert (record.beats, record.waves, record.report, record.patient, record.sex, record.age) == (None,) * 6


@pytest.mark.parametrize(
    ("label", "lead"),
    [("ECG aVR", "aVR"), ("ekg v6", "V6"), ("ECG-I", "I"), ("ECGII", "II"), ("MLII", "II"), ("ECG CM5", "CM5")]
    + [("ECG", "ECG"), ("EKG 2", "EKG 2"), ("ECG1-ECG2", "ECG1-ECG2"), ("ECGL", "ECGL"), ("ECG I - Ref", "I")]
    + [("1", "ECG1"), ("LL-RA", "II"), ("Holter", "Holter")],
)
def test_labels(tmp_path, label, lead):
    assert read(one(tmp_path, label=label)).leads == (lead,)


def test_among_brain_waves_an_ecg_is_what_says_so(tmp_path):
    labels = ["C3", "C4-A1", "Fp1", "ECG", "Chin", "Resp", "V2", "C1"]
    path = made.raw(tmp_path / "a.edf", [{"label": label} for label in labels], [[W] * 8])
    record = read(path)
    assert record.leads == ("ECG", "V2") and "C3 (uV); C4-A1 (uV)" in record.extra["skipped"]
    path = made.raw(tmp_path / "b.edf", [{"label": f"C{i}"} for i in range(1, 7)], [[W] * 6])
    assert read(path).leads == ("V1", "V2", "V3", "V4", "V5", "V6")
    with pytest.raises(InputError, match=r"no ECG among its signals \(EEG C3-A2, SpO2\)"):
        read(made.raw(tmp_path / "c.edf", [{"label": "EEG C3-A2"}, {"label": "SpO2", "unit": "%"}], [[W, W]]))


def test_rates(tmp_path):
    two, slow = {"label": "ECG II"}, {"label": "V5"}
    record = read(made.raw(tmp_path / "a.edf", [two, slow], [[W, W[:25]]] * 2))
    assert record.rate == 50 and record.extra["derived"] == "V5: each sample held 2 times"
    assert np.array_equal(record.signal[1], np.repeat(np.tile(W[:25], 2), 2).astype(np.float32) / np.float32(1000))
    record = read(made.raw(tmp_path / "b.edf", [two, slow, {"label": "ECG I"}], [[W[:20], W[:15], W[:15]]] * 2))
    assert (record.leads, record.rate) == (("V5", "I"), 15)
    assert record.extra["skipped"] == "ECG II (20 samples where others have 15)"
    for seconds, rate in (("0.333333", 150), ("0.1388", 360.2305), ("0,25", 200), ("2", 25), ("0.694444", 72)):
        assert read(one(tmp_path, seconds=seconds)).rate == pytest.approx(rate)
    with pytest.raises(InputError, match=r"does not say its sampling rate; give it with rate"):
        read(one(tmp_path, seconds="0"))
    assert read(one(tmp_path, seconds="0"), rate=90).rate == 90


def test_what_recorders_do_to_files(tmp_path):
    plain = read(one(tmp_path)).signal
    same = {
        "the recording was not finished; 2 data records found": {"stated": -1},
        "the header says 0 data records; 2 data records found": {"stated": 0},
        "cut short: 2 data records of 9": {"stated": 9},
        "8 bytes behind the last data record are no samples": {"more": b"trailing"},
        "the samples begin after 512 bytes; the header says 77": {"size": 77},
        "the samples begin after 600 bytes, as the header says, and not after 512": {"size": 600, "gap": b" " * 88},
    }
    for said, more in same.items():
        record = read(one(tmp_path, **more))
        assert np.array_equal(record.signal, plain) and record.extra["assumed"] == said
    record = read(one(tmp_path, physical=("-32,768", "32,767"), unit="mVolt", digital=("-32768.0", "32767")))
    assert np.array_equal(record.signal, plain)
    record = read(one(tmp_path, cut=41, name="b.edf"))
    assert (
        record.signal.shape == (1, 79) and record.extra["assumed"] == "cut short: 1 data records and a part of one of 2"
    )
    path = made.raw(tmp_path / "c.edf", [{"label": "ECG I"}, {"label": "ECG II"}], [[W, W]] * 2, cut=110)
    record = read(path)
    assert (
        record.signal.shape == (2, 95)
        and np.isnan(record.signal[1, 50:]).all()
        and not np.isnan(record.signal[0]).any()
    )
    record = read(one(tmp_path, [[W], [np.full(50, 7)]]))
    assert record.extra["assumed"] == "the last 49 samples are constant in all leads, as if filled up; they are kept"
    record = read(one(tmp_path, [[W], [np.full(50, -32768)]], digital=(-2048, 2047)))
    assert np.isnan(record.signal[0, 50:]).all() and "50 samples of the lowest code" in record.extra["assumed"]
    assert not np.isnan(read(one(tmp_path, [[W], [np.full(50, -32768)]])).signal).any()


def test_gaps_are_nan_at_their_times(tmp_path):
    times = [made.tal(f"+{t}", "") for t in ("0.5", "2.52", "3.52")]
    record = read(one(tmp_path, [[W]] * 3, tals=times, reserved="EDF+D"))
    assert record.signal.shape == (1, 201) and np.flatnonzero(np.isnan(record.signal[0])).tolist() == list(
        range(50, 101)
    )
    assert np.array_equal(record.signal[0, 101:151], record.signal[0, :50])
    near = [made.tal(f"+{t}", "") for t in ("0", "1.01", "1.995")]
    assert read(one(tmp_path, [[W]] * 3, tals=near, reserved="EDF+D")).signal.shape == (1, 150)
    some = [made.tal("+0", ""), b"\0", made.tal("+3", "")]
    record = read(one(tmp_path, [[W]] * 3, tals=some, reserved="EDF+D"))
    assert record.signal.shape == (1, 200) and "1 data records have no time" in record.extra["assumed"]
    assert read(one(tmp_path, [[W]] * 3, tals=times, reserved="EDF+C")).signal.shape == (1, 150)
    with pytest.raises(InputError, match="data record 3 begins before the one before it ends"):
        read(one(tmp_path, [[W]] * 3, tals=[times[0], times[2], times[1]], reserved="EDF+D"))
    with pytest.raises(InputError, match=r"gaps of \d+ h; split the recording"):
        read(one(tmp_path, tals=[made.tal("+0", ""), made.tal("+99999999999", "")], reserved="EDF+D"))
    two = [{"label": "ECG I"}, {"label": "ECG II"}]
    with pytest.raises(InputError, match="nearly all of its 65000050 samples are gaps"):
        read(
            made.raw(
                tmp_path / "b.edf", two, [[W, W]] * 2, tals=[times[0], made.tal("+1300000.5", "")], reserved="EDF+D"
            )
        )


def test_annotations(tmp_path):
    tals = [made.tal("+10", "") + made.tal("+10.1", "N", "V") + made.tal("+10.3", "(AFIB") + made.tal("+10.6", "(N")]
    tals += [
        made.tal("+11", "")
        + made.tal("+11.5", "A")
        + made.tal("+11.6", "Pause")
        + made.tal("+11.6", "Mr Smith felt ill")
    ]
    record = read(one(tmp_path, tals=tals, reserved="EDF+C"))
    assert record.beats.tolist() == [(5, b"N"), (5, b"V"), (75, b"A")]
    assert record.rhythms.tolist() == [(15, 30, "AFIB"), (30, 100, "N")]
    assert record.extra["annotations"] == "pause 1" and "Smith" not in repr(record) + str(record.extra)
    assert record.extra["skipped"] == "1 annotations whose texts are no known words"
    far = [made.tal("+0", "") + made.tal("+0.1", "N") + made.tal("+40", "N"), made.tal("+1", "")]
    assert read(one(tmp_path, tals=far, reserved="EDF+C")).beats is None  # 40 s between two is no heart beat
    stages = [made.tal("+0", "") + b"".join(made.tal(f"+{i / 2}", w) for i, w in enumerate("NWR")), made.tal("+1", "")]
    assert read(one(tmp_path, tals=stages, reserved="EDF+C")).beats is None  # W is no beat, so N and R are none
    peaks = [made.tal("+0", "") + b"".join(made.tal(f"+{i / 2}", "R") for i in range(3)), made.tal("+1", "")]
    assert read(one(tmp_path, tals=peaks, reserved="EDF+C")).beats["symbol"].tolist() == [b"?"] * 3
    foreign = [made.tal("+0", "") + made.tal("+0", "report: Smith", "P wave: onset 0"), made.tal("+1", "")]
    record = read(one(tmp_path, tals=foreign, reserved="EDF+C"))
    assert (record.report, record.waves) == (None, None)


def test_what_ecgraft_wrote_is_read_back(tmp_path):
    record = read(made.ours(tmp_path))
    assert record.report == "Sinus rhythm\nNormal" and (record.sex, record.age) == ("F", 64)
    assert record.beats.tolist() == [(5, b"V"), (5, b"?")] and record.rhythms.tolist() == [(15, 40, "AFIB")]
    assert record.waves.tolist() == [(1, 0, 5, 7, -1)] and record.scored.tolist() == [(0, 5, 55)]
    assert record.signal.shape == (1, 95) and np.flatnonzero(np.isnan(record.signal[0])).tolist() == list(range(25, 35))


def test_a_person_leaves_sex_age_and_a_hash(tmp_path):
    path = one(tmp_path, **PERSON)
    record, known = read(path), read(path, patient_key=KEY)
    assert (record.sex, record.age, record.patient) == ("F", 50, None) and record.extra[
        "derived"
    ] == "age from the date of birth"
    said = repr(known) + str(known.extra)
    assert not any(word in said for word in ("MCH", "0234567", "Harry", "1951", "2002", "EMG561", "BK", "Sony"))
    assert known.patient == formats.understand({"patient_key": KEY}).patient("MCH-0234567")
    noname = read(one(tmp_path, patient="X M 02-MAY-1951 Harry", date="03.05.20"), patient_key=KEY)
    assert noname.patient == formats.understand({"patient_key": KEY}).patient(None, "Harry", "02-MAY-1951")
    assert (noname.sex, noname.age) == ("M", 69)
    assert read(one(tmp_path, patient="X M 02-MAY-1951 Harry")).age is None  # 01.01.85 is no date
    free = read(one(tmp_path, patient=b"M\xfcller, Jos\xe9, 12345"), patient_key=KEY)
    assert (free.sex, free.age) == (None, None) and free.patient.startswith("key:")
    maker = read(one(tmp_path, recording="Startdate 05-FEB-2019 X X Bittium_Faros_SN1234"))
    assert maker.extra["device"] == "Bittium"


def test_what_is_wrong_is_named(tmp_path):
    wrong = {
        "does not say its unit; give it with unit": {"unit": ""},
        "no lead has a range of digital and physical values": {"digital": (5, 5)},
        "no lead has a range of .* physical": {"physical": (1, 1)},
        "signals announced in a file": {"count": 999},
        "'x' is no duration": {"seconds": "x"},
        "unknown unit 'bpm'": {"unit": "bpm"},
        "no sample of its leads": {"cut": 200},
    }
    for said, more in wrong.items():
        with pytest.raises(InputError, match=said):
            read(one(tmp_path, **more))
    assert read(one(tmp_path, unit=""), unit="uV").signal.max() == pytest.approx(0.9, abs=0.02)
    path = made.raw(tmp_path / "n.edf", [{"label": "ECG II", "samples": 0}], [[[]]])
    with pytest.raises(InputError, match="no signal has samples"):
        read(path)
    path.write_bytes(b"0       " + b" " * 300)
    with pytest.raises(InputError, match="no EDF or BDF header"):
        read(path)
    with pytest.raises(InputError, match="median"):
        read(one(tmp_path), median=True)


# ---- written -------------------------------------------------------------------------------------------------------


def noise(leads=3, samples=1000, scale=1.0, seed=0):
    return (np.random.default_rng(seed).normal(size=(leads, samples)) * scale).astype(np.float32)


def written(record: Record, path):
    formats.write(record, path)
    return read(path)


@pytest.mark.parametrize("ending", [".edf", ".bdf"])
@pytest.mark.parametrize("step", [0.001, 0.0025, 0.005, 0.00488])
def test_whole_steps_are_written_to_the_last_bit(tmp_path, ending, step):
    x = (np.round(noise().astype(float) / step) * step).astype(np.float32)
    record = Record(x, 500, LEADS[:3], extra={"resolution": str(step)})
    assert np.array_equal(written(record, tmp_path / f"a{ending}").signal, x) or step == 0.00488


@pytest.mark.parametrize("ending", [".edf", ".bdf"])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1, 100, 1e5])
def test_anything_else_is_within_half_a_step(tmp_path, ending, scale):
    """Of the range of each lead over the codes of its width; 0.1 % more, as limits have 8 characters."""
    x = noise(scale=scale) + np.float32(3 * scale) * np.arange(3, dtype=np.float32)[:, None]
    again = written(Record(x, 500, LEADS[:3]), tmp_path / f"a{ending}").signal
    codes = {".edf": 2**16 - 3, ".bdf": 2**24 - 3}[ending]
    half = np.ptp(x.astype(float), axis=1) / codes / 2
    limit = half * 1.001 + np.abs(x).max() * 6e-8 + (2e-9 if scale < 1e-3 else 0)
    assert (np.abs(again.astype(float) - x).max(axis=1) <= limit).all()


@pytest.mark.parametrize("rate", [100, 128.5, 250, 257, 360, 500 / 3, 250 / 3.6, 180.1234567, 1000])
@pytest.mark.parametrize("samples", [1, 650, 5000, 5003])
def test_rates_and_lengths_are_kept(tmp_path, rate, samples):
    pyedflib = pytest.importorskip("pyedflib")
    x = np.round(noise(2, samples), 3)
    again = written(Record(x, rate, ("II", "CM5")), tmp_path / "a.edf")
    assert np.array_equal(again.signal, x) and again.leads == ("II", "CM5")
    assert again.rate == pytest.approx(rate, rel=2e-9)
    with pyedflib.EdfReader(str(tmp_path / "a.edf")) as file:
        assert file.getSampleFrequency(0) == pytest.approx(rate, rel=1e-6)
        assert file.getNSamples()[0] - samples < max(2 * rate, 600)


@pytest.mark.parametrize("ending", [".edf", ".bdf"])
def test_other_readers_find_the_same(tmp_path, ending):
    pyedflib, edfio = pytest.importorskip("pyedflib"), pytest.importorskip("edfio")
    x = np.round(noise(12, 5000), 3)
    beats = np.array([(100, b"N"), (600, b"V"), (1100, b"?")], BEAT)
    record = Record(
        x, 500, LEADS, sex="F", beats=beats, report="Sinusrhythmus\nGröße", extra={"filters": "low-pass 150 Hz"}
    )
    path = formats.write(record, tmp_path / f"a{ending}")[0]
    with pyedflib.EdfReader(str(path)) as file:
        assert [file.getLabel(i) for i in range(12)] == [f"ECG {lead}" for lead in LEADS]
        assert np.abs(np.stack([file.readSignal(i) for i in range(12)]) / 1000 - x).max() < 1e-6
        assert file.getSampleFrequency(0) == 500 and file.getSex() == "Female" and file.getPatientCode() in ("", "X")
        times, _, texts = file.readAnnotations()
        assert [(t, s) for t, s in zip(times, texts) if "eport" not in s] == [
            (0.2, "beat N"),
            (1.2, "beat V"),
            (2.2, "R-wave"),
        ]
        assert file.getPrefilter(0) == "LP:150Hz"
    other = edfio.read_edf(path) if ending == ".edf" else edfio.read_bdf(path)
    assert np.abs(np.stack([s.data for s in other.signals]) / 1000 - x).max() < 1e-6 and len(other.annotations) == 5


def test_gaps_waves_and_all_else_come_back(tmp_path):
    x = np.round(noise(2, 2000), 3)
    x[:, 300:900], x[1, 1200:1300], x[0, :5], x[:, -3:] = np.nan, np.nan, np.nan, np.nan
    record = Record(
        x,
        250,
        ("I", "aVF"),
        sex="M",
        age=71.0,
        report="Sinus rhythm\n" + "a long line " * 30,
        waves=waves_array([(1, 0, 10, 12, 20), (2, -1, 40, -1, 60), (3, 1, -1, 90, -1)]),
        scored=np.array([(0, 0, 1000), (-1, 1500, 1800)], SPAN),
        beats=np.array([(50, b"N"), (250, b"R"), (1000, b"/"), (1999, b"?")], BEAT),
        rhythms=np.array([(0, 1000, "AFIB"), (1000, 2000, "N")], RHYTHM),
    )
    path = tmp_path / "a.edf"
    again = written(record, path)
    np.testing.assert_array_equal(again.signal, x)
    for name in ("waves", "scored", "beats", "rhythms"):
        assert getattr(again, name).tolist() == getattr(record, name).tolist(), name
    assert (again.sex, again.age, again.report) == ("M", 71, " ".join(record.report.split(" ")).strip())
    assert path.read_bytes()[192:197] == b"EDF+D" and path.stat().st_size < 14_000
    formats.write(record.but(id="other"), tmp_path / "b.edf")
    assert path.read_bytes() == (tmp_path / "b.edf").read_bytes()


def test_what_cannot_be_written(tmp_path):
    for value, said in ((np.inf, "infinite"), (1e30, "which EDF cannot hold")):
        x = noise(1)
        x[0, 3] = value
        with pytest.raises(InputError, match=said):
            formats.write(Record(x, 250, ("I",)), tmp_path / "a.edf")
    names = ("ein sehr langer Name", "ein sehr langer Name 2", "größe")
    again = written(Record(noise(), 250, names), tmp_path / "a.edf")
    assert len(set(again.leads)) == 3 and again.signal.shape == (3, 1000)


# ---- real files ----------------------------------------------------------------------------------------------------


def test_mit_bih_100(shared_data):
    record = read(shared_data / "formats" / "edf" / "100.edf")
    assert (record.leads, record.rate, record.signal.shape) == (("II", "V5"), 360, (2, 651_600))
    assert record.signal[:, :4].round(3).tolist() == np.float32([[-0.145] * 4, [-0.065] * 4]).tolist()
    assert np.isfinite(record.signal[:, :650_000]).all() and np.isnan(record.signal[:, 650_000:]).all()
    assert record.extra["assumed"].startswith("3200 samples of the lowest code")
    pyedflib = pytest.importorskip("pyedflib")
    with pyedflib.EdfReader(str(shared_data / "formats" / "edf" / "100.edf")) as file:
        digital = np.stack([file.readSignal(i, digital=True) for i in range(2)])[:, :650_000]
    assert np.array_equal(record.signal[:, :650_000], ((digital - 1024) / 200).astype(np.float32))


def test_annotations_alone_are_refused(shared_data):
    with pytest.raises(InputError, match="annotations and no signal"):
        read(shared_data / "wfdb" / "test_edfann.edf")
