"""Finding the format by content, and what every format does with its own files and with bytes that are not its own.

Each format is found by itself: `made_NAME.save(path, signal, rate, leads)` writes a small file in steps of STEP mV.
"""

import importlib
import os
from datetime import date

import numpy as np
import pytest

from ecgraft import formats, plugs
from ecgraft.formats import _person
from ecgraft.record import InputError, Record, UsageError

FORMATS = plugs.names("formats")
GIVEN = {"rate": 250, "unit": "mV", "leads": "I,II"}  # what some formats do not say
WRITTEN = sorted(set(formats.written().values()))


def encoder(name: str):
    return importlib.import_module(f"made_{name}")


def signal(leads: int = 2, samples: int = 500) -> np.ndarray:
    """Noise that looks like nothing else, (C, T) mV in steps of 0.01."""
    return np.round(np.random.default_rng(0).normal(size=(leads, samples)).cumsum(1) / 20, 2)


def made(name: str, folder):
    """A small file of a format, of the leads I and II at 250 Hz, and its signal."""
    x = signal()
    (folder / name).mkdir(exist_ok=True)
    return x, encoder(name).save(folder / name / "ecg", x, 250.0, ("I", "II"))


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_read_whatever_it_is_called(tmp_path, name):
    x, path = made(name, tmp_path)
    module = plugs.find("formats", name)
    several = hasattr(module, "parts") and module.parts(path)
    other = path if several else path.rename(path.with_name("ecg.xyz"))
    record = formats.read(other, **GIVEN)
    np.testing.assert_allclose(record.signal, x, atol=encoder(name).STEP / 2 + 1e-6)
    assert record.leads == ("I", "II") and record.rate == pytest.approx(250) and record.extra["format"] == name
    assert record.id == "ecg" and record.patient is None and set(formats.TOLD) >= {"format", "unit", "resolution"}


@pytest.mark.parametrize("name", FORMATS)
def test_no_two_formats_are_sure_of_the_same_file(tmp_path, name):
    path = made(name, tmp_path)[1]
    head = path.read_bytes()[: formats.HEAD]
    sure = {other: plugs.find("formats", other).claims(path, head) for other in FORMATS}
    best = max(sure.values())
    assert best > 0 and [other for other in FORMATS if sure[other] == best] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_median_and_index_are_answered(tmp_path, name):
    """A Record or a clear error, never another exception; the first record of a file is index 0."""
    path = made(name, tmp_path)[1]
    assert np.array_equal(formats.read(path, index=0, **GIVEN).signal, formats.read(path, **GIVEN).signal)
    with pytest.raises(InputError, match=r"index|record"):
        formats.read(path, index=10**6, **GIVEN)
    try:
        assert isinstance(formats.read(path, median=True, **GIVEN), Record)
    except InputError as error:
        assert "median" in str(error)


@pytest.mark.parametrize("name", FORMATS)
def test_variants_are_read_and_counted(tmp_path, name):
    for path in encoder(name).variants(tmp_path):
        count = formats.count(path, rate=250, unit="mV")
        given = {"rate": 250, "unit": "mV", "index": count - 1}
        try:
            assert isinstance(formats.read(path, format=name, **given), Record)
        except InputError as error:  # there may be nothing but a median beat
            assert "--median" in str(error) and formats.read(path, format=name, median=True, **given)


