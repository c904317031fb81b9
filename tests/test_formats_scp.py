"""SCP-ECG: an encoder of our own, bytes of the standard, a real file beside its DICOM twin, and what cannot be read."""

import struct
import time
from dataclasses import astuple

import numpy as np
import pytest

import made_scp as made
from ecgraft import formats
from ecgraft.formats import scp
from ecgraft.formats._scp import bimodal, findings, huffman, leads
from ecgraft.formats._scp import signal as samples
from ecgraft.record import LEADS, QRS, InputError, P

BEAT = np.rint(1000 * np.hanning(50) * [[1], [2]]).astype(int)  # (2, 50)
SUBTRACTED = dict(beat=BEAT, beats=made.BEATS, areas=made.AREAS, fiducial=21)
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def read(path, **given):
    return formats.read(path, format="scp", **given)


def saved(folder, **more):
    return made.save(folder / "x.scp", made.waveform(2), 500, ("I", "II"), **more)


def test_the_example_of_the_standard():
    """EN 1064, annex C: 28 samples and their code (one byte corrected as in PixelMed, one that ends it added)."""
    data = bytes.fromhex("FF837FE0E6F1536559B65B964B9600")
    values, ends = huffman.decode(data, [huffman.standard()])
    x = huffman.undo_differences(values[:28], 2).tolist()
    assert x[:15] == [13, 14, 15, 14, 16, 18, 19, 20, 22, 22, 23, 23, 23, 22, 22]
    assert x[15:] == [20, 17, 15, 12, 8, 6, 3, 1, 0, -2, -2, -3, -3]
    assert ends[27] == 113 and values[28:].tolist() == [0] * 7  # the rest of the last byte


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("every", [0, 1, 7])
def test_huffman_and_differences_bit_for_bit(order, every):
    """Random numbers of 16 bits through tables that switch to each other, a prefix of 18 bits and no code for some."""
    rng = np.random.default_rng(order * 10 + every)
    x = np.where(rng.random(500) < 0.1, rng.integers(-(2**15), 2**15, 500), rng.integers(-9, 9, 500))
    tables = [made.OWN, made.OTHER] if every else [made.STANDARD]
    data = made.packed(made.differences(x, order), tables, every)
    values, ends = huffman.decode(data, huffman.tables(made.table_bytes(tables)))
    assert (huffman.undo_differences(values[:500], order) == x).all()
    assert (np.diff(ends) > 0).all() and 0 <= 8 * len(data) - ends[499] < 16


@pytest.mark.parametrize(
    "more",
    [{}, dict(order=0), dict(order=1), dict(tables=(), order=0), dict(tables=()), dict(tables=(made.OWN, made.OTHER))]
    + [dict(tables=(made.OWN, made.OTHER), every=5), dict(version=13), dict(version=30), dict(beat=BEAT)]
    + [dict(subtract=True, **SUBTRACTED), dict(subtract=True, beat_unit=3000, **SUBTRACTED), SUBTRACTED],
)
def test_samples_bit_for_bit(tmp_path, more):
    record = read(saved(tmp_path, **more))
    assert (record.signal == np.float32(made.waveform(2))).all()
    assert (record.leads, record.rate, record.id) == (("I", "II"), 500.0, "x")
    assert record.extra["unit"] == "nV" and record.extra["resolution"].startswith("0.001")


def test_every_lead_of_the_table(tmp_path):
    codes = [code for code in leads.NAMES if code != 65]
    path = made.save(tmp_path / "x.scp", made.waveform(len(codes), 20), 500, codes, tables=())
    record = read(path)
    assert set(LEADS) < set(record.leads) and len(set(record.leads)) == len(codes) == 95
    assert {8: "V6", 20: "CM5", 63: "aVL", 72: "J", 97: "MCL6"}.items() <= dict(zip(codes, record.leads)).items()


