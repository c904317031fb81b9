"""DICOM waveforms against an encoder written from the standard, pydicom, real ECGs, and arithmetic by hand."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

import made_dicom as made
from ecgraft import formats
from ecgraft.formats import dicom
from ecgraft.formats._dicom.file import File, Item, load
from ecgraft.formats._dicom.groups import a_law, mu_law
from ecgraft.record import LEADS, InputError
from made_dicom import STEP, Form, channel, group

X = np.random.default_rng(3).integers(-2000, 2000, (12, 300)) * STEP
TESTS = Path(pydicom.__file__).parent / "data" / "test_files"
KEY = "a secret of enough bytes"


def read(path, **given):
    return formats.read(path, format="dicom", **given)


def exact(x):
    return (np.rint(np.asarray(x) / STEP) * STEP).astype(np.float32)


def build(folder, groups, **more):
    return made.file(folder / "x.dcm", groups, **more)


def one(folder, raw, rows, rate=500, more=None, **how):
    return build(folder, [group(Form(), np.asarray(raw), rate, rows, **how)], **(more or {}))


@pytest.mark.parametrize(
    "how",
    [{}, {"form": Form(implicit=True)}, {"form": Form(implicit=True, open=True)}, {"form": Form(big=True)}]
    + [{"form": Form(big=True, open=True)}, {"form": Form(open=True)}, {"syntax": "deflated"}]
    + [
        {"preamble": False},
        {"preamble": False, "form": Form(implicit=True)},
        {"preamble": False, "form": Form(big=True)},
    ],
)
def test_every_encoding_gives_the_samples_bit_for_bit(tmp_path, how):
    path = made.save(tmp_path / "x.dcm", X, 500, LEADS, **how)
    assert dicom.claims(path, path.read_bytes()[:4096]) == 2
    record = read(path)
    np.testing.assert_array_equal(record.signal, exact(X))
    assert (record.leads, record.rate, record.extra["unit"], record.extra["resolution"]) == (LEADS, 500, "uV", "0.001")


def test_a_sample_by_hand(tmp_path):
    """-3 x 2.5 uV x 1.1 + 40 uV = 31.75 uV; 2 x 0.5 mV - 0.25 mV = 0.75 mV; 1 x 2e-6 V = 0.002 mV."""
    rows = [channel("I", sensitivity="2.5", correction="1.1", baseline="40")]
    rows += [channel("II", unit="mV", sensitivity="0.5", baseline="-0.25"), channel("V1", unit="V", sensitivity="2e-6")]
    record = read(one(tmp_path, [[-3, 0], [2, 0], [1, 0]], rows))
    np.testing.assert_allclose(record.signal, [[0.03175, 0.04], [0.75, -0.25], [0.002, 0]], rtol=1e-7)
    assert record.extra["unit"] == "uV; mV; V" and record.extra["resolution"] == "0.002 to 0.5"


@pytest.mark.parametrize(
    "said, shift", [("SB", 0), ("UB", 128), ("SS", 0), ("US", 9000), ("SL", 0), ("UL", 70_000), ("SV", 0)]
)
@pytest.mark.parametrize("big", [False, True])
def test_every_kind_of_sample_and_padding(tmp_path, said, shift, big):
    raw, form = np.array([[-100, 0, 27, 5, 100]]), Form(big=big)
    made_group = group(form, raw + shift, 500, [channel("II", baseline=str(-shift))], said, padding=27 + shift)
    record = read(build(tmp_path, [made_group], form=form))
    np.testing.assert_array_equal(record.signal, np.float32([[-0.1, 0, np.nan, 0.005, 0.1]]))


def test_g711_codes_are_the_tables_of_the_standard_library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        audioop = pytest.importorskip("audioop")
    codes = bytes(range(256))
    np.testing.assert_array_equal(mu_law(), np.frombuffer(audioop.ulaw2lin(codes, 2), np.int16))
    np.testing.assert_array_equal(a_law(), np.frombuffer(audioop.alaw2lin(codes, 2), np.int16))


def test_g711_is_read_and_said(tmp_path):
    record = read(one(tmp_path, [[0, 128, 255]], [channel("II")], said="MB"))
    np.testing.assert_allclose(record.signal, [[-32.124, 32.124, 0]], rtol=1e-6)
    assert record.extra["assumed"] == "G.711 codes as 16 bit values"


def test_a_padding_value_of_zero_in_signed_samples_is_signal(tmp_path):
    """Example.dcm says 0, and its zeros stand in the same ECG in HL7 aECG."""
    record = read(one(tmp_path, [[5, 0, -5]], [channel("II")], padding=0))
    assert record.extra["assumed"] == "padding value 0 taken as signal" and record.signal[0, 1] == 0
    assert np.isnan(read(one(tmp_path, [[5, 0, 5]], [channel("II")], said="US", padding=0)).signal[0, 1])


def test_leads_are_named_by_code_then_label_then_meaning(tmp_path):
    rows = [channel("V3", label="wrong"), channel("aVF", "SCPECG"), channel("x", coded="131074")]
    rows += [channel("x", "99LOCAL", coded="MDC_ECG_LEAD_V2"), channel("x", label="CM5"), channel("V6", "99LOCAL")]
    rows += [channel("x", coded="2:37"), channel("x", "99LOCAL", label="ECG 1")]
    record = read(one(tmp_path, np.ones((8, 4), int), rows))
    assert record.leads == ("V3", "aVF", "II", "V2", "CM5", "V6", "V5", "ECG 1")
    assert record.extra["derived"] == "V5 by the device"
    same = [channel("x", coded="2:1", label="I"), channel("x", coded="2:1", label="II")]
    assert read(one(tmp_path, np.ones((2, 4), int), same)).leads == ("I", "II")


def test_skews_are_taken_out_in_whole_samples(tmp_path):
    """A channel that is n samples late stands n later, against the earliest."""
    rows = [channel("I", skew="1"), channel("II", skew="3.25"), channel("V1", seconds="0.004", offset="-0.002")]
    record = read(one(tmp_path, np.arange(12).reshape(3, 4), rows))
    nan = np.nan
    expected = [[0, 1, 2, 3, nan, nan], [nan, nan, 4, 5, 6, 7], [8, 9, 10, 11, nan, nan]]
    np.testing.assert_array_equal(record.signal, (np.array(expected) * STEP).astype(np.float32))
    assert record.extra["assumed"] == "skews of up to 0.25 samples left in"
    assert record.extra["derived"] == "skew taken out of I, II, V1"


def test_a_page_of_leads_is_put_together_by_time_offsets(tmp_path):
    raw = np.arange(1, 11)[None]
    page = [
        group(Form(), raw[:, :4], 500, [channel("I")], start=0),
        group(Form(), raw[:, :4], 500, [channel("V1")], start=12),
    ]
    page += [
        group(Form(), raw, 500, [channel("II")], start=0),
        group(Form(), raw[:, :2], 500, [channel("II")], start=0),
    ]
    record = read(build(tmp_path, page))
    assert record.leads == ("II", "I", "V1") and record.signal.shape == (3, 10)
    np.testing.assert_array_equal(record.lead("II"), np.float32(raw[0] / 1000))
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(record.lead("V1"))), [6, 7, 8, 9])
    assert record.extra["derived"] == "3 groups put together by their time offsets"
    assert record.extra["skipped"] == "RHYTHM of 2 samples at 500 Hz, 1 lead"


def test_the_fullest_rhythm_is_read_and_the_others_told(tmp_path):
    rows = [channel(lead) for lead in ("I", "II", "III")]
    fast = group(Form(), np.ones((1, 50), int), 1000, [channel("II")])
    slow = group(Form(), np.full((3, 20), 2), 500, rows)
    record = read(build(tmp_path, [fast, slow]))
    assert record.rate == 500 and record.signal.shape == (3, 20)
    assert record.extra["skipped"] == "RHYTHM of 50 samples at 1000 Hz, 1 lead"


@pytest.mark.parametrize(
    "label, origin", [("MEDIAN BEAT", "DERIVED"), ("Average", None), (None, "DERIVED"), (None, None)]
)
def test_median_beats_are_told_apart(tmp_path, label, origin):
    rows = [channel("I"), channel("II")]
    long = group(Form(), np.ones((2, 60), int), 20, rows, label=None, origin=None)
    beat = group(Form(), np.full((2, 9), 7), 20, rows, label=label, origin=origin)
    path = build(tmp_path, [beat, long])
    record = read(path)
    assert record.signal.shape == (2, 60) and record.extra["median"] == "9 samples at 20 Hz, 2 leads"
    assert (read(path, median=True).signal == np.float32(0.007)).all() and "median" not in read(path, median=True).extra
    with pytest.raises(InputError, match="no median beat in it; read it without median"):
        read(build(tmp_path, [long]), median=True)
    if label:
        with pytest.raises(InputError, match="a median beat but no rhythm; read that with median"):
            read(build(tmp_path, [beat]))


def test_of_other_waveforms_only_ecg_leads_are_read(tmp_path):
    rows = [
        channel("x", "99LOCAL", unit="mm[Hg]", label="ART"),
        channel("V5"),
        channel("x", "99LOCAL", label="HRA", unit="mV"),
    ]
    raw = np.arange(6).reshape(3, 2)
    record = read(one(tmp_path, raw, rows, more={"sop": made.HEMODYNAMIC}))
    assert record.leads == ("V5",) and record.extra["skipped"] == "ART (mm[Hg]); HRA (mV)"
    np.testing.assert_array_equal(record.signal, np.float32([[0.002, 0.003]]))
    with pytest.raises(InputError, match=r"no ECG among its 1 channels \(ART\)"):
        read(one(tmp_path, raw[:1], rows[:1], more={"sop": made.HEMODYNAMIC}))


def test_what_is_known_of_the_patient_and_the_device(tmp_path):
    more = [(0x00101010, "AS", "018M"), (0x00100040, "CS", "F"), (0x00101020, "DS", "1.72"), (0x00101030, "DS", "70.5")]
    more += [(0x00080070, "LO", "Maker"), (0x00081090, "LO", "Model 1"), (0x00181000, "LO", "SERIAL7")]
    more += [(0x00091001, "UN", b"private"), (0x00090010, "LO", "someone")]
    rows = [channel("II", filters=("0.05", "150", "50"), status="QUESTIONABLE")]
    record = read(one(tmp_path, [[1, 2]], rows, more={"more": more}))
    assert (record.age, record.sex, record.values) == (1.5, "F", {"height": 172, "weight": 70.5})
    assert record.extra["device"] == "Maker Model 1" and record.extra["status"] == "II questionable"
    assert record.extra["filters"] == "high-pass 0.05 Hz, low-pass 150 Hz, notch 50 Hz"
    dates = [(0x00100030, "DA", "19500101"), (0x0008002A, "DT", "20000101120000")]
    record = read(one(tmp_path, [[1, 2]], rows, more={"more": dates}))
    assert record.age == 50 and record.extra["derived"] == "age from the date of birth"


def test_what_the_file_does_not_say_can_be_given(tmp_path):
    path = one(tmp_path, [[100, 200]], [channel("II", sensitivity="")], rate=None)
    with pytest.raises(InputError, match="--unit mV"):
        read(path)
    with pytest.raises(InputError, match="--rate 500"):
        read(path, unit="uV")
    record = read(path, unit="uV", rate=250)
    np.testing.assert_allclose(record.signal, [[0.1, 0.2]])
    assert record.rate == 250 and record.extra["assumed"] == "no sensitivity, a step is one unit: II"


@pytest.mark.parametrize(
    "what, message",
    [
        (dict(length=400), "says 400 samples of 1 channels, 800 bytes, but has 4; it is cut short"),
        (dict(length=0), "no samples in it"),
    ]
    + [(dict(count=2), "2 channels but defines 1"), (dict(count=900), "no ECG has more than 127")]
    + [
        (dict(bits=12), "samples of 12 bit, SS"),
        (dict(rate=None), "sampling rate"),
        (dict(rate="-1"), "sampling rate"),
    ],
)
def test_what_is_wrong_with_a_group_is_named(tmp_path, what, message):
    with pytest.raises(InputError, match=message):
        read(one(tmp_path, [[1, 2]], [channel("II")], **what))


def test_a_damaged_group_beside_a_good_one_is_told(tmp_path):
    good, bad = group(Form(), np.ones((1, 9), int), 500, [channel("II")]), group(Form(), np.ones((1, 9), int), 500, [])
    record = read(build(tmp_path, [bad, good]))
    assert record.leads == ("II",) and record.extra["skipped"].startswith("group 1 has 1 channels but defines 0")


def test_what_is_wrong_with_a_channel_is_named(tmp_path):
    with pytest.raises(InputError, match="sensitivity of lead II is 0"):
        read(one(tmp_path, [[1, 2]], [channel("II", sensitivity="0")]))
    with pytest.raises(InputError, match="lead II begins 1e\\+09 samples late"):
        read(one(tmp_path, [[1, 2]], [channel("II", skew="1e9")]))
    with pytest.raises(InputError, match="lead II: unknown unit 'furlong'"):
        read(one(tmp_path, [[1, 2]], [channel("II", unit="furlong")]))
    with pytest.raises(InputError, match="holds one record"):
        read(one(tmp_path, [[1, 2]], [channel("II")]), index=1)
    assert read(one(tmp_path, [[1, 2]], [channel("II")]), index=0).leads == ("II",)


@pytest.mark.parametrize(
    "sop, more, message",
    [
        (
            made.PDF,
            [(0x00420012, "LO", "application/pdf")],
            r"document in DICOM \(Encapsulated PDF\); a drawing of an ECG",
        )
    ]
    + [("1.2.840.10008.5.1.4.1.1.7", [(0x7FE00010, "OW", b"\0\0")], r"an image \(Secondary Capture Image\); a drawing")]
    + [("1.2.840.10008.1.3.10", [], "DICOM directory"), (made.TWELVE, [], "no samples in it; is it complete")]
    + [("1.2.840.10008.5.1.4.1.1.88.11", [], r"no waveform in this DICOM file \(Basic Text SR\)")],
)
def test_other_objects_are_refused_with_what_they_are(tmp_path, sop, more, message):
    with pytest.raises(InputError, match=message):
        read(build(tmp_path, [], sop=sop, more=more))


def test_cut_files_bombs_and_depth(tmp_path):
    path = made.save(tmp_path / "x.dcm", X, 500, LEADS, syntax="deflated")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="deflated part is cut short"):
        read(path)
    flat = np.zeros((12, 2_000_000), np.int16)
    bomb = build(tmp_path, [group(Form(), flat, 500, [channel(n) for n in LEADS])], syntax="deflated")
    with pytest.raises(InputError, match="no ECG is compressed so much"):
        read(bomb)
    path = made.save(tmp_path / "y.dcm", X, 500, LEADS, form=Form(implicit=True))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match="cut short inside a sequence"):
        read(path)
    deep = Form().pack("HH2sHI", 0x5400, 0x0100, b"SQ", 0, 0xFFFFFFFF) + Form().pack("HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    path.write_bytes(b"\0" * 128 + b"DICM" + deep * 40_000)
    with pytest.raises(InputError):
        read(path)


def test_nothing_is_printed(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in made.variants(tmp_path):
            read(path)
    assert capfd.readouterr() == ("", "")


def tree(item: Item, data: pydicom.Dataset) -> int:
    """How many elements equal pydicom's, all of them."""
    raw, count = list(data.elements()), 0
    assert {int(e.tag) for e in raw} == set(item.found)
    for one in raw:
        mine, whole = item.found[int(one.tag)], data[one.tag]
        if whole.VR == "SQ":
            inside = [Item(item.file, found) for found in item.file.items(mine)]
            assert len(inside) == len(whole.value or [])
            count += sum(tree(a, b) for a, b in zip(inside, whole.value or []))
        elif isinstance(getattr(one, "value", None), bytes) and isinstance(one, pydicom.dataelem.RawDataElement):
            assert item.file.data[mine.start : mine.stop] == one.value
        count += 1
    return count


