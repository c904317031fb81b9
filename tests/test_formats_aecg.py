"""HL7 aECG: samples bit for bit, layouts of sequence sets, annotations, and what a file may not do."""

from __future__ import annotations

import re

import numpy as np
import pytest

import made_aecg as made
from ecgraft import formats
from ecgraft.formats import Given, aecg
from ecgraft.formats._aecg.words import whole
from ecgraft.record import LEADS, InputError

KEY = "a secret of sixteen bytes"


def read(path, **given):
    return formats.read(path, format="aecg", **given)


def file(folder, body, **more):
    path = folder / "a.xml"
    path.write_bytes(made.document(body, **more))
    return path


def one(*numbers, clock=None, **more):
    """A series of one lead."""
    return made.series(made.sequences(clock or made.clock(500), made.lead("I", numbers, **more)))


@pytest.mark.parametrize("rate", [100, 250, 360, 500, 512, 1000])
def test_what_is_written_is_read_bit_for_bit(tmp_path, rate):
    signal = np.random.default_rng(0).normal(size=(12, 400))
    record = read(made.save(tmp_path / "a.xml", signal, rate, LEADS))
    np.testing.assert_array_equal(record.signal, (np.rint(signal / made.STEP) * made.STEP).astype(np.float32))
    assert (record.leads, record.rate, record.id) == (LEADS, rate, "a")
    assert record.extra["unit"] == "uV" and record.extra["resolution"] == "0.0005"


def test_the_example_of_the_standard_is_its_dicom_sample_by_sample(shared_data):
    pydicom = pytest.importorskip("pydicom")
    record = read(shared_data / "formats" / "aecg" / "Example_aECG.xml")
    dicom = pydicom.dcmread(shared_data / "formats" / "dicom" / "Example.dcm")
    names = [c.ChannelSourceSequence[0].CodeMeaning for c in dicom.WaveformSequence[0].ChannelDefinitionSequence]
    microvolt = dicom.waveform_array(0)
    assert record.signal.shape == (12, 5000) and len(names) == 12
    for i, name in enumerate(names):
        np.testing.assert_array_equal(
            record.lead(name.removeprefix("Lead ")), (microvolt[:, i] / 1e3).astype(np.float32)
        )


def test_the_example_of_the_standard(shared_data):
    path = shared_data / "formats" / "aecg" / "Example_aECG.xml"
    record = read(path)
    assert formats.detect(path).__name__ == "ecgraft.formats.aecg"
    assert record.signal[0, :3].tolist() == [np.float32(-0.005)] * 3 and record.rate == 500
    assert (record.age, record.sex, record.labels) == (46, "M", {"mdc:MDC_ECG_RHY_SINUS_RHY": 1})
    axes = {"P axis": 44, "QRS axis": -61, "T axis": 86}
    assert record.values == {"P duration": 102, "PR": 148, "QRS": 120, "QT": 420, "QTc": 443} | axes
    assert record.extra["median"] == "599 samples at 500 Hz, 12 leads"
    assert record.extra["filters"] == "low-pass 150 Hz, notch 60 Hz"
    assert len(record.beats) == 12 and set(record.beats["symbol"]) == {b"N"}
    assert record.beats["sample"][0] == (135 + 195) // 2  # QRS from 270 to 390 ms, no R peak
    assert record.rhythms.tolist() == [(0, 5000, "N")]
    assert record.waves[:2].tolist() == [(1, -1, 61, -1, 112), (2, -1, 135, -1, 195)]  # of 122 to 224 ms
    assert (2, 0, -1, 166, -1) in record.waves.tolist()  # a doctor's R peak in lead I at 332 ms
    beat = read(path, median=True)
    assert beat.signal.shape == (12, 599) and beat.waves.tolist()[1] == (2, -1, 217, -1, 277)
    assert beat.beats is None and beat.values == record.values and "median" not in beat.extra


def test_every_shared_file_is_read_and_the_empty_one_says_why_not(shared_data):
    folder = shared_data / "formats" / "aecg"
    for path in sorted(folder.glob("minimum*.xml")):
        record = read(path)
        expected = np.array([-2, -2, -2, -2, -3, -4, -3, -5, -5, -4, -6, -9, -9]) * 0.0025
        np.testing.assert_array_equal(record.signal, expected.astype(np.float32)[None])
        assert (record.leads, record.rate, record.age) == (("II",), 500, None)
    first, second = (read(folder / name) for name in ("subject1_0.xml", "subject2_1.xml"))
    np.testing.assert_array_equal(first.signal, second.signal)
    with pytest.raises(InputError, match=r"empty\.xml: there is no waveform in it; export the ECG again"):
        read(folder / "empty.xml")