def test_the_eight_leads_become_twelve_without_rounding(tmp_path):
    x = made.waveform(8, 100)
    record = read(made.save(tmp_path / "x.scp", x, 500, EIGHT))
    assert record.leads == LEADS and "III, aVR, aVL, aVF from I and II" in record.extra["derived"]
    one, two = np.rint(x[:2] * 1000)
    assert (record.lead("aVR") == np.float32(-(one + two) / 2000)).all()
    assert (record.lead("aVL") == np.float32((2 * one - two) / 2000)).all()
    assert (record.lead("III") == np.float32((two - one) / 1000)).all()
    assert (record.lead("V6") == np.float32(x[7])).all()


def test_leads_at_different_times(tmp_path):
    x = made.waveform(3)
    record = read(made.save(tmp_path / "x.scp", x, 500, ("I", "V1", "V2"), spans=[(11, 120), (121, 230), (11, 230)]))
    assert record.signal.shape == (3, 220) and (np.isnan(record.signal).sum(axis=1) == [110, 110, 0]).all()
    assert (record.signal[0, :110] == np.float32(x[0, 10:120])).all()
    assert (record.signal[1, 110:] == np.float32(x[1, 120:230])).all()


def test_leads_that_are_negative_or_calibration_or_silent_or_nameless(tmp_path):
    x = made.waveform(4, 60)
    path = made.save(tmp_path / "x.scp", x, 300, ("-aVR", "I calibration", "V1", 200))
    record = read(path)
    assert record.leads == ("aVR", "V1", "SCP lead 200") and (record.signal[0] == -np.float32(x[0])).all()
    assert record.extra["skipped"] == "SCP lead 31 (calibration)" and "aVR from -aVR" in record.extra["derived"]
    assert record.rate == 300 and record.extra["assumed"].startswith("300 Hz, as the interval of 3333 us")
    bodies = made.bodies(x, 500, ("I", "II", "V1", "V2"))
    bodies[6] = made.wave_body([*np.rint(x[:3] * 1000), []], 1000, 2000, 2, 0, [made.STANDARD], 0)
    path.write_bytes(made.record(bodies))
    assert read(path).leads == ("I", "II", "V1") and read(path).extra["skipped"] == "V2 (nothing stored)"
    made.save(path, x[:2], 500, (0, 0))
    with pytest.raises(InputError, match=r"names of its 2 leads.*--leads"):
        read(path)
    assert read(path, leads="V2,V5").leads == ("V2", "V5")
    assert read(made.save(path, x[:1], 500, (0,))).leads == ("ECG",)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("one_for_rest", [False, True])
def test_bimodal_compression_against_a_loop(tmp_path, factor, subtract, one_for_rest):
    more = dict(factor=factor, subtract=subtract, one_for_rest=one_for_rest, **SUBTRACTED)
    record = read(saved(tmp_path, tables=(), **more))
    lines = np.rint(made.waveform(2) * 1000).astype(int)
    added = made.placed(BEAT, made.BEATS, 21, 240) if subtract else np.zeros((2, 240), int)
    still = {s - 1 for a, b in made.AREAS for s in range(a, b + 1)} | {0, 239}
    still |= {19, 20, 59, 60, 179, 180, 219, 220} if subtract else set()
    for row, line, beat in zip(record.signal, lines, added):
        numbers = made.decimated(line - beat, made.AREAS, factor, one_for_rest)
        x = made.joined(numbers, made.AREAS, factor, 240, one_for_rest)
        smooth = [v if i in still else round((x[i - 1] + v + x[i + 1]) / 3) for i, v in enumerate(x)]
        assert (row == np.float32((np.array(smooth) + beat) / 1000)).all()
    assert record.rate == 500 and "not lossless" in record.extra["compression"]


def test_bimodal_compression_of_slow_waves_is_near_and_exact_in_protected_areas(tmp_path):
    x = np.rint(1000 * np.sin(np.arange(240) / 20)) / 1000 * np.ones((2, 1))
    record = read(made.save(tmp_path / "x.scp", x, 500, ("I", "II"), factor=4, **SUBTRACTED))
    inside = np.concatenate([np.arange(a - 1, b) for a, b in made.AREAS])
    assert (record.signal[:, inside] == np.float32(x[:, inside])).all()
    error = np.abs(record.signal - x)  # the wave rises by 0.05 mV a sample
    assert np.median(error) < 0.026 and error.max() < 0.08