def test_elements_are_those_that_pydicom_finds(tmp_path):
    paths = [*TESTS.glob("*.dcm"), *(TESTS.parent / "charset_files").glob("*.dcm"), *made.variants(tmp_path)]
    odd = {"rtplan_truncated.dcm", "no_meta.dcm"}  # cut in a sequence; no first element where it must be
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = [tree(load(p), pydicom.dcmread(p, force=True)) for p in paths if p.name not in odd]
    assert len(done) > 100 and sum(done) > 5000


def test_samples_are_those_that_pydicom_decodes(tmp_path):
    """Its rhythm and median of the ECG that it ships, beats and waves of which stand where R waves are."""
    path = TESTS / "waveform_ecg.dcm"
    data, record, beat = pydicom.dcmread(path), read(path), read(path, median=True)
    np.testing.assert_array_equal(record.signal, (data.waveform_array(0).T * 1e-3).astype(np.float32))
    np.testing.assert_array_equal(beat.signal, (data.waveform_array(1).T * 1e-3).astype(np.float32))
    assert (record.leads, record.rate, record.age, record.sex) == (LEADS, 1000, 42, "F")
    assert record.report == "RITMO SINUSALE\nECG NORMALE" and record.values["QT"] == 368 and record.values["RR"] == 982
    assert len(record.beats) == 10 and len(record.waves) == 30
    slope = np.abs(np.diff(record.signal, axis=1)).sum(axis=0)
    for sample in record.beats["sample"]:  # the steepest place within 0.4 s lies in the QRS
        assert abs(int(slope[max(sample - 200, 0) : sample + 200].argmax()) - min(sample, 200)) < 60


