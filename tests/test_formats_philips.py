"""Philips ECG XML against an encoder written here, bytes by hand, and real files of four devices."""

import re

import numpy as np
import pytest

import made_philips as made
from ecgraft import formats
from ecgraft.formats import philips
from ecgraft.formats._philips import xli
from ecgraft.record import LEADS, InputError

REAL = {"old": "129DYPRG.XML", "wide": "3191723_ZZDEMOPTONLY_1-04_orig.xml", "last": "2020-5-18_15-48-11.xml"}
SECRET = "a secret of 16 bytes"


def ecg(C=12, T=300, seed=0):
    return np.random.default_rng(seed).normal(0, 0.05, (C, T)).cumsum(axis=1)


def expected(x):
    return (np.round(x / made.STEP) * made.STEP).astype(np.float32)


PACKED = [("XLI", "Base64"), ("XLI", "Hex"), ("", "Base64"), ("", "Plain"), ("", "Hex")]


@pytest.mark.parametrize("packing, encoding", PACKED)
@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "iso-8859-1"])
def test_every_encoding_is_read_bit_for_bit(tmp_path, packing, encoding, charset):
    x = ecg()
    path = made.save(tmp_path / "p.xml", x, 500, LEADS, packing=packing, encoding=encoding, charset=charset)
    record = formats.read(path)
    np.testing.assert_array_equal(record.signal, expected(x))
    assert (record.rate, record.leads, record.id, record.extra["format"]) == (500, LEADS, "p", "philips")
    assert record.extra["resolution"] == "0.001"


@pytest.mark.parametrize("T", [2, 3, 4, 5, 900, 5500])
def test_xli_of_any_length(tmp_path, T):
    """900 samples fill the table of strings; smooth signals make long strings, noise short ones."""
    smooth = np.sin(np.arange(T) / 40) * np.ones((2, 1))
    for x in (smooth, np.zeros((2, T)), ecg(2, T, seed=3)):
        path = made.save(tmp_path / "p.xml", x, 500, ("I", "II"))
        np.testing.assert_array_equal(formats.read(path).signal, expected(x))


def test_codes_by_hand():
    """0001000001 1111111111 and padding; then a string that is used in the step that makes it."""
    assert xli._codes(bytes([0x10, 0x7F, 0xF0])).tolist() == [65]
    assert xli._codes(made.bits([1, 2, 3, 4, 1022])).tolist() == [1, 2, 3, 4, 1022]
    assert xli._unpack(np.array([65, 66, 256, 258]), "x") == b"ABABABA"


def test_second_differences_by_hand():
    """10, 12, then 2 * 12 - 10 - 3 = 11, then 2 * 11 - 12 - (65 - 64) = 9; the last word is not used."""
    packed = bytes([0, 0, 0, 0, 10, 12, 65, 64])
    assert xli._undelta(packed, 3, "x").tolist() == [10, 12, 11, 9]


def test_halves_go_towards_zero():
    """I -3, II 0: III is 3 - residual 0; aVR -(-1) - 0; aVL (-3 - 3) / 2; aVF 3 / 2 is 1."""
    rows = [np.array([v], np.int32) for v in (-3, 0, 0, 0, 0, 0)]
    assert [int(row[0]) for row in xli.limbs(rows, LEADS[:6])] == [-3, 0, 3, 1, -3, 1]


@pytest.mark.parametrize("name", ["wide", "last"])
def test_derived_leads_of_real_files_are_the_exact_halves(shared_data, name):
    """Within half a unit, which holds only if halves are rounded towards zero (otherwise 1.5 units)."""
    record = formats.read(shared_data / "formats" / "philips" / REAL[name])
    one, two, three, aVR, aVL, aVF = (np.round(record.lead(lead) / 0.005) for lead in LEADS[:6])
    assert not (two - one - three).any()
    for lead, exact in ((aVR, -(one + two) / 2), (aVL, (one - three) / 2), (aVF, (two + three) / 2)):
        assert np.abs(lead - exact).max() == 0.5