def test_areas_that_overlap_or_lie_outside():
    areas = np.array([(0, 5), (3, 4), (4, 6), (9, 8), (10, 30)], samples.AREA)
    mask = samples._areas(areas, leads.Lead("I", 1, 3, 12))
    assert (np.flatnonzero(mask) + 3).tolist() == [3, 4, 5, 6, 10, 11, 12]
    whole = bimodal.plan(np.ones(5, bool), 4, False)
    assert whole.count == 5 and whole.left.tolist() == [0, 1, 2, 3, 4]


def test_the_median_beat(tmp_path):
    path = saved(tmp_path, beat_unit=3000, subtract=True, **SUBTRACTED)
    rhythm, median = read(path), read(path, median=True)
    assert rhythm.extra["median"] == "50 samples at 500 Hz, 2 leads" and "median" not in median.extra
    assert (median.signal == np.float32(BEAT * 0.003)).all() and median.rate == 500 and median.leads == ("I", "II")
    assert rhythm.beats["sample"].tolist() == [40, 120, 200] and set(rhythm.beats["symbol"]) == {b"?"}
    assert median.beats is None and median.waves is None
    with pytest.raises(InputError, match="no median beat in it"):
        read(saved(tmp_path), median=True)


def test_a_reference_beat_at_another_rate_places_no_beats(tmp_path):
    bodies = made.bodies(made.waveform(2), 500, ("I", "II"), **SUBTRACTED)
    bodies[5] = made.wave_body(BEAT, 1000, 4000, 2, 0, [made.STANDARD], 0)
    bodies[4] = struct.pack("<H", 200) + bodies[4][2:]
    (tmp_path / "x.scp").write_bytes(made.record(bodies))
    record = read(tmp_path / "x.scp")
    assert record.beats is None and "at another rate" in record.extra["skipped"]
    assert record.extra["median"] == "50 samples at 250 Hz, 2 leads" and record.rate == 500


def test_the_patient_and_the_device(tmp_path):
    record = read(saved(tmp_path))
    assert (record.age, record.sex, record.patient) == (69.0, "F", None)
    assert record.values == {"height": 177.8, "weight": 61.5} and record.extra["device"] == "Schiller CS-99"
    assert record.extra["filters"] == "high-pass 0.05 Hz, low-pass 150 Hz, notch 50 Hz"
    assert record.extra["derived"] == "age from the date of birth"


@pytest.mark.parametrize(
    ("number", "unit", "age"), [(61, 1, 61), (18, 2, 1.5), (52, 3, 0.9966), (0, 1, 69), (200, 1, 69)]
)
def test_ages(tmp_path, number, unit, age):
    assert read(saved(tmp_path, tags={4: struct.pack("<HB", number, unit)})).age == age


@pytest.mark.parametrize(("code", "codec"), [(0, "latin-1"), (3, "iso8859_2"), (0x13, "iso8859_5"), (7, "utf-16-le")])
def test_text_encodings(tmp_path, code, codec):
    maker = {"iso8859_5": "Медико", "iso8859_2": "Łódź"}.get(codec, "Müller")
    value = made.device(code, maker.encode(codec)) if codec != "utf-16-le" else made.device(code)
    line = f"{maker} Sinus".encode(codec) + bytes(2)
    record = read(saved(tmp_path, tags={14: value}, section_8=made.stated([line])))
    assert record.report == f"{maker} Sinus"
    assert codec == "utf-16-le" or record.extra["device"] == f"{maker} CS-99"