def test_real_example_equals_the_same_ecg_in_pydicom(shared_data):
    folder = shared_data / "formats" / "dicom"
    record, sample = read(folder / "Example.dcm"), read(folder / "sample.dcm")
    for path, mine in ((folder / "Example.dcm", record), (folder / "sample.dcm", sample)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = pydicom.dcmread(path).waveform_array(0).T * 1e-3
        np.testing.assert_array_equal(mine.signal, expected.astype(np.float32))
    assert record.signal.shape == (12, 5000) and not np.isnan(record.signal).any()
    assert (record.age, record.sex, record.values["QT"], record.values["P axis"]) == (49, "M", 420, 44)
    assert (sample.age, sample.sex, sample.report) == (39, "M", "Normal sinus rhythm\nNormal ECG")
    assert sample.values["heart rate"] == 80 and sample.values["height"] == 172 and sample.waves is None
    assert "Clark" not in repr(record) and "SBJ" not in repr(record)


def test_real_example_equals_the_same_ecg_in_hl7(shared_data):
    import xml.etree.ElementTree as xml

    record, ns = read(shared_data / "formats" / "dicom" / "Example.dcm"), "{urn:hl7-org:v3}"
    series = xml.parse(shared_data / "formats" / "aecg" / "Example_aECG.xml").getroot().find(f".//{ns}series")
    for one in series.find(f".//{ns}sequenceSet").iter(f"{ns}sequence"):
        name = one.find(f"{ns}code").get("code")
        if name.startswith("MDC_ECG_LEAD_"):
            digits = np.array(one.find(f".//{ns}digits").text.split(), float)
            np.testing.assert_array_equal(record.lead(name), (digits * 2.5e-3).astype(np.float32))


def test_the_budget_of_elements_ends_what_does_not():
    with pytest.raises(InputError, match="more elements than an ECG"):
        File(b"\x08\0\x60\0CS\0\0" * 100, True, [50]).elements(0, 800, False)