def test_real_files(shared_data):
    folder = shared_data / "formats" / "philips"
    old, wide, last = (formats.read(folder / name) for name in REAL.values())
    assert [r.signal.shape for r in (old, wide, last)] == [(12, 5264), (12, 5300), (12, 5300)]
    assert all((r.rate, r.leads) == (500, LEADS) for r in (old, wide, last))
    np.testing.assert_array_equal(np.round(old.lead("I")[4990:4996] / 0.005), [-11, -13, -18, -22, -28, -31])
    np.testing.assert_array_equal(np.round(wide.lead("V1")[4990:5110:30] / 0.005), [12, 13, 17, 23])
    assert "calibration pulse in the last 236 samples" in old.extra["skipped"]
    assert (old.age, old.sex, wide.age, wide.sex, last.age, last.sex) == (50, "M", 60, "M", 69, None)
    assert old.report.splitlines()[:2] == ["ABNORMAL ECG", "Sinus bradycardia (rate< 50)"]
    assert old.labels == {} and last.labels == {"philips:SR": 1, "philips:ET": 1}
    assert set(wide.labels) == {"philips:SR", "philips:LVHCNP", "philips:STELVH"}
    assert last.values | {"heart rate": 64, "QT": 399, "QTc": 412, "P axis": 27, "RR": 938} == last.values
    assert old.values | {"heart rate": 41, "PR": 151, "QRS": 135, "QRS axis": -21} == old.values
    assert wide.extra["median"] == "1200 samples at 500 Hz, 12 leads"
    assert last.extra["device"] == "Philips Medical Products PageWriter TC (A.07.04.03)"
    assert last.extra["filters"] == old.extra["filters"] == "high-pass 0.05 Hz, low-pass 150 Hz"


def test_the_same_rhythm_in_two_real_files(shared_data):
    folder = shared_data / "formats" / "philips"
    one, other = (formats.read(folder / name) for name in (REAL["old"], "repbeats_example.xml"))
    np.testing.assert_array_equal(one.signal, other.signal)
    assert "median" not in one.extra and other.extra["median"] == "1200 samples at 1000 Hz, 12 leads"
    beat = formats.read(folder / "repbeats_example.xml", median=True)
    assert (beat.signal.shape, beat.rate, beat.extra["resolution"]) == ((12, 1200), 1000, "0.001")
    np.testing.assert_array_equal(beat.lead("I")[:5], np.float32([-0.002, -0.002, -0.001, 0, 0]))


WRONG = {"type": "document type 'MortaraECG'", "version": "version '1.05' of SierraECG"}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_philips_ecg_is_refused_with_the_reason(shared_data, name):
    path = shared_data / "formats" / "philips" / f"invalid-doc-{name}.xml"
    assert philips.claims(path, path.read_bytes()[: formats.HEAD]) == 2
    with pytest.raises(InputError, match=WRONG[name]):
        formats.read(path)


def test_a_calibration_pulse_is_cut_off(tmp_path):
    digital = np.round(ecg(3) / made.STEP).astype(int)
    path = made.save(tmp_path / "p.xml", made.with_pulse(digital, 250) * made.STEP, 250, LEADS[:3])
    record = formats.read(path)
    np.testing.assert_array_equal(np.round(record.signal / made.STEP), digital)
    assert "calibration pulse in the last 100 samples" in record.extra["skipped"]


def test_what_only_looks_like_a_pulse_stays(tmp_path):
    """Half as high, too short, or not in all leads."""
    digital = np.round(ecg(3) / made.STEP).astype(int)
    whole = made.with_pulse(digital, 250)
    low, other = whole.copy(), whole.copy()
    low[:, 300:] //= 2
    other[1, -1] = 1
    for x in (low, other, whole[:, :-60]):
        assert formats.read(made.save(tmp_path / "p.xml", x * made.STEP, 250, LEADS[:3])).signal.shape == x.shape


def test_leads_beyond_the_twelve_and_spare_channels(tmp_path):
    x, leads = ecg(15), (*LEADS, "V3R", "V4R", "V7")
    record = formats.read(made.save(tmp_path / "p.xml", x, 500, leads, spare=1))
    np.testing.assert_array_equal(record.signal, expected(x))
    assert record.leads == leads and "1 channels after the leads" in record.extra["skipped"]


def test_leads_that_are_turned_round_derived_or_no_ecg(tmp_path):
    x, leads = ecg(4), ("-aVR", "V3d", "RESP", "CM5")
    record = formats.read(made.save(tmp_path / "p.xml", x, 500, leads, packing="", encoding="Plain"))
    assert record.leads == ("aVR", "V3", "CM5") and record.extra["skipped"] == "RESP"
    np.testing.assert_array_equal(record.signal, expected(x)[[0, 1, 3]] * np.float32([[-1], [1], [1]]))
    assert "aVR from -aVR" in record.extra["derived"] and "V3 by the device" in record.extra["derived"]