def test_measurements(tmp_path):
    record = read(saved(tmp_path, section_7=made.measured(spikes=3)))
    expected = {"RR": 800, "P duration": 80, "PR": 120, "QRS": 90, "QT": 380, "P axis": 44, "QRS axis": -61}
    expected |= {"heart rate": 75, "QTc": 430, "height": 177.8, "weight": 61.5}  # the T axis is 999: not known
    assert record.values == expected and record.waves is None and record.extra["pacemaker"] == "3 spikes"
    unknown = made.measured(((29999, 29998, 19999, 310, 600, 999, 999, 999),), rr=29999, rate=29999, qtc=0)
    assert read(saved(tmp_path, section_7=unknown)).values == {"height": 177.8, "weight": 61.5}
    short = read(saved(tmp_path, section_7=made.measured()[:12]))
    assert short.extra["skipped"] == "measurements (section 7), which is cut short"


def test_waves_of_each_beat(tmp_path):
    """Section 7 with one row more than section 4 has beats: times in the rhythm, in ms at 500 Hz."""
    rows = [(29999,) * 5 + (999,) * 3] + [(s, s + 40, s + 50, s + 80, s + 150, 1, 2, 3) for s in (22, 182, 342)]
    rows[2] = (29999, *rows[2][1:])
    waves = read(saved(tmp_path, beats=made.BEATS, areas=made.AREAS, section_7=made.measured(rows))).waves
    p, qrs = (waves[waves["kind"] == kind] for kind in (P, QRS))
    assert p["onset"].tolist() == [11, 171] and p["offset"].tolist() == [31, 191] and set(waves["lead"]) == {-1}
    assert qrs["onset"].tolist() == [36, 116, 196] and qrs["offset"].tolist() == [51, 131, 211]
    assert read(saved(tmp_path, section_7=made.measured(rows))).waves is None  # kinds of beats: times in those


def test_statements(tmp_path):
    text = [b"Sinus rhythm\0", b"Old  infarct\0"]
    coded = [b"\1" + code + b"\0" for code in b"NORM LVH_PR STD\0AC NO_AFIB XYZ lae".split(b" ")]
    coded += [b"\2as text\0", b"\3A&B"]
    both = read(saved(tmp_path, section_8=made.stated(text), section_11=made.stated(coded)))
    assert both.report == "Sinus rhythm\nOld infarct" and both.complete == frozenset()
    assert both.labels == {"scp:NORM": 1, "scp:LVH": 1, "scp:STD_": 1, "scp:LAO/LAE": 1}
    alone = read(saved(tmp_path, section_11=made.stated(coded)))
    assert alone.report == "NORM\nLVH_PR\nSTD AC\nNO_AFIB\nXYZ\nlae\nas text" and alone.labels == both.labels


def test_confirmed_statements_come_first(tmp_path):
    text, coded = [b"Normal\0"], [b"\1AFIB\0"]
    confirmed = read(saved(tmp_path, section_8=made.stated(text, 1), section_11=made.stated(coded, 0)))
    assert confirmed.report == "Normal" and confirmed.labels == {}
    assert "less confirmed" in confirmed.extra["skipped"]
    other = read(saved(tmp_path, section_8=made.stated(text, 2), section_11=made.stated(coded, 1)))
    assert other.report == "AFIB" and other.labels == {"scp:AFIB": 1}


def test_codes_are_those_of_ptb_xl(shared_data):
    rows = (shared_data / "ptb-xl" / "scp_statements.csv").read_text().splitlines()[1:]
    assert set(findings.CODES.split()) == {row.partition(",")[0] for row in rows}


def test_the_real_file(shared_data):
    record = read(shared_data / "formats" / "scp" / "Example.scp")
    assert set(record.leads) == set(LEADS) and record.signal.shape == (12, 5000) and record.rate == 500
    assert record.lead("V2")[:8].tolist() == [np.float32(v * 0.0025) for v in (55, 53, 51, 49, 47, 43, 42, 42)]
    assert (record.age, record.sex, record.extra["device"]) == (49.0, "M", "ECGConversion ELI250")
    names = ("P duration", "PR", "QRS", "QT", "QTc", "P axis", "QRS axis", "T axis")
    assert record.values == dict(zip(names, (102, 148, 120, 420, 443, 44, -61, 86)))
    assert record.extra["median"] == "599 samples at 500 Hz, 12 leads"
    assert scp.claims(None, (shared_data / "formats" / "scp" / "Example.scp").read_bytes()[:4096]) == 2