@pytest.mark.parametrize("unit, scale, origin", [("mV", "0.001", "1"), ("uV", "1", "1000"), ("nV", "1000", "1e6")])
def test_units_scale_and_origin(tmp_path, unit, scale, origin):
    record = read(file(tmp_path, one(0, 5, -7, unit=unit, scale=scale, origin=origin)))
    np.testing.assert_allclose(record.signal[0], [1.0, 1.005, 0.993], atol=1e-7)
    assert record.extra["resolution"] == "0.001"


@pytest.mark.parametrize("unit, rate", [("s", 500), ("ms", 500), ("us", 1000), ("ms", 240), ("s", 360)])
@pytest.mark.parametrize("absolute", [True, False])
def test_clocks(tmp_path, unit, rate, absolute):
    start = made.START if absolute else "0"
    assert read(file(tmp_path, one(1, 2, clock=made.clock(rate, start, absolute, unit)))).rate == rate


def test_a_rate_of_few_digits_and_a_clock_without_unit_or_as_a_list(tmp_path):
    body = one(1, 2, clock=made.clock(360, increment="0.0027778"))
    assert read(file(tmp_path, body)).rate == 360
    record = read(file(tmp_path, body.replace('<increment value="0.0027778" unit="s"/>', '<increment value="4"/>')))
    assert (record.rate, record.extra["assumed"]) == (250, "its clock is in ms")
    listed = next(path for path in made.variants(tmp_path) if path.stem == "times")
    assert read(listed).rate == 500


def test_a_clock_that_is_missing_is_asked_for(tmp_path):
    path = file(tmp_path, made.series(made.sequences(made.lead("I", [1, 2]))))
    assert read(path, rate=250).rate == 250
    with pytest.raises(InputError, match="does not say its sampling rate; give it with rate"):
        read(path)