def test_version_1_03_says_its_leads_by_the_acquisition(tmp_path):
    path = {p.stem: p for p in made.variants(tmp_path)}["old"]
    record = formats.read(path)
    assert (record.leads, record.rate, record.signal.shape) == (LEADS, 250, (12, 60))
    assert record.extra["filters"] == "high-pass 0.05 Hz, low-pass 150 Hz"
    beat = formats.read(path, median=True)
    assert "rate of the median beat as of the rhythm" in beat.extra["assumed"] and beat.rate == 250
    path.write_text(path.read_text().replace("10-WIRE", "EASI"))
    with pytest.raises(InputError, match=r"names of its 12 leads.*--leads standard"):
        formats.read(path)
    assert formats.read(path, leads="standard").leads == LEADS


def test_unsigned_samples_and_an_offset(tmp_path):
    x = np.abs(ecg(2))
    wave = {"signalsigned": "False", "signaloffset": "7", "bitspersample": "16"}
    path = made.save(tmp_path / "p.xml", x, 500, ("I", "II"), packing="", wave=wave)
    np.testing.assert_array_equal(formats.read(path).signal, expected(np.round(x / made.STEP - 7) * made.STEP))


@pytest.mark.parametrize("encoding", ["Base64", "Plain", "Hex"])
@pytest.mark.parametrize("inner", [True, False])
def test_representative_beats(tmp_path, encoding, inner):
    digital = np.round(ecg(2, 100) / made.STEP).astype(int)
    beats = made.repbeats(digital, ("I", "II"), 1000, encoding, inner)
    path = made.save(tmp_path / "p.xml", ecg(2), 500, ("I", "II"), beats=beats)
    assert formats.read(path).extra["median"] == "100 samples at 1000 Hz, 2 leads"
    beat = formats.read(path, median=True)
    np.testing.assert_array_equal(np.round(beat.signal / made.STEP), digital)
    assert (beat.rate, beat.leads, beat.labels["philips:SR"]) == (1000, ("I", "II"), 1)


def test_statements_measurements_and_person(tmp_path):
    record = formats.read(made.save(tmp_path / "p.xml", ecg(), 500, LEADS))
    assert record.report.splitlines() == [
        "ABNORMAL ECG",
        "SINUS RHYTHM (normal P axis)",
        "PROBABLE LVH",
        "Compared with (date)",
    ]
    assert record.labels == {"philips:SR": 1, "philips:LVH": 1} and record.complete == frozenset()
    values = {"heart rate": 61, "PR": 150, "QRS": 90, "QTc": 412, "QRS axis": -21, "height": 177.8, "weight": 80.5}
    assert record.values == values
    assert (record.sex, record.age) == ("F", 61) and "age from the date of birth" in record.extra["derived"]


AGES = {"<years>50</years>": 50, "<months>6</months>": 0.5, "": None, "<years>150</years>": None}


@pytest.mark.parametrize("said", AGES)
def test_ages(tmp_path, said):
    path = made.save(tmp_path / "p.xml", ecg(2), 500, ("I", "II"), patient=f'<age defaultage="50">{said}</age>')
    assert formats.read(path).age == AGES[said]


def test_the_final_one_of_several_interpretations(tmp_path):
    first = made.interpretation((("OLD", "old", ""),), rate="50")
    later = made.interpretation((("NEW", "new", ""),), rate="60", date="2012-01-01")
    sure = made.interpretation((("SURE", "sure", ""),), rate="70", after="<confirmingclinician>X</confirmingclinician>")
    first, later = (text.replace("Confirmed by", "Read by") for text in (first, later))
    for several, code, rate in ((first + later, "NEW", 60), (sure + later, "SURE", 70), (first, "OLD", 50)):
        record = formats.read(made.save(tmp_path / "p.xml", ecg(2), 500, ("I", "II"), interpretations=several))
        assert (record.labels, record.values["heart rate"]) == ({f"philips:{code}": 1}, rate)


def test_nobody_is_named(tmp_path):
    lines = (*made.STATEMENTS, ("", f"Confirmed by {made.NAMES[3]} 01-Dec-2011", ""), ("", f"for {made.NAMES[0]}", ""))
    lines = (*lines, ("", f"as {made.NAMES[3].split()[-1]} says", ""))  # a part of a name
    path = made.save(tmp_path / "p.xml", ecg(2), 500, ("I", "II"), interpretations=made.interpretation(lines))
    hidden = (*made.NAMES, made.NUMBER, made.BORN, made.DAY, made.SERIAL, "DEC-2011", "Dec-2011")
    assert "as (name) says" in formats.read(path).report
    for options in ({}, {"patient_key": SECRET}):
        record = formats.read(path, **options)
        said = repr((record.but(signal=np.zeros((2, 1))), record.extra, record.report))
        assert not [word for word in hidden if word.casefold() in said.casefold()]
        assert (record.patient is None) == (not options)
    again = formats.read(path, patient_key=SECRET).patient
    assert record.patient == again and again.startswith("key:")