def test_the_real_file_equals_its_dicom_twin(shared_data):
    """Sample by sample; its median beat is one sample shorter (1198 ms)."""
    import pydicom

    twin = pydicom.dcmread(shared_data / "formats" / "dicom" / "Example.dcm")
    for waveform, median in zip(twin.WaveformSequence, (False, True)):
        digital = np.frombuffer(waveform.WaveformData, "<i2").reshape(-1, 12).T  # in the usual order
        record = read(shared_data / "formats" / "scp" / "Example.scp", median=median)
        length = record.signal.shape[1]
        assert length == (599 if median else 5000)
        for name, row in zip(LEADS, digital):
            assert (record.lead(name) == np.float32(row[:length] * 0.0025)).all()


def test_checksums(tmp_path):
    path = saved(tmp_path, section_7=made.measured())
    whole = bytearray(path.read_bytes())
    third = struct.unpack_from("<I", whole, 22 + 30 + 6)[0] - 1  # the pointer to section 3
    seventh = struct.unpack_from("<I", whole, 22 + 70 + 6)[0] - 1

    def changed(*places, sound=False):
        data = bytearray(whole)
        for place in places:
            data[place] ^= 1
        if sound:
            data[:2] = struct.pack("<H", made.crc(bytes(data[2:])))
        path.write_bytes(data)
        return path

    assert "assumed" not in read(changed()).extra
    assert "only those of its sections count" in read(changed(0)).extra["assumed"]
    assert "only its own is wrong" in read(changed(third, sound=True)).extra["assumed"]
    with pytest.raises(InputError, match=r"section 3 \(leads\) is damaged: its checksum is wrong"):
        read(changed(third + 20))
    record = read(changed(seventh + 30))
    assert "QRS" not in record.values and "section 7), which is damaged" in record.extra["skipped"]
    whole[0:2] = whole[third : third + 2] = bytes(2)  # none made
    assert "assumed" not in read(changed()).extra


SIX = struct.pack("<HHBBHH", 1000, 2000, 2, 0, 2, 2) + bytes(4)


@pytest.mark.parametrize(
    ("number", "body", "message"),
    [
        (6, None, r"section 6 \(rhythm\) is missing or empty; export the ECG with its waveform"),
        (3, None, r"section 3 \(leads\) is missing or empty"),
        (6, SIX, "section 6: lead I is cut short, 16 of 240 samples; export the file again"),
        (6, SIX[:10], "section 6 is cut short, its leads take 4 bytes"),
        (6, SIX[:8], "section 6 is cut short; export"),
        (6, bytes(2) + SIX[2:], "unit 0 nV"),
        (6, SIX[:4] + b"\7" + SIX[5:], "differences of order 7"),
        (6, struct.pack("<HHBBHH", 1000, 2000, 2, 0, 0, 0), "section 6 stores nothing of any lead"),
        (3, b"\0\0", "names 0 leads"),
        (3, b"\2\4" + bytes(9), "names 2 leads and describes 1"),
        (3, made.leads_body(("I",), [(9, 8)], 4), "lead 1 goes from sample 9 to 8"),
        (3, made.leads_body(("I calibration",), [(1, 8)], 4), "calibration pulses alone"),
        (3, made.leads_body(("I", "II"), [(1, 2**32 - 1)] * 2, 4), "values in"),
        (2, bytes(2), "section 2 has 0 Huffman tables"),
        (2, struct.pack("<HH", 1, 3) + bytes(9), "table 1 in section 2 is cut short"),
        (2, struct.pack("<HHBBBhI", 1, 1, 0, 5, 1, 0, 0), "a code of 0 and 5 bits"),
        (2, struct.pack("<HHBBBhI", 1, 1, 1, 1, 0, 2, 0), "switches to table 2 of 1"),
        (2, struct.pack("<HHBBBhIBBBhI", 1, 2, 1, 1, 1, 0, 0, 2, 2, 1, 5, 2), "a code begins like another"),
    ],
)
def test_what_cannot_be_read(tmp_path, number, body, message):
    with pytest.raises(InputError, match=message):
        read(made.broken(tmp_path, number, body))