def test_leads_that_are_not_simultaneous_share_one_axis(tmp_path):
    """3x4: four sets of 2.5 s, and a strip of lead II over 10 s."""
    rows, rate = np.arange(1, 13), 500
    sets = []
    for k in range(4):
        start = f"201108170915{11 + 5 * k // 2:02d}.{'500' if k % 2 else '000'}"
        leads = [made.lead(LEADS[3 * k + j], [rows[3 * k + j]] * 1250) for j in range(3)]
        sets.append(made.sequences(made.clock(rate, start), *leads))
    sets.append(made.sequences(made.clock(rate), made.lead("V7", [20] * 5000)))
    record = read(file(tmp_path, made.series(*sets)))
    assert record.signal.shape == (13, 5000) and record.leads == (*LEADS, "V7")
    for i, row in enumerate(record.signal[:12]):
        expected = np.full(5000, np.nan)
        expected[i // 3 * 1250 : (i // 3 + 1) * 1250] = rows[i] * made.STEP
        np.testing.assert_array_equal(row, expected.astype(np.float32))
    assert not np.isnan(record.signal[12]).any()


def test_parts_of_a_lead_are_one_and_a_lead_recorded_twice_is_two(tmp_path):
    late = "20110817091511.010"
    parts = [
        made.sequences(made.clock(500, start), made.lead("I", [k] * 4)) for k, start in enumerate((made.START, late))
    ]
    record = read(file(tmp_path, made.series(*parts)))
    np.testing.assert_array_equal(record.signal[0] / np.float32(0.0005), [0, 0, 0, 0, np.nan, 1, 1, 1, 1])
    twice = made.sequences(made.clock(500), made.lead("I", [1, 2]), made.lead("I", [3, 4, 5]))
    record = read(file(tmp_path, made.series(twice)))
    assert record.leads == ("I", "I-2") and record.signal.shape == (2, 3)
    assert record.extra["assumed"] == "I ends 1 samples before the others"


def test_several_series(tmp_path):
    small = one(1, 2, 3)
    large = made.series(made.sequences(made.clock(250), made.lead("II", [4, 5]), made.lead("MCL1", [6, 7])))
    path = file(tmp_path, small + large)
    assert aecg.count(path, Given()) == 2 and aecg.count(path, Given(median=True)) == 2
    assert read(path).leads == ("II", "MCL1") and read(path, index=0).leads == ("I",)
    assert read(path).extra["skipped"] == "another series of 3 samples at 500 Hz, 1 lead"
    with pytest.raises(InputError, match="no record 2 in it; it has 2, counted from 0"):
        read(path, index=2)


def test_leads_of_another_rate_and_other_signals_are_told(tmp_path):
    pulse = made.lead("I", [1, 2]).replace("MDC_ECG_LEAD_I", "MDC_PULS_OXIM_PLETH")
    slow = made.sequences(made.clock(100), made.lead("V1", [1, 2]))
    fast = made.sequences(made.clock(500), made.lead("I", [1, 2]), made.lead("II", [1, 2]), pulse)
    record = read(file(tmp_path, made.series(slow, fast)))
    assert record.leads == ("I", "II") and record.extra["skipped"] == "MDC_PULS_OXIM_PLETH; V1 (100 Hz)"


def test_names_of_leads(tmp_path):
    names = ["AVR", "V3R", "X", "AVRneg", "aVF", "V7"]
    record = read(file(tmp_path, made.series(made.sequences(made.clock(500), *(made.lead(n, [1]) for n in names)))))
    assert record.leads == ("aVR", "V3R", "X", "AVRneg", "aVF", "V7")


def test_annotations(tmp_path):
    path = next(path for path in made.variants(tmp_path) if path.stem == "annotated")
    record = read(path)
    assert record.waves.tolist() == [
        (1, -1, 10, -1, 20),  # by time stamps
        (2, 0, 29, -1, -1),  # of QRS to T in lead I
        (2, -1, 30, -1, 45),
        (2, 1, -1, 36, -1),  # R peak in lead II
        (3, -1, -1, -1, 80),
        (3, 0, -1, -1, 81),
    ]
    assert record.beats.tolist() == [(37, b"V")] and record.rhythms.tolist() == [(0, 100, "AFIB")]
    assert record.labels == {"mdc:MDC_ECG_RHY_ATR_FIB": 1, "snomed:164889003": 1}
    assert record.report == "Atrial fibrillation, seen by Dr. (name)\nunlike the ECG of (date)"
    assert record.values == {"QT": 300, "heart rate": 75, "height": 170}
    assert record.extra["derived"] == "QT from single beats; times of beats from the middle of their QRS"
    assert (record.age, record.sex) == (1.5, "F")  # 18 months


def test_values_of_persons_come_first_and_impossible_ones_are_left_out(tmp_path):
    times = [made.measured("MDC_ECG_TIME_PD_PR", 0.2, "s"), made.measured("MDC_ECG_TIME_PD_QTc", 0, "ms")]
    none, mindray = made.measured("MDC_ECG_TIME_PD_QRS", 29999, "ms"), made.measured("MINDRAY_ECG_T_AXIS", 9, "deg")
    times.append(made.measured("MDC_ECG_ANGLE_QRS_FRONT", 0, "deg"))
    device = made.notes(*times, none, mindray)
    person = made.notes(made.measured("MDC_ECG_TIME_PD_PR_GL", 180, "ms"), person="X")
    bazett = made.notes(made.measured("MDC_ECG_TIME_PD_QTcB", 410, "ms"), made.measured("MDC_ECG_TIME_PD_QT", 1, "km"))
    body = made.series(made.sequences(made.clock(500), made.lead("I", [1])), more=device + person + bazett)
    assert read(file(tmp_path, body)).values == {"PR": 180, "QTc": 410, "QRS axis": 0, "T axis": 9}


def test_a_negated_rhythm_is_a_no(tmp_path):
    denied = made.notes(made.note("MDC_ECG_RHY", made.coded("MDC_ECG_RHY_ATR_FIB", more='negationInd="true"')))
    body = made.series(made.sequences(made.clock(500), made.lead("I", [1])), more=denied)
    record = read(file(tmp_path, body))
    assert record.labels == {"mdc:MDC_ECG_RHY_ATR_FIB": 0} and record.rhythms is None


def test_rhythms_are_cut_to_the_signal(tmp_path):
    spans = [(-50, 20), (100, 500), (-90, -10), (300, 400)]  # ms, of a signal of 200 ms
    coded = made.coded("MDC_ECG_RHY_ATR_FLUT")
    found = made.notes(*(made.note("MDC_ECG_RHY", coded, made.boundary(*span)) for span in spans))
    body = made.series(made.sequences(made.clock(500), made.lead("I", range(100))), more=found)
    assert read(file(tmp_path, body)).rhythms.tolist() == [(0, 10, "AFL"), (50, 100, "AFL")]


def test_age_is_computed_where_it_is_not_said(tmp_path):
    record = read(file(tmp_path, one(1, 2)))
    assert record.age == 61 and "age from the date of birth" in record.extra["derived"]
    unborn = made.SUBJECT.replace("19500302", "20500302")
    assert read(file(tmp_path, one(1, 2), subject=unborn)).age is None


def test_numbers():
    assert whole(" 1 -2\n+3\t00 ", "x").tolist() == [1, -2, 3, 0] and whole("", "x").tolist() == []
    assert whole("1.5 -2e1", "x").tolist() == [1.5, -20] and np.isnan(whole("NaN 1", "x")[0])
    big = "9" * 18
    assert whole(f"-{big} {big}0", "x").tolist() == [-float(big), float(big) * 10]
    numbers = np.random.default_rng(1).integers(-(10**9), 10**9, 1000)
    np.testing.assert_array_equal(whole(" ".join(map(str, numbers)), "x"), numbers)
    for wrong in ("1-2", "- 1", "1 --2", "3-", "1_0", "٣", "1,5", "inf", "0x1"):
        with pytest.raises(InputError, match="is no number"):
            whole(f"7 {wrong} 8", "x")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("</AnnotatedECG>", "", "broken XML"),
        ("AnnotatedECG", "RestingECG", "its root is 'RestingECG' and not AnnotatedECG"),
        ("uV", "kV", "lead I: unknown unit 'kV'; say what it is with unit"),
        (' unit="uV"', "", "does not say its unit"),
        ('scale value="0.5"', 'scale value="0"', "lead I: its scale is no number that can be"),
        ('scale value="0.5"', 'scale value="x"', "lead I: its scale is no number that can be"),
        ('origin value="0"', 'origin value="x"', "lead I: its origin is no number that can be"),
        ("<digits>1 2", "<digits>1 zwei", "lead I: 'zwei' among its samples is no number"),
        ("<digits>1 2", "<digits>", r"no lead with samples in its series \(I \(no samples\)\)"),
        ('increment value="0.002"', 'increment value="0"', "its clock has no increment"),
        ('value="0.002" unit="s"', 'value="0.002" unit="min3"', "its clock has no increment"),
        ("MDC_ECG_LEAD_I", "MDC_RESP", "there is no waveform in it; export the ECG again"),
        ('encoding="utf-8"?>', 'encoding="utf-8"?><!DOCTYPE a [<!ENTITY b "c">]>', "declares entities"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    path = file(tmp_path, one(1, 2))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)


def test_median_is_refused_where_there_is_none_and_asked_for_where_there_is_nothing_else(tmp_path):
    with pytest.raises(InputError, match="no median beat in it; read it without median"):
        read(file(tmp_path, one(1, 2)), median=True)
    path = next(path for path in made.variants(tmp_path) if path.stem == "beat only")
    assert read(path, median=True).signal.shape == (1, 50)
    with pytest.raises(InputError, match="only a representative beat in it; read it with median"):
        read(path)


def test_sizes_that_files_claim_are_refused_before_they_are_allocated(tmp_path):
    late = made.sequences(made.clock(500, "20110818091511"), made.lead("II", [1]))
    with pytest.raises(InputError, match="values in 4 bytes"):
        read(file(tmp_path, made.series(made.sequences(made.clock(500), made.lead("I", [1])), late)))
    last = made.sequences(made.clock(500, "99990817"), made.lead("II", [1]))
    with pytest.raises(InputError, match="begin years apart"):
        read(file(tmp_path, made.series(made.sequences(made.clock(500), made.lead("I", [1])), last)))
    many = made.sequences(made.clock(500), *(made.lead(f"Z{i}", [1]) for i in range(300)))
    with pytest.raises(InputError, match="300 leads; at most 256"):
        read(file(tmp_path, made.series(many)))
    same = made.sequences(made.clock(500), *[made.lead("I", [1])] * 20)
    with pytest.raises(InputError, match="lead I stands there more than 16 times"):
        read(file(tmp_path, made.series(same)))


def test_nobody_is_named(tmp_path):
    for path in made.variants(tmp_path):
        record = read(path, median=path.stem == "beat only")
        for secret in ("99887766", "Quastenflosser", "Latimeria", "Wellenreiter", "1950", "2011", "SN00", "Jan"):
            assert secret not in re.sub(str(tmp_path), "", repr(record)), (path, secret)
        assert record.patient is None
    record, other = (read(path, patient_key=KEY) for path in made.variants(tmp_path)[2:4])
    assert record.patient == other.patient and record.patient.startswith("key:") and "9988" not in record.patient
    nameless = file(tmp_path, one(1, 2), subject=made.SUBJECT.replace("99887766", "?"))
    assert read(nameless, patient_key=KEY).patient not in (None, record.patient)