WAVE = r"<parsedwaveforms [^>]*>[^<]*</parsedwaveforms>"
BAD = {
    "there is no waveform in it": (WAVE, ""),
    "lies in another file": (WAVE, '<unparsedwaveforms href="x"/>'),
    "its leads are stored apart": (WAVE, "<leadwaveforms/>"),
    "compressed by 'Huffman'": ('compression="XLI"', 'compression="Huffman"'),
    "encoded as 'Morse'": ('dataencoding="Base64"', 'dataencoding="Morse"'),
    "is not Base64": ("(<parsedwaveforms [^>]*>)", r"\1!"),
    "version '2.0'": (">1.04<", ">2.0<"),
    "version ''": ("<documentversion>[^<]*</documentversion>", ""),
    "document type ''": ("<documenttype>[^<]*</documenttype>", ""),
    "lead I is cut short, 300 of 600 samples": ('durationperchannel="600"', 'durationperchannel="1200"'),
    "2 of its 3 leads are in it": ('numberofleads="2" samples', 'numberofleads="3" samples'),
    "its resolution is -1": ('resolution="1"', 'resolution="-1"'),
    "does not say its unit": ('resolution="1"', ""),
    "begin with II, III": ('leadlabels="I II"', 'leadlabels="II III"'),
}


@pytest.mark.parametrize("why", BAD)
def test_bad_files(tmp_path, why):
    path = made.save(tmp_path / "p.xml", ecg(2), 500, ("I", "II"))
    text = path.read_text()
    text = text.replace('leadlabels="I II"', 'leadlabels="I II III"') if "3 leads" in why else text
    changed = re.sub(*BAD[why], text, count=1)
    assert changed != text
    path.write_text(changed)
    with pytest.raises(InputError, match=re.escape(why)):
        formats.read(path)


def test_damaged_compression(tmp_path):
    body = {
        "is damaged": made.bits([65, 700, 1023]),
        "no samples": made.bits([65, 66, 1023]),
        "out of 16 bits": made.bits([127, 128, 128, 128, 255, 0, 0, 0, 1023]),
        "cut short": b"",
    }
    for why, data in body.items():
        packed = len(data).to_bytes(4, "little") + bytes(4) + data
        path = made.save(tmp_path / "p.xml", ecg(1), 500, ("I",), encoding="Hex", data=packed.hex())
        with pytest.raises(InputError, match=why):
            formats.read(path)
    whole = made.xli(np.zeros((2, 300), int))
    both = made.xli([np.zeros(300, int)] * 2) + made.xli([np.zeros(299, int)])
    path = made.save(tmp_path / "p.xml", ecg(3), 500, LEADS[:3], encoding="Hex", data=both.hex())
    with pytest.raises(InputError, match="lead III is cut short, 299 of 300 samples"):
        formats.read(path)
    path = made.save(tmp_path / "p.xml", ecg(2), 500, ("I", "II"), encoding="Hex", data=whole[:-9].hex())
    with pytest.raises(InputError, match="channel 2: its waveform is cut short"):
        formats.read(path)


def test_a_bomb_is_refused(tmp_path):
    """A code stands for up to 768 bytes: what unpacks to more than is plausible is not unpacked."""
    body = made.bits([0, *range(256, 1022), *([1021] * 3000), 1023])
    packed = (len(body).to_bytes(4, "little") + bytes(4) + body).hex()
    path = made.save(tmp_path / "p.xml", ecg(1), 500, ("I",), encoding="Hex", data=packed)
    with pytest.raises(InputError, match="at most 1048576 a lead are read"):
        formats.read(path)


def test_options(tmp_path):
    path = made.save(tmp_path / "p.xml", ecg(2), 500, ("I", "II"))
    assert formats.read(path, index=0).leads == ("I", "II")
    with pytest.raises(InputError, match="holds one record"):
        formats.read(path, index=1)
    with pytest.raises(InputError, match="no median beat"):
        formats.read(path, median=True)
    compressed = made.repbeats(np.zeros((1, 9), int), ("I",), 500, compression="Huffman")
    path = made.save(tmp_path / "p.xml", ecg(2), 500, ("I", "II"), beats=compressed)
    assert "median" not in formats.read(path).extra
    with pytest.raises(InputError, match="compressed by 'Huffman'"):
        formats.read(path, median=True)


def test_every_variant_is_claimed_and_read(tmp_path):
    for path in made.variants(tmp_path):
        assert philips.claims(path, path.read_bytes()[: formats.HEAD]) == 2
        assert formats.detect(path) is philips and formats.read(path).extra["format"] == "philips"
    assert philips.claims(path, b"<?xml version='1.0'?><AnnotatedECG>") == 0