@pytest.mark.parametrize(
    ("number", "body", "message"),
    [
        (5, None, r"section 5 \(reference beat\) is missing"),
        (5, struct.pack("<HHBBHH", 1000, 2000, 2, 0, 0, 0), "section 5 has no reference beat of each lead"),
        (5, struct.pack("<HHBBHH", 1000, 300, 2, 0, 2, 2) + bytes(4), "do not fit|is cut short"),
        (4, None, "section 4 does not say how long"),
        (4, struct.pack("<HHH", 100, 21, 9), "section 4 is cut short: 9 beats do not fit"),
        (6, struct.pack("<HHBBHH", 1000, 8000, 2, 1, 2, 2) + bytes(4), "store too few samples"),
    ],
)
def test_what_cannot_be_put_together(tmp_path, number, body, message):
    with pytest.raises(InputError, match=message):
        read(made.broken(tmp_path, number, body, subtract=True, factor=4, **SUBTRACTED))


def test_other_files_and_options(tmp_path):
    path = saved(tmp_path)
    whole = path.read_bytes()
    assert read(path, index=0).leads == ("I", "II")
    with pytest.raises(InputError, match="it holds one record"):
        read(path, index=1)
    for content, message in (
        (whole[:-9], "cut short, 1091 of 1100"),
        (b"SCPECG" * 9, "no SCP-ECG"),
        (b"", "no SCP-ECG"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read(path)
    assert scp.claims(path, whole[:4096]) == 2 and scp.claims(path, whole[:20]) == 0
    older = whole[:16] + bytes(6) + whole[22:]
    assert scp.claims(path, older) == 1
    path.write_bytes(made.record({12: bytes(99), 3: made.leads_body(("I",), [(1, 9)], 4)}, 30))
    with pytest.raises(InputError, match=r"section 12 \(SCP-ECG 3, long-term\) is not read"):
        read(path)


def test_lengths_of_four_bytes_in_version_3(tmp_path):
    bodies = made.bodies(made.waveform(2), 500, ("I", "II"), tables=())
    bodies[6] = bodies[6][:6] + struct.pack("<2I", *struct.unpack_from("<2H", bodies[6], 6)) + bodies[6][10:]
    (tmp_path / "x.scp").write_bytes(made.record(bodies, 30))
    assert (read(tmp_path / "x.scp").signal == np.float32(made.waveform(2))).all()


def test_nobody_is_named(tmp_path):
    lines = [b"Sinus rhythm\0", b"Read by Dr. FRANKENSTEIN\0", b"Confirmed by Dr. House\0", b"unlike 3-MAY-2020\0"]
    path = saved(tmp_path, section_8=made.stated(lines))
    record = read(path)
    everything = " ".join(map(repr, astuple(record)))
    for secret in (made.NAME, made.NUMBER, made.DOCTOR, "Ermintrude", "SN123456", "1950", "2020", "history"):
        assert secret.lower() not in everything.lower()
    assert record.report == "Sinus rhythm\nunlike (date)" and "statements that name a person" in record.extra["skipped"]
    keyed = read(path, patient_key="a secret of some length").patient
    assert keyed.startswith("key:") and made.NUMBER not in keyed
    assert read(path, patient_key="another secret, as long").patient != keyed


def test_variants_and_what_damage_makes_of_them(tmp_path):
    """Changed bytes under right checksums: a record or an InputError, fast."""
    rng, started = np.random.default_rng(5), time.perf_counter()
    for path in made.variants(tmp_path):
        assert read(path).signal.shape[1] in (120, 240)
        whole = path.read_bytes()
        for _ in range(25):
            data = bytearray(whole)
            for place in rng.integers(22, len(data), 3):
                data[place] = rng.integers(256)
            data[:2] = struct.pack("<H", made.crc(bytes(data[2:])))  # sections are trusted as the file is
            path.write_bytes(data)
            try:
                read(path)
            except InputError as error:
                assert len(str(error)) < 700
    assert time.perf_counter() - started < 20