def test_find_lists_every_record_once(tmp_path):
    paths = [made(name, tmp_path)[1] for name in FORMATS]
    (tmp_path / "notes.txt").write_text("not an ECG")
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.4 dear colleague")
    assert formats.find(tmp_path) == sorted(paths)
    found = formats.survey(tmp_path)
    assert [path.name for path in found.others] == ["letter.pdf", "notes.txt"]
    assert all(path.parent.name == "wfdb" for path in found.parts)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5000, b"<xml>" * 100, b"PK\x03\x04junk.npy" + b"x" * 500, b"\x93NUMPY", b"%PDF-1.4" + b"\xff" * 999],
    ids=["empty", "zeros", "xml", "zip", "numpy", "pdf"],
)
def test_foreign_content_under_a_known_name_is_an_input_error(tmp_path, name, content):
    path = made(name, tmp_path)[1]
    path.write_bytes(content)
    for format in (None, name):
        with pytest.raises(InputError) as error:
            formats.read(path, format=format, **GIVEN)
        assert path.stem in str(error.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_give_a_record_or_an_input_error(tmp_path, name):
    """Random bytes and cuts: no exception of another kind, whatever the damage. (fuzz.py does this at length.)"""
    path, rng = made(name, tmp_path)[1], np.random.default_rng(7)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(0, min(len(whole), 300), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(damaged[: rng.integers(1, len(whole) + 1)].tobytes())
        try:
            formats.read(path, format=name, **GIVEN)
        except InputError as error:
            assert len(str(error)) < 700


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_read_back(tmp_path, name):
    """Six leads with a gap, at an odd rate, to half a step of what was written; nothing is written over."""
    x = signal(6).astype(np.float32)
    record = Record(x, 128.0, ("I", "II", "V1", "V2", "V3", "CM5"), id="a", age=64.0, sex="F", report="sinus rhythm")
    ending = next(ending for ending, format in formats.written().items() if format == name)
    paths = formats.write(record, tmp_path / "deep" / f"a{ending}")
    again = formats.read(paths[0])
    assert (again.leads, again.id, again.extra["format"]) == (record.leads, "a", name)
    assert again.rate == pytest.approx(128.0) and again.signal.shape == x.shape
    np.testing.assert_allclose(again.signal, x, atol=0.0005 + 1e-6)
    assert sorted(tmp_path.rglob("*")) == sorted([tmp_path / "deep", *paths])
    with pytest.raises(UsageError, match="is there already"):
        formats.write(record, paths[0])


def test_writing_names_what_cannot_be_written(tmp_path):
    record = Record(signal(), 250, ("I", "II"))
    with pytest.raises(UsageError, match=r"the ending says the format; use one of .*\.edf"):
        formats.write(record, tmp_path / "a.docx")
    with pytest.raises(UsageError, match="reads SCP-ECG but does not write it"):
        formats.write(record, tmp_path / "a.scp", "scp")
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_or_is_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.npy: no such file"):
        formats.read(tmp_path / "nothing.npy")
    with pytest.raises(InputError, match="this is a folder"):
        formats.read(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        formats.find(tmp_path / "nowhere")
    assert formats.find(tmp_path) == []


def test_options_are_checked(tmp_path):
    path = made("npy", tmp_path)[1]
    with pytest.raises(UsageError, match="did you mean 'rate'"):
        formats.read(path, rat=500)
    with pytest.raises(UsageError, match="must be above 0"):
        formats.read(path, rate=0)
    with pytest.raises(InputError, match="unknown unit 'kV'"):
        formats.read(path, unit="kV")
    with pytest.raises(UsageError, match="no 'nyp'; did you mean 'npy'"):
        formats.read(path, format="nyp")
    with pytest.raises(UsageError, match="at least 16 bytes"):
        formats.read(path, patient_key="short")
    with pytest.raises(UsageError, match="count from 0"):
        formats.read(path, index=-1)


def test_a_patient_is_a_hash_under_the_secret_and_nobody_without():
    given = formats.understand({"patient_key": "0123456789abcdef"})
    same = {given.patient("AB 12"), given.patient(" ab  12 "), given.patient("ab 12", "Smith", "1950")}
    assert len(same) == 1 and same.pop().startswith("key:") and given.patient("ab12") != given.patient("ab 12")
    assert given.patient("7") != formats.understand({"patient_key": "fedcba9876543210"}).patient("7")
    assert given.patient("007") != given.patient("7")  # leading zeros belong to a number
    assert given.patient("", "Smith", "1950") == given.patient("000", "SMITH", "1950") is not None
    assert given.patient("") is given.patient("unknown") is given.patient(None, "Smith") is None
    assert formats.understand({}).patient("12") is None
    # RFC 4231-like: the pseudonym is HMAC-SHA256 and nothing else
    import hashlib
    import hmac

    assert given.patient("12") == "key:" + hmac.new(b"0123456789abcdef", b"12", hashlib.sha256).hexdigest()[:24]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1951-01-31", (1951, 1, 31)),
        ("19510131", (1951, 1, 31)),
        ("1951/1/3", (1951, 1, 3)),
        ("2010-05-06T07:08:09", (2010, 5, 6)),
        ("195112", None),  # a month and no day
        ("1951-0131", None),
        ("1951-02-30", None),
        ("", None),
    ],
)
def test_dates(said, expected):
    assert _person.day(said) == (date(*expected) if expected else None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InputError, match="no ordinary file"):
        formats.read(tmp_path / "pipe.npz")
    save = encoder("npy").save(tmp_path / "a", signal(), 250.0, ("I", "II"))
    assert formats.find(tmp_path) == [save]


def test_a_survey_tells_formats_so_that_they_are_told_once(tmp_path):
    paths = {made(name, tmp_path)[1]: name for name in FORMATS}
    found = formats.survey(tmp_path)
    assert {path: found.formats[path] for path in found.ecgs} == paths and not found.unseen
    for path, name in paths.items():
        assert formats.count(path, name, **GIVEN) == formats.count(path, **GIVEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_where_a_file_is_put_is_known_before_it_is_written(tmp_path, name):
    ending = next(ending for ending, format in formats.written().items() if format == name)
    path = tmp_path / f"Müller, 3.5. (Kopie){ending}"
    record = Record(signal().astype(np.float32), 250.0, ("I", "II"), id="a")
    assert formats.write(record, path)[0] == formats.target(path) == formats.target(path, name)


def test_write_is_public(tmp_path):
    import ecgraft

    record = Record(signal().astype(np.float32), 250.0, ("I", "II"), id="a")
    (path,) = ecgraft.write(record, tmp_path / "a.csv")
    assert np.array_equal(ecgraft.read(path).signal, record.signal)


def test_the_folder_that_one_is_in(tmp_path, monkeypatch):
    path = encoder("npy").save(tmp_path / "a", signal(), 250.0, ("I", "II"))
    monkeypatch.chdir(tmp_path)
    assert [found.name for found in formats.find(".")] == [path.name]
